"""How good a secret model is on secret studies; only counts over all studies are opened."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import torch

from mpc.errors import UsageError
from protocols.functions.extremes import one_hot_winner, tournament
from protocols.nn import Session
from protocols.nn.tensor import SecretTensor
from protocols.secret import SecretArray, stack

# Above this many studies the area under the curve is that of the curve's points, not of all pairs.
PAIRS_UP_TO = 1024
POINTS = 129


@dataclass(frozen=True)
class Evaluation:
    """Counts over a test set, public by now.

    Args:
        confusion: studies by true class (rows) and predicted class (columns).
        thresholds: of the difference of the two logits, from high to low; two classes only.
        true_positives: studies of class 1 at or above each threshold.
        false_positives: studies of class 0 at or above each threshold.
        auc: area under the ROC curve; None for more than two classes, or if a class is missing.
    """

    confusion: np.ndarray
    thresholds: np.ndarray | None = None
    true_positives: np.ndarray | None = None
    false_positives: np.ndarray | None = None
    auc: float | None = None

    @property
    def accuracy(self) -> float:
        """Share of studies whose predicted class is the true one."""
        return float(np.trace(self.confusion) / max(self.confusion.sum(), 1))

    def auc_interval(self, confidence: float = 0.95) -> tuple[float, float, float] | None:
        """The area under the ROC curve and its interval, from the area and the counts alone.

        Hanley and McNeil, Radiology 143 (1982); cut to [0, 1]. None if there is no area.
        """
        if self.auc is None:
            return None
        a, (n, m) = self.auc, (int(c) for c in self.confusion.sum(1))
        both_higher, both_lower = a / (2 - a), 2 * a * a / (1 + a)
        variance = (
            a * (1 - a) + (m - 1) * (both_higher - a * a) + (n - 1) * (both_lower - a * a)
        ) / (m * n)
        reach = NormalDist().inv_cdf(0.5 + confidence / 2) * math.sqrt(max(variance, 0.0))
        return a, max(0.0, a - reach), min(1.0, a + reach)


def evaluate(
    session: Session, logits: SecretTensor, targets: SecretTensor, *, curve: bool = True
) -> Evaluation:
    """Confusion matrix, and for two classes the ROC curve and its area.

    Args:
        session: computes.
        logits: [n, classes], secret.
        targets: one-hot labels, [n, classes], secret.
        curve: whether the ROC curve is wanted.

    What is opened: the counts in `Evaluation`, each a sum over all n studies.
    """
    scores, truth = logits.secret, _whole(targets.secret)
    n, classes = scores.shape
    if n == 0:
        raise UsageError("no study to evaluate on: the test set is empty")
    _, won = tournament(scores.transpose(1, 0))
    ones = one_hot_winner(won)
    confusion = _open(session, truth.transpose(1, 0) @ ones.transpose(1, 0), "confusion matrix")
    if classes != 2 or not curve:
        return Evaluation(confusion)
    margin = scores[:, 1] - scores[:, 0]
    thresholds = _thresholds()
    wide = margin.reshape(1, n).broadcast_to((POINTS, n)) - thresholds[:, None]
    above = (wide >= 0).ring()
    counts = _open(session, above @ truth, "ROC counts")
    negative, positive = (int(c) for c in confusion.sum(1))
    auc = None
    if positive and negative:
        auc = (
            _pairs(session, margin, truth) / (positive * negative)
            if n <= PAIRS_UP_TO
            else _area(counts, positive, negative)
        )
    return Evaluation(confusion, thresholds, counts[:, 1], counts[:, 0], auc)


def _pairs(session: Session, margin: SecretArray[Any], truth: SecretArray[Any]) -> float:
    """Pairs of a study of class 1 and one of class 0 in the right order; a tie counts half.

    Mann and Whitney, Annals of Mathematical Statistics 18 (1947). Both orders of each pair are
    compared, since a tie is where neither is below.
    """
    n = margin.size
    difference = margin.reshape(n, 1).broadcast_to((n, n)) - margin.reshape(1, n)
    signs = stack([difference, -difference]).negative().ring()
    order = signs[1] - signs[0]  # 1, 0 or -1 for the study of the row against that of the column
    balance = truth[:, 1].reshape(1, n) @ order @ truth[:, 0].reshape(n, 1)
    positive, negative = truth[:, 1].sum(), truth[:, 0].sum()
    everything = positive.reshape(1, 1) * negative.reshape(1, 1)
    doubled = _open(session, balance + everything, "pairs in order, for the AUC")
    return float(doubled.reshape(())) / 2


def _area(counts: np.ndarray, positive: int, negative: int) -> float:
    true = np.concatenate([[0.0], counts[:, 1] / positive, [1.0]])
    false = np.concatenate([[0.0], counts[:, 0] / negative, [1.0]])
    return float(np.trapezoid(true, false))


def _thresholds() -> np.ndarray:
    """Logits of evenly spaced probabilities, from high to low, and both ends."""
    chance = np.linspace(1, 0, POINTS + 2)[1:-1]
    return np.log(chance / (1 - chance))


def _whole(targets: SecretArray[Any]) -> SecretArray[Any]:
    """One-hot labels as integers: what is at least ½ is 1."""
    return (targets >= 0.5).ring() if targets.fraction else targets


def _open(session: Session, counts: SecretArray[Any], what: str) -> np.ndarray:
    tensor = session.tensor(counts, torch.int64)
    opened = session.open(tensor, reason=f"evaluation: {what} over all test studies")
    if opened is None:
        raise AssertionError("an opening to all gave nothing")
    return opened.numpy()
