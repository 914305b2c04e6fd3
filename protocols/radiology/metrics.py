"""How good predictions are: accuracy, confusion, ROC, and the area under it with an interval."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpc.errors import RangeError, ShapeMismatch, UsageError

Float = NDArray[np.float64]


class Roc(NamedTuple):
    """False and true positive rates as the threshold falls; the first threshold is infinite."""

    false_positive: Float
    true_positive: Float
    thresholds: Float


class Auc(NamedTuple):
    """An area under the ROC curve and its confidence interval."""

    value: float
    low: float
    high: float


def accuracy(labels: ArrayLike, predicted: ArrayLike) -> float:
    """The part of the studies whose predicted class is their label."""
    truth, guess = _pair(labels, predicted)
    return float(np.mean(truth == guess))


def confusion_matrix(labels: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Counts; row = label, column = predicted class."""
    truth, guess = _pair(labels, predicted)
    both = np.stack([truth, guess]).astype(np.int64)
    if ((both < 0) | (both >= classes)).any():
        raise RangeError(f"labels and predictions are classes from 0 to {classes - 1}")
    counts = np.bincount(both[0] * classes + both[1], minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def roc_curve(labels: ArrayLike, scores: ArrayLike) -> Roc:
    """The ROC curve of scores for class 1 against class 0, from (0, 0) to (1, 1)."""
    truth, score = _binary(labels, scores)
    order = np.argsort(-score, kind="stable")
    truth, score = truth[order], score[order]
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)  # of each run of ties
    true = np.cumsum(truth)[last]
    false = last + 1 - true
    return Roc(
        np.append(0.0, false / false[-1]),
        np.append(0.0, true / true[-1]),
        np.append(np.inf, score[last]),
    )


def auc(labels: ArrayLike, scores: ArrayLike, confidence: float = 0.95) -> Auc:
    """The area under the ROC curve, with the interval of DeLong, DeLong and Clarke-Pearson.

    Biometrics 44 (1988), by mid-ranks as in Sun and Xu, IEEE Signal Processing Letters 21 (2014).
    The interval is cut to [0, 1]. It has no width where the classes are perfectly separated: the
    method sees no variance then, which does not mean that there is none.
    """
    if not 0 < confidence < 1:
        raise UsageError("a confidence is more than 0 and less than 1")
    truth, score = _binary(labels, scores)
    ill, well = score[truth == 1], score[truth == 0]
    m, n = len(ill), len(well)
    pooled = _mid_ranks(np.concatenate([ill, well]))
    # For each study, the part of the other class that it is ranked rightly against.
    right_ill = (pooled[:m] - _mid_ranks(ill)) / n
    right_well = 1 - (pooled[m:] - _mid_ranks(well)) / m
    area = float(right_ill.mean())
    if m < 2 or n < 2:
        return Auc(area, 0.0, 1.0)  # one study of a class says nothing about variance
    deviation = float(np.sqrt(right_ill.var(ddof=1) / m + right_well.var(ddof=1) / n))
    reach = NormalDist().inv_cdf(0.5 + confidence / 2) * deviation
    return Auc(area, max(0.0, area - reach), min(1.0, area + reach))


def macro_auc(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """The mean of the areas of each class against the others; a class without studies is left out.

    For two classes this is the area for class 1.
    """
    truth, table = np.asarray(labels), np.asarray(probabilities, np.float64)
    if table.ndim != 2 or truth.shape != table.shape[:1]:
        raise ShapeMismatch("there is one row of probabilities for each label")
    present = [c for c in range(table.shape[1]) if 0 < np.sum(truth == c) < len(truth)]
    if not present:
        raise UsageError("an ROC curve needs studies of two classes")
    return float(np.mean([auc(truth == c, table[:, c]).value for c in present]))


def _mid_ranks(values: Float) -> Float:
    """Ranks from 1; equal values share the mean of theirs."""
    ordered = np.sort(values)
    low = np.searchsorted(ordered, values, "left")
    high = np.searchsorted(ordered, values, "right")
    return np.asarray((low + high + 1) / 2)


def _pair(labels: ArrayLike, others: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    first, second = np.asarray(labels), np.asarray(others)
    if first.ndim != 1 or first.shape != second.shape or not first.size:
        raise ShapeMismatch(f"{first.shape} labels do not go with {second.shape} predictions")
    return first, second


def _binary(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.int64], Float]:
    truth, score = _pair(labels, scores)
    if not np.isfinite(score.astype(np.float64)).all():
        raise RangeError("a score is not a finite number")
    if not np.isin(truth, (0, 1)).all() or len(np.unique(truth)) < 2:
        raise UsageError("an ROC curve needs labels 0 and 1, and studies of both")
    return truth.astype(np.int64), score.astype(np.float64)
