"""Metrics agree with scikit-learn, and the interval covers as often as it says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from mpc.errors import RangeError, ShapeMismatch, UsageError
from protocols.radiology import accuracy, auc, confusion_matrix, macro_auc, roc_curve

TIED = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), min_size=2, max_size=80).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)


@given(TIED)
def test_roc_curve_and_its_area_agree_with_scikit_learn_with_and_without_ties(rows):
    labels, scores = np.array(rows).T
    roc = roc_curve(labels, scores / 6)
    expected = reference.roc_curve(labels, scores / 6, drop_intermediate=False)
    for ours, theirs in zip(roc, expected, strict=True):
        assert np.allclose(ours, theirs)
    area = auc(labels, scores / 6)
    assert np.isclose(area.value, reference.roc_auc_score(labels, scores))
    assert np.isclose(area.value, reference.auc(roc.false_positive, roc.true_positive))
    assert 0 <= area.low <= area.value <= area.high <= 1


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_accuracy_and_confusion_matrix_agree_with_scikit_learn(rows):
    labels, predicted = np.array(rows).T
    assert np.isclose(accuracy(labels, predicted), reference.accuracy_score(labels, predicted))
    expected = reference.confusion_matrix(labels, predicted, labels=range(4))
    assert np.array_equal(confusion_matrix(labels, predicted, 4), expected)


def test_macro_auc_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    table = rng.dirichlet([1, 1, 1], 90)
    expected = reference.roc_auc_score(labels, table, multi_class="ovr")
    assert np.isclose(macro_auc(labels, table), expected)
    two = np.stack([1 - table[:, 0], table[:, 0]], 1)
    assert np.isclose(macro_auc(labels == 0, two), auc(labels == 0, two[:, 1]).value)


def slow_delong(labels, scores):
    """The variance as DeLong et al. (1988) write it: structural components over all pairs."""
    ill, well = scores[labels == 1], scores[labels == 0]
    kernel = (ill[:, None] > well) + 0.5 * (ill[:, None] == well)
    return kernel.mean(1).var(ddof=1) / len(ill) + kernel.mean(0).var(ddof=1) / len(well)


@given(TIED)
def test_the_interval_is_delongs(rows):
    labels, scores = np.array(rows).T
    if min(labels.sum(), (1 - labels).sum()) < 2:
        assert auc(labels, scores)[1:] == (0.0, 1.0)
        return
    value, low, high = auc(labels, scores)
    reach = 1.959963984540054 * np.sqrt(slow_delong(labels, scores))
    assert np.allclose([low, high], [max(0, value - reach), min(1, value + reach)])


def test_the_interval_covers_the_true_area_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    true = 0.76025  # of N(1, 1) against N(0, 1): the normal distribution at 1 / sqrt(2)
    labels = np.repeat([0, 1], [60, 60])
    covered = 0
    for _ in range(400):
        _, low, high = auc(labels, rng.normal(size=120) + labels)
        covered += low <= true <= high
    assert 0.95 - 4 * np.sqrt(0.95 * 0.05 / 400) < covered / 400  # 4 standard deviations


def test_perfect_and_useless_scores_have_areas_one_and_a_half():
    assert auc([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]) == (1, 1, 1)
    assert auc([0, 0, 1, 1], [0.5] * 4).value == 0.5
    assert auc([1, 1, 0, 0], [0.1, 0.2, 0.8, 0.9]).value == 0


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: auc([0, 0], [0.1, 0.2]), UsageError),
        (lambda: auc([0, 2], [0.1, 0.2]), UsageError),
        (lambda: auc([0, 1], [0.1, np.nan]), RangeError),
        (lambda: auc([0, 1], [0.1, 0.2], confidence=1), UsageError),
        (lambda: auc([0, 1, 1], [0.1, 0.2]), ShapeMismatch),
        (lambda: roc_curve([], []), ShapeMismatch),
        (lambda: accuracy([], []), ShapeMismatch),
        (lambda: confusion_matrix([0, 2], [0, 1], 2), RangeError),
        (lambda: confusion_matrix([0, -1], [0, 1], 2), RangeError),
        (lambda: macro_auc([0, 0], np.eye(2)), UsageError),
        (lambda: macro_auc([0, 1, 1], np.eye(2)), ShapeMismatch),
    ],
)
def test_what_has_no_metric_is_refused(call, error):
    with pytest.raises(error):
        call()
