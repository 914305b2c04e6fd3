"""Element-wise operators, comparisons, sums, softmax and dropout on secrets, against float64."""

import numpy as np
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
    check,
    opened,
    reals,
    secretly,
    shared,
    some,
)

protocols = pytest.mark.parametrize("protocol", PROTOCOLS)
SHAPES = st.sampled_from([(1,), (7,), (2, 3, 4), (65,), (3, 1)])


@protocols
@some
@given(seed=SEEDS, shape=SHAPES)
def test_sums_and_differences_are_exact_under_broadcasting(protocol, seed, shape):
    x, y = reals(seed, *shape), reals(seed + 1, 5, *shape)

    def f(x, y):
        z = x + y - 2 * x + (3 - y) + y * 2
        z += x
        return -z

    check(protocol, f, x, y, grads=[0, 0])


@protocols
@some
@given(seed=SEEDS, shape=SHAPES)
def test_products_are_rounded_once_and_squares_too(protocol, seed, shape):
    x, y = reals(seed, *shape), reals(seed + 1, 5, *shape)
    check(protocol, lambda x, y: x * y, x, y, value=ULP, grads=[5 * ULP, ULP])
    check(protocol, torch.square, x, value=ULP, grads=[ULP])
    check(protocol, lambda x: x * x, x, value=ULP, grads=[2 * ULP])
    # x^3 is two products, the second with what the first is off by; its slope 3·x^2·g is two more.
    check(protocol, lambda x: x**3, x, value=4 * ULP + ULP, grads=[4 * ULP])
    third = 4 / 3 * RELATIVE + ULP
    check(protocol, lambda x: x / 3, x, value=third, grads=[RELATIVE + ULP])
    check(protocol, lambda x: x * 0.7 + x / 4, x, value=4 * RELATIVE + 2 * ULP)


@protocols
@some
@given(seed=SEEDS, shape=SHAPES, scale=st.sampled_from([0.25, 0.3]))
def test_fused_sums_are_their_parts(protocol, seed, shape, scale):
    x, y, z = (reals(seed + i, *shape) for i in range(3))
    off = ULP + 16 * scale * RELATIVE + ULP
    check(protocol, lambda x, y, z: torch.addcmul(x, y, z, value=scale), x, y, z, value=off)
    check(protocol, lambda x, y: torch.lerp(x, y, scale), x, y, value=8 * scale * RELATIVE + ULP)
    check(protocol, lambda x, y: torch.add(x, y, alpha=scale), x, y, value=4 * RELATIVE + ULP)
    check(protocol, lambda x, y: torch.sub(x, y, alpha=scale), x, y, value=4 * RELATIVE + ULP)


@protocols
def test_functions_of_one_argument_keep_their_bounds(protocol):
    x = reals(1, 200, limit=3)
    above = x.abs() + 0.25
    for f, truth_off in [
        (torch.reciprocal, lambda y: 2.0**-11 * y + ULP),
        (torch.rsqrt, lambda y: 2.0**-12 * y + ULP),
        (torch.sqrt, lambda y: 2.0**-13 * y + ULP),
        (lambda x: x**0.5, lambda y: 2.0**-13 * y + ULP),
        (lambda x: x**-0.5, lambda y: 2.0**-12 * y + ULP),
        (lambda x: x**-1, lambda y: 2.0**-11 * y + ULP),
        (torch.log, lambda y: 2.0**-12),
        (torch.exp, lambda y: 2.0**-13 * y + 2 * ULP),
        (torch.erf, lambda y: 2.0**-12),
    ]:
        check(protocol, f, above, value=lambda plain, _, off=truth_off: off(plain.value.abs()))
    for f in (torch.abs, torch.sign):
        check(protocol, f, x, grads=[0])


@protocols
def test_quotients_keep_the_bound_of_divide(protocol):
    x, y = reals(1, 200), reals(2, 200)
    y = y + torch.sign(y) / 4

    def value(plain, _):
        return 2.0**-11 * plain.value.abs() + ULP + 2 * ULP / y.abs()

    check(protocol, lambda x, y: x / y, x, y, value=value)
    # A public number over a secret one is rounded to the step.
    check(protocol, lambda y: 2 / y, y, value=value_of_reciprocal)


def value_of_reciprocal(plain, _):
    # 2 times a reciprocal that is off by 2^-11 of itself and 2^-16.
    return 2.0**-11 * plain.value.abs() + 2 * ULP


