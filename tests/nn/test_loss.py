"""Losses and their gradients, for secret and public targets and every reduction.

N is the number of rows, C of classes; u = 2^-16. The logarithm of softmax is off by 2^-12, softmax
by 2^-11.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from mpc.errors import NotOffered
from tests.nn.both import (
    PROTOCOLS,
    RELATIVE,
    SEEDS,
    ULP,
    at_parties,
    opened,
    plainly,
    reals,
    secretly,
    shared,
    some,
    within,
)

protocols = pytest.mark.parametrize("protocol", PROTOCOLS)
LOG, SOFT = 2.0**-12, 2.0**-11
REDUCTIONS = ["none", "mean", "sum"]
SIZES = st.tuples(st.integers(1, 9), st.integers(2, 5))


def labels(seed, n, classes):
    return torch.randint(0, classes, (n,), generator=torch.Generator().manual_seed(seed))


def one_gradient(reduction, n):
    """The gradient at a loss, rows of it for "none", and the part of it that a row gets."""
    weight = reals(5, *([n] if reduction == "none" else []), limit=1)
    return weight, 1.0 if reduction != "mean" else 1 / n


@protocols
@pytest.mark.parametrize("reduction", REDUCTIONS)
@some
@given(seed=SEEDS, sizes=SIZES)
def test_cross_entropy_on_secret_one_hot_targets_keeps_its_bound(protocol, reduction, seed, sizes):
    n, classes = sizes
    x, t = reals(seed, n, classes, limit=6), F.one_hot(labels(seed, n, classes), classes).double()
    weight, share = one_gradient(reduction, n)

    def f(x, t):
        return F.cross_entropy(x, t, reduction=reduction)

    found = secretly(protocol, f, x, t, weight=weight, public=(1,))
    exact = plainly(f, x, t, weight=weight, public=(1,))
    # A row: the logarithm at the label, and a rounded product for each class; then a mean or a sum
    # of N rows.
    row = LOG + classes * ULP
    value = {"none": row, "sum": n * row, "mean": row + RELATIVE * exact.value.abs() + ULP}
    within(found.value, exact.value, value[reduction])
    # -t·g/N: the public 1/N and a product; the gradient less softmax times its sum over the
    # classes.
    size = weight.abs().max() * share
    each = RELATIVE * size + 2 * ULP
    within(
        found.grads[0], exact.grads[0], each + SOFT * (size + classes * each) + classes * each + ULP
    )


@protocols
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("public", [False, True])
@some
@given(seed=SEEDS, sizes=SIZES)
def test_cross_entropy_on_class_labels_keeps_its_bound(protocol, reduction, public, seed, sizes):
    n, classes = sizes
    x, t = reals(seed, n, classes, limit=6), labels(seed, n, classes)
    weight, share = one_gradient(reduction, n)

    def f(x, labels=t):
        return F.cross_entropy(x, labels, reduction=reduction)

    inputs = (x,) if public else (x, t)
    found = secretly(protocol, f, *inputs, weight=weight)
    exact = plainly(f, *inputs, weight=weight)
    # A label picks a logarithm without any rounding.
    value = {"none": LOG, "sum": n * LOG, "mean": LOG + RELATIVE * exact.value.abs() + ULP}
    within(found.value, exact.value, value[reduction])
    size = weight.abs().max() * share
    each = RELATIVE * size + 2 * ULP
    within(found.grads[0], exact.grads[0], each + SOFT * (size + each) + each + ULP)


@protocols
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("kind", ["one-hot", "secret labels", "public labels"])
def test_label_smoothing_mixes_in_a_mean_over_the_classes(protocol, reduction, kind):
    n, classes, smooth = 6, 4, 0.1
    x, t = reals(1, n, classes, limit=6), labels(1, n, classes)
    soft = F.one_hot(t, classes).double()

    def f(x, target=t):
        return F.cross_entropy(x, target, label_smoothing=smooth, reduction=reduction)

    inputs = {"one-hot": (x, soft), "secret labels": (x, t), "public labels": (x,)}[kind]
    found, exact = secretly(protocol, f, *inputs), plainly(f, *inputs)
    # The logarithms are off by 2^-12 and at most 14 in size; the mixed target is off by 3u in each
    # of 4 classes, or the mixed losses are products with public numbers. Then a rounded product for
    # each class, and a mean.
    row = LOG * (1 + smooth) + classes * (14 * 3 * ULP + 2 * ULP)
    bound = {"none": row, "sum": n * row, "mean": row + 14 * RELATIVE + 2 * ULP}
    within(found.value, exact.value, bound[reduction])


@protocols
@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 2, 3, 4)])
def test_cross_entropy_works_for_each_pixel(protocol, shape):
    x = reals(1, *shape, limit=6)
    n = x.numel() // shape[1]
    t = labels(2, n, shape[1]).reshape(shape[0], *shape[2:])
    weight = reals(3, limit=1)
    found = secretly(protocol, F.cross_entropy, x, t, weight=weight)
    exact = plainly(F.cross_entropy, x, t, weight=weight)
    within(found.value, exact.value, LOG + RELATIVE * exact.value.abs() + ULP)
    within(found.grads[0], exact.grads[0], SOFT / n + 6 * ULP)


@protocols
@pytest.mark.parametrize("reduction", REDUCTIONS)
@some
@given(seed=SEEDS, n=st.integers(1, 9), limit=st.sampled_from([4.0, 30.0]))
def test_binary_cross_entropy_with_logits_keeps_its_bound(protocol, reduction, seed, n, limit):
    x, t = reals(seed, n, 2, limit=limit), (reals(seed + 1, n, 2) > 0).double()
    weight = reals(5, *([n, 2] if reduction == "none" else []), limit=1)

    def f(x, t):
        return F.binary_cross_entropy_with_logits(x, t, reduction=reduction)

    found = secretly(protocol, f, x, t, weight=weight, public=(1,))
    exact = plainly(f, x, t, weight=weight, public=(1,))
    each, many = LOG + ULP, 2 * n  # softplus, and a product
    value = {"none": each, "sum": many * each, "mean": each + RELATIVE * exact.value.abs() + ULP}
    within(found.value, exact.value, value[reduction])
    # (sigmoid - t)·g over the number: sigmoid is off by 2^-12, and at most four roundings and a
    # public factor.
    within(found.grads[0], exact.grads[0], LOG + RELATIVE + 4 * ULP)


@protocols
@pytest.mark.parametrize("reduction", REDUCTIONS)
@some
@given(seed=SEEDS, n=st.integers(1, 9))
def test_mean_squared_error_keeps_its_bound(protocol, reduction, seed, n):
    x, y = reals(seed, n, 3), reals(seed + 1, n, 3)
    weight = reals(5, *([n, 3] if reduction == "none" else []), limit=1)

    def f(x, y):
        return F.mse_loss(x, y, reduction=reduction)

    found = secretly(protocol, f, x, y, weight=weight)
    exact = plainly(f, x, y, weight=weight)
    many = 3 * n
    value = {"none": ULP, "sum": many * ULP, "mean": ULP + RELATIVE * exact.value.abs() + ULP}
    within(found.value, exact.value, value[reduction])
    # Differences below 8, times 2 or 2/N and times the gradient: off by u of 16, and two roundings.
    for one, other in zip(found.grads, exact.grads, strict=True):
        within(one, other, 16 * RELATIVE + 2 * ULP)


@protocols
def test_other_losses_come_out_of_their_parts(protocol):
    x, y = reals(1, 5, 4), reals(2, 5, 4)
    for f, bound in (
        (F.l1_loss, 8 * RELATIVE + ULP),
        (lambda x, y: F.nll_loss(x, torch.arange(5) % 4) + y.sum() * 0, 4 * RELATIVE + ULP),
    ):
        found, exact = secretly(protocol, f, x, y), plainly(f, x, y)
        within(found.value, exact.value, bound)


def test_a_loss_of_one_row_without_a_batch_agrees():
    x, t = reals(1, 4), torch.tensor(2)
    found = secretly("clear", lambda x: F.cross_entropy(x, t), x, weight=torch.ones(()).double())
    exact = plainly(lambda x: F.cross_entropy(x, t), x, weight=torch.ones(()).double())
    within(found.value, exact.value, LOG + RELATIVE * 8 + ULP)
    within(found.grads[0], exact.grads[0], SOFT + 4 * ULP)


def test_secret_labels_are_compared_once():
    from mpc.launch import run_parties
    from protocols.nn import Session

    def program(party):
        session = Session(party)
        x, t = shared(session, reals(1, 4, 3).float(), grad=True), shared(session, labels(1, 4, 3))
        loss = F.cross_entropy(x, t)
        before = party.meter.total.rounds
        loss.backward()
        return party.meter.total.rounds - before

    # -marks/N, one product, at most one truncation each: no comparison has so few rounds.
    assert run_parties(3, program)[0] <= 6


def test_a_label_that_names_no_class_is_refused_when_it_is_public_and_counts_for_nothing_when_not():
    x = reals(1, 3, 4)
    with pytest.raises(NotOffered, match="1 of 3 labels"):
        secretly("clear", lambda x: F.cross_entropy(x, torch.tensor([0, 4, 1])), x)
    found = secretly(
        "clear", lambda x, t: F.nll_loss(x, t, reduction="none"), x, torch.tensor([0, 4, 1])
    )
    assert found.value[1] == 0


@pytest.mark.parametrize(
    "f, says",
    [
        (lambda x: F.cross_entropy(x, torch.tensor([0, -100, 1])), "leave those studies out"),
        (lambda x: F.cross_entropy(x, torch.tensor([0, 1, 1]), x.new_ones(4)), "class weights"),
        (
            lambda x: F.binary_cross_entropy_with_logits(x, x, pos_weight=torch.ones(4)),
            "pos_weight",
        ),
    ],
)
def test_settings_that_are_not_offered_say_what_to_do_instead(f, says):
    with pytest.raises(NotOffered, match=says):
        secretly("clear", f, reals(1, 3, 4))


def test_class_weights_over_one_hot_targets_work():
    x, t = reals(1, 6, 3), F.one_hot(labels(1, 6, 3), 3).double()
    w = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)

    def program(session):
        y = F.cross_entropy(shared(session, x), shared(session, t), weight=w)
        return opened(session, y)

    within(at_parties("clear", program), F.cross_entropy(x, t, weight=w), 2 * LOG + 30 * ULP)
