"""Public numbers beside secret ones: the form that reals have by default, and factors of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mpc.ring import WORD, Array, FixedPoint

FORM = FixedPoint(fraction=16, integer=30).for_products()
FRACTION = FORM.fraction
# A public factor is rounded to this many significant bits: relative error 2^-16. |x| < 2^30 is at
# most 2^46 - 1 in ring elements, and times 2^16 that is still below 2^62.
PUBLIC_BITS = 16
# Every entry of a public array keeps at least this many bits: relative error 2^-9.
ENTRY_BITS = 9
LARGEST_SHIFT = 46

Public = float | int | npt.NDArray[Any]


def significant(public: Public) -> list[tuple[Array, int]]:
    """A public factor as ring elements and their scale, in parts that add up to it.

    One part holds PUBLIC_BITS bits of the largest entry. Where that leaves a smaller entry with
    fewer than ENTRY_BITS of its own, another part holds what is missing, and so on.

    Raises:
        RangeError: NaN, infinity, or 2^30 and more.
    """
    real = np.asarray(public, np.float64)
    FORM.encode(real)  # refuses, with counts
    parts, missing = [], real
    while True:
        words, shift = _rounded(missing)
        parts.append((words.view(WORD), shift))
        missing = missing - words / 2.0**shift
        poor = np.abs(missing) > np.abs(real) * 2.0**-ENTRY_BITS
        if shift == LARGEST_SHIFT or not poor.any():
            return parts
        missing = np.where(poor, missing, 0.0)


def _rounded(real: Array) -> tuple[Array, int]:
    """The nearest whole multiples of a power of two, with PUBLIC_BITS bits for the largest."""
    largest = float(np.max(np.abs(real), initial=0.0))
    if not largest:
        return np.zeros(real.shape, np.int64), 0
    shift = min(max(PUBLIC_BITS - math.frexp(largest)[1], 0), LARGEST_SHIFT)
    rounded = np.asarray(np.rint(real * 2.0**shift)).astype(np.int64)
    common = int(np.bitwise_or.reduce(rounded, axis=None))
    while shift and common and common % 2 == 0:
        rounded, common, shift = np.asarray(rounded >> 1), common >> 1, shift - 1
    return rounded, shift if common else LARGEST_SHIFT
