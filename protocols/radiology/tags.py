"""Numeric header elements that a job may keep beside the image: an age, a dose, a thickness."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset

from mpc.errors import UsageError
from protocols.radiology.errors import Unreadable

NUMERIC = frozenset("AS DS FD FL IS SL SS SV UL US UV".split())  # value representations
YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}  # of an age's last letter


def check_keywords(keywords: Sequence[str]) -> None:
    """Refuse a keyword unless DICOM says that it holds exactly one number."""
    for keyword in keywords:
        tag = tag_for_keyword(keyword) if isinstance(keyword, str) else None
        if tag is None:
            raise UsageError(f"{keyword!r} is not the keyword of a DICOM element")
        if dictionary_VR(tag) not in NUMERIC or dictionary_VM(tag) != "1":
            raise UsageError(f"{keyword} does not hold one number, so it does not leave the site")
    if len(set(keywords)) != len(keywords):
        raise UsageError("a tag is named twice")


def numbers(ds: Dataset, keywords: Sequence[str]) -> NDArray[np.float32]:
    """The numbers under these keywords, an age in years; `Unreadable` if one is not there."""
    return np.array([_number(ds, keyword) for keyword in keywords], np.float32)


def _number(ds: Dataset, keyword: str) -> float:
    try:
        value = ds[keyword].value
        if isinstance(value, str):  # an age, such as 045Y
            number = float(value[:-1]) * YEARS[value[-1]]
        else:
            number = float(value)
    except Exception:  # absent, empty or malformed; what pydicom says may quote it
        number = float("nan")
    if not np.isfinite(np.float32(number)):
        raise Unreadable(f"has no number under {keyword}")
    return number