@protocols
@some
@given(seed=SEEDS, dim=st.sampled_from([None, 0, 1, -1, (0, 2), (1, 2)]), keepdim=st.booleans())
def test_sums_are_exact_and_means_are_rounded_once(protocol, seed, dim, keepdim):
    x = reals(seed, 3, 4, 5)
    axes = {} if dim is None else {"dim": dim, "keepdim": keepdim}
    check(protocol, lambda x: x.sum(**axes), x, grads=[0])
    check(
        protocol,
        lambda x: x.mean(**axes),
        x,
        value=4 * RELATIVE + ULP,
        grads=[RELATIVE + ULP],
    )


@protocols
@some
@given(seed=SEEDS, correction=st.sampled_from([0, 1]))
def test_variances_and_deviations_agree(protocol, seed, correction):
    x = reals(seed, 3, 8)

    def variance(x):
        return x.var(1, correction=correction)

    # d = 5·u at the mean, of numbers below 8: each of 8 squares is off by its rounding and by
    # 2·8·d; over 7 or 8, times a public number that is off by u of a variance below 20.
    d = 4 * RELATIVE + ULP
    off = (8 * ULP + 8 * (2 * 8 * d + d * d)) / 7 + 20 * RELATIVE + ULP
    # 2/7·g·(x - mean): two roundings, on numbers below 8.
    slope = 8 * (RELATIVE + ULP) + d + 2 * ULP
    check(protocol, variance, x, value=off, grads=[slope])

    def root(plain, _):
        return off / plain.value + 2.0**-13 * plain.value + ULP

    check(protocol, lambda x: x.std(1, correction=correction), x, value=root)


@protocols
@some
@given(seed=SEEDS, shape=SHAPES)
def test_extremes_are_exact(protocol, seed, shape):
    x, y = reals(seed, *shape), reals(seed + 1, *shape)
    check(protocol, torch.maximum, x, y, grads=[0, 0])
    check(protocol, torch.minimum, x, y, grads=[0, 0])
    for f in (torch.max, torch.min, torch.argmax):
        check(protocol, f, x)
    x = reals(seed, 3, 4, 2)
    for f in (
        lambda x: x.amax(1),
        lambda x: x.amin((0, 2), keepdim=True),
        lambda x: x.argmax(1),
        lambda x: x.argmax(2, keepdim=True),
        lambda x: x.max(1)[1],
        lambda x: x.min(1, keepdim=True)[1],
    ):
        check(protocol, f, x)
    check(protocol, lambda x: x.max(1)[0], x, grads=[0])
    check(protocol, lambda x: x.min(2, keepdim=True)[0], x, grads=[0])


@protocols
@some
@given(seed=SEEDS, shape=SHAPES)
def test_comparisons_and_logic_are_exact(protocol, seed, shape):
    x, y = reals(seed, *shape), reals(seed + 1, *shape)
    y = torch.where(reals(seed + 2, *shape) > 0, x, y)

    def f(x, y):
        a, b = x > y, x <= 0.5
        found = [a, b, x < y, x >= y, x == y, x != y, x > 0, x == 0.0, ~a, a & b, a | b, a ^ b]
        found += [torch.logical_and(a, b), torch.logical_not(b)]
        return torch.stack([v.float() for v in found])

    check(protocol, f, x, y)
    check(protocol, lambda x: (x > 0).sum(), x)
    check(protocol, lambda x: (x > 0).float().mean(), x, value=RELATIVE + ULP)
    check(protocol, lambda x: 1 - (x > 0).float(), x)
    check(protocol, lambda x: (x > 0).long() * 3, x)
    check(protocol, lambda x: (x > 0) * x, x, grads=[0])


@protocols
@some
@given(seed=SEEDS, shape=SHAPES)
def test_choices_are_exact(protocol, seed, shape):
    x, y = reals(seed, 4, *shape), reals(seed + 1, *shape)
    known = torch.arange(4).reshape(4, *[1] * len(shape)) > 1
    for f in (
        lambda x, y: torch.where(x > 0, x, y),
        lambda x, y: torch.where(y > 0, x, 1.5),
        lambda x, y: torch.where(known, x, y),
        lambda x, y: x.masked_fill(y > 0, 0.25) + y,
        lambda x, y: x.masked_fill(known, -1.0) + y,
    ):
        check(protocol, f, x, y, grads=None)
    check(protocol, lambda x, y: torch.where(x > y, x, y * 2), x, y, grads=[0, 0])
    check(protocol, lambda x: x.masked_fill(x > 0, 1.0), x, grads=[0])


