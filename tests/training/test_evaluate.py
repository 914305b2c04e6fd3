"""What an evaluation opens is right, and is counts over all studies."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, roc_auc_score

from mpc.errors import UsageError
from mpc.launch import run_parties
from protocols.nn import Session
from protocols.training import evaluate as module
from protocols.training.evaluate import POINTS, Evaluation, evaluate


def clear(logits, targets, **options):
    session = Session(protocol="clear")
    shares = session.share(logits, owner=0), session.share(targets, owner=0)
    return evaluate(session, *shares, **options), session.openings


def rep3(logits, targets, **options):
    def program(party):
        session = Session(party)
        own = [x if party.rank == 1 else None for x in (logits, targets)]
        shares = [session.share(x, owner=1) for x in own]
        return evaluate(session, *shares, **options), session.openings

    results = run_parties(3, program)
    for found, openings in results[1:]:
        assert np.array_equal(found.confusion, results[0][0].confusion)
        assert found.auc == results[0][0].auc and openings == results[0][1]
    return results[0]


def one_hot(labels, classes=2):
    return np.eye(classes, dtype=np.float32)[np.asarray(labels)]


def draw(seed, n, classes=2, *, levels=None):
    """Logits and labels; with `levels`, margins repeat, so that there are ties."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    logits = rng.normal(size=(n, classes)) + np.eye(classes)[labels]
    if levels:
        logits = np.round(logits * levels) / levels
    return logits.astype(np.float32), labels


@pytest.mark.parametrize("run", [clear, rep3])
@pytest.mark.parametrize("levels", [None, 1, 2], ids=["no ties", "many ties", "ties"])
def test_the_area_is_that_of_scikit_learn_ties_included(run, levels):
    logits, labels = draw(5, 37, levels=levels)
    logits = np.round(logits * 2**10) / 2**10  # of which shares hold every bit
    found, _ = run(logits, one_hot(labels))
    margin = logits[:, 1].astype(np.float64) - logits[:, 0]
    assert levels is None or len(np.unique(margin)) < len(margin)
    assert found.auc == pytest.approx(roc_auc_score(labels, margin), abs=1e-12)


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(-9, 9)), min_size=2, max_size=40),
    st.sampled_from([1.0, 2.0**-10, 100.0]),
)
@settings(max_examples=40, deadline=None)
def test_the_area_in_the_clear_is_that_of_scikit_learn_for_drawn_scores(pairs, scale):
    labels, steps = (np.array(column) for column in zip(*pairs, strict=True))
    assume(len(set(labels)) == 2)
    logits = np.stack([np.zeros(len(steps)), steps * scale], 1).astype(np.float32)
    found, _ = clear(logits, one_hot(labels))
    assert found.auc == pytest.approx(roc_auc_score(labels, steps), abs=1e-12)


@pytest.mark.parametrize("run", [clear, rep3])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_confusion_matrix_is_that_of_scikit_learn(run, classes):
    logits, labels = draw(classes, 31, classes)
    found, _ = run(logits, one_hot(labels, classes))
    assert np.array_equal(found.confusion, confusion_matrix(labels, logits.argmax(1)))
    assert found.accuracy == pytest.approx(np.mean(labels == logits.argmax(1)))
    assert (found.auc is None) == (found.thresholds is None) == (classes > 2)
    assert found.auc_interval() is None or classes == 2


@pytest.mark.parametrize("run", [clear, rep3])
def test_the_curve_counts_the_studies_at_or_above_each_threshold(run):
    logits, labels = draw(8, 29)
    found, _ = run(logits, one_hot(labels))
    margin = logits[:, 1].astype(np.float64) - logits[:, 0]
    assert len(found.thresholds) == POINTS and (np.diff(found.thresholds) < 0).all()
    for i, threshold in enumerate(found.thresholds):
        assert abs(margin - threshold).min() > 2**-14  # of scores on an edge, either is right
        assert found.true_positives[i] == np.sum((margin >= threshold) & (labels == 1))
        assert found.false_positives[i] == np.sum((margin >= threshold) & (labels == 0))


@pytest.mark.parametrize("run", [clear, rep3])
def test_above_the_limit_on_pairs_the_area_is_that_of_the_curves_points(run, monkeypatch):
    logits, labels = draw(9, 30)
    targets = one_hot(labels)
    by_pairs, _ = run(logits, targets)
    monkeypatch.setattr(module, "PAIRS_UP_TO", 29)
    by_points, openings = run(logits, targets)
    assert not any("pairs" in opening.reason for opening in openings)
    positive, negative = labels.sum(), (1 - labels).sum()
    tpr = np.concatenate([[0], by_points.true_positives / positive, [1]])
    fpr = np.concatenate([[0], by_points.false_positives / negative, [1]])
    assert by_points.auc == pytest.approx(np.trapezoid(tpr, fpr), abs=1e-12)
    # Between two points of the curve a pair counts at most wholly instead of half.
    undecided = np.sum(np.diff(tpr) * np.diff(fpr)) / 2
    assert abs(by_points.auc - by_pairs.auc) <= undecided + 1e-12


@pytest.mark.parametrize("run", [clear, rep3])
def test_what_is_opened_is_counts_over_all_studies_and_nothing_else(run):
    logits, labels = draw(2, 23)
    _, openings = run(logits, one_hot(labels))
    assert [(o.shape, o.to, o.reason) for o in openings] == [
        ((2, 2), None, "evaluation: confusion matrix over all test studies"),
        ((POINTS, 2), None, "evaluation: ROC counts over all test studies"),
        ((1, 1), None, "evaluation: pairs in order, for the AUC over all test studies"),
    ]
    _, openings = run(logits, one_hot(labels), curve=False)
    assert [o.shape for o in openings] == [(2, 2)]
    _, openings = run(*(lambda x, y: (x, one_hot(y, 3)))(*draw(3, 23, 3)))
    assert [o.shape for o in openings] == [(3, 3)]


@pytest.mark.parametrize("run", [clear, rep3])
@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("n", [1, 6])
def test_a_test_set_of_one_class_has_no_area(run, label, n):
    logits = np.random.default_rng(n).normal(size=(n, 2)).astype(np.float32)
    found, openings = run(logits, one_hot([label] * n))
    assert found.auc is None and found.auc_interval() is None
    assert found.confusion[label].sum() == n and found.confusion.sum() == n
    assert not any("pairs" in opening.reason for opening in openings)


def test_whole_number_labels_do_as_well_as_real_ones():
    logits, labels = draw(4, 19)
    one, _ = clear(logits, one_hot(labels))
    other, _ = clear(logits, one_hot(labels).astype(np.int64))
    assert np.array_equal(one.confusion, other.confusion) and one.auc == other.auc


def test_an_empty_test_set_is_refused():
    with pytest.raises(UsageError, match="the test set is empty"):
        clear(np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32))


def test_the_interval_is_that_of_hanley_and_mcneil():
    # Their paper's data: 51 abnormal and 58 normal studies, area 0.893, standard error 0.032.
    found = Evaluation(np.array([[58, 0], [0, 51]]), auc=0.893).auc_interval()
    assert found[0] == 0.893
    assert (found[2] - found[1]) / 2 / 1.959964 == pytest.approx(0.032, abs=0.001)


def test_the_interval_stays_within_0_and_1():
    for area in (0.0, 0.02, 0.98, 1.0):
        _, low, high = Evaluation(np.array([[3, 0], [0, 2]]), auc=area).auc_interval()
        assert 0 <= low <= area <= high <= 1
