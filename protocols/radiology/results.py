"""Predictions, written where the studies' owner asked for them, and readable by nobody else."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from mpc.errors import RangeError, ShapeMismatch
from mpc.files import write_whole
from protocols.radiology.site import Study


def write_predictions(
    folder: str | Path,
    studies: Sequence[Study],
    probabilities: ArrayLike,
    class_names: Sequence[str],
    name: str = "predictions",
) -> tuple[Path, Path]:
    """Write `folder/NAME.json` and `folder/NAME.csv`, one entry a study; returns both paths.

    An entry holds the file, the StudyInstanceUID, the frame if each was classified, a probability
    for each class and the likeliest class. Each file appears whole or not at all, with mode 600.
    """
    table = np.asarray(probabilities, np.float64)
    if table.shape != (len(studies), len(class_names)):
        raise ShapeMismatch(
            f"{table.shape} probabilities do not go with {len(studies)} studies "
            f"and {len(class_names)} classes"
        )
    if not np.isfinite(table).all():
        wrong = int(np.sum(~np.isfinite(table)))
        raise RangeError(f"{wrong} of {table.size} probabilities are not finite numbers")
    predicted = [class_names[i] for i in table.argmax(1)]

    entries = [
        {
            "file": study.file,
            "StudyInstanceUID": study.study_uid,
            "frame": study.frame,
            "predicted": best,
            "probabilities": dict(zip(class_names, map(float, row), strict=True)),
        }
        for study, best, row in zip(studies, predicted, table, strict=True)
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "StudyInstanceUID", "frame", "predicted", *_titles(class_names)])
    for study, best, row in zip(studies, predicted, table, strict=True):
        frame = "" if study.frame is None else study.frame
        writer.writerow([study.file, study.study_uid, frame, best, *(f"{p:.6g}" for p in row)])

    folder = Path(folder)
    body = {"classes": list(class_names), "studies": entries}
    return (
        write_whole(folder / f"{name}.json", (json.dumps(body, indent=2) + "\n").encode()),
        write_whole(folder / f"{name}.csv", text.getvalue().encode(errors="surrogateescape")),
    )


def _titles(class_names: Sequence[str]) -> list[str]:
    return [f"probability of {name}" for name in class_names]