@protocols
def test_whole_numbers_stay_whole(protocol):
    n = torch.arange(-5, 6)
    for f in (
        lambda n: n + 1,
        lambda n: n * n,
        lambda n: n.sum(),
        lambda n: n == 2,
        lambda n: n.bool(),
        lambda n: n.float() / 2,
        lambda n: n.max(),
        lambda n: -n,
    ):
        found = secretly(protocol, f, n)
        assert torch.equal(found.value, f(n).double())


# Softmax.


@protocols
@some
@given(seed=SEEDS, classes=st.integers(2, 12), dim=st.sampled_from([1, -1, 2]))
def test_softmax_and_its_logarithm_keep_their_bounds(protocol, seed, classes, dim):
    shape = (2, classes, 3) if dim == 1 else (2, 3, classes)
    x, e = reals(seed, *shape, limit=8), 2.0**-11

    def gradient(plain, weight):
        y, g = plain.value, weight
        each = e * g.abs() + ULP  # of y·g
        total = (y * g).sum(dim, keepdim=True)
        total_off = each.sum(dim, keepdim=True)
        return each + e * total.abs() + (y + e) * total_off + ULP

    check(protocol, lambda x: x.softmax(dim), x, value=e, grads=[gradient])

    def log_gradient(_plain, weight):
        return e * weight.sum(dim, keepdim=True).abs() + ULP

    check(protocol, lambda x: x.log_softmax(dim), x, value=2.0**-12, grads=[log_gradient])
    check(protocol, lambda x: x.logsumexp(dim), x, value=2.0**-12)


# Dropout.


@protocols
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_the_same_everywhere_and_scales_the_rest(protocol, p):
    x = torch.ones(60, 50)

    def program(session):
        t = shared(session, x, grad=True)
        y = F.dropout(t, p)
        y.backward(shared(session, x))
        return opened(session, y), opened(session, t.grad)

    y, grad = at_parties(protocol, program)  # which asserts that the parties agree
    kept = y != 0
    assert torch.equal(kept, grad != 0)
    scale = 1 / (1 - p)
    assert torch.all((y[kept] - scale).abs() <= scale * RELATIVE + ULP)
    assert torch.all((grad[kept] - scale).abs() <= scale * RELATIVE + ULP)
    share = kept.double().mean()
    assert abs(share - (1 - p)) < 6 * np.sqrt(p * (1 - p) / x.numel())


@protocols
def test_dropout_does_nothing_in_evaluation_and_everything_at_1(protocol):
    x = reals(1, 6, 5)

    def program(session):
        t = shared(session, x)
        layer = torch.nn.Dropout(0.5)
        out = [layer.eval()(t), F.dropout(t, 0.0), F.dropout(t, 1.0)]
        return [opened(session, y) for y in out]

    same, none, every = at_parties(protocol, program)
    assert torch.equal(same, x) and torch.equal(none, x)
    assert not every.any()


@protocols
def test_whole_channels_can_be_dropped(protocol):
    x = torch.ones(8, 16, 3, 3)
    y = at_parties(protocol, lambda s: opened(s, F.dropout2d(shared(s, x), 0.5)))
    sums = y.sum((2, 3))
    assert set(sums.reshape(-1).tolist()) == {0.0, 18.0}


def test_two_masks_differ():
    def program(session):
        t = shared(session, torch.ones(200))
        return opened(session, F.dropout(t, 0.5)), opened(session, F.dropout(t, 0.5))

    one, other = at_parties("rep3", program)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    "f, says",
    [
        (lambda x: x**0.75, "power 0.75"),
        (lambda x: x.to(torch.int64), "secret reals to torch.int64"),
        (lambda x: x.var(0, correction=3), "variance of 3"),
        (lambda x: torch.logical_and(x, x), "compare them first"),
        (lambda x: x.logsumexp((0, 1)), "one axis at a time"),
        (lambda x: F.dropout(x, 0.5) if False else torch.empty_like(x).normal_(), "normal_"),
        (lambda x: torch.sin(x), "aten::sin"),
    ],
)
def test_what_is_not_offered_is_named(f, says):
    with pytest.raises(NotOffered, match=says) as caught:
        secretly("clear", f, reals(1, 3, 3))
    assert "\n" not in str(caught.value)
