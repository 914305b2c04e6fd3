"""Max-pooling is exact, ties and padding included; average pooling is rounded once."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
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


@st.composite
def pools(draw, dilated):
    dims = draw(st.integers(1, 3))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    kernel = each(1, 3)
    setting = {
        "kernel_size": kernel,
        "stride": each(1, 3),
        "padding": tuple(draw(st.integers(0, k // 2)) for k in kernel),
        "ceil_mode": draw(st.booleans()),
    }
    if dilated:
        setting["dilation"] = each(1, 2)
    dilation = setting.get("dilation", (1,) * dims)
    size = tuple(
        d * (k - 1) + 1 + draw(st.integers(0, 3)) for d, k in zip(dilation, kernel, strict=True)
    )
    lead = draw(st.sampled_from([(2, 2), (1, 3)]))
    return dims, setting, (*lead, *size)


def with_ties(seed, *shape):
    x = reals(seed, *shape)
    return torch.where(reals(seed + 1, *shape) > 0, x, x.reshape(-1)[0])


@protocols
@some
@given(seed=SEEDS, drawn=pools(dilated=True))
def test_max_pooling_is_exact_and_ties_go_where_pytorch_sends_them(protocol, seed, drawn):
    dims, setting, shape = drawn
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[dims - 1]
    x = with_ties(seed, *shape)
    # Overlapping windows add up the gradients of the same input: exact, too.
    check(protocol, lambda x: pool(x, **setting), x, grads=[0])


@protocols
@some
@given(seed=SEEDS, drawn=pools(dilated=True))
def test_a_pool_that_goes_before_a_relu_gives_the_same_and_so_does_its_gradient(
    protocol, seed, drawn
):
    dims, setting, shape = drawn
    pool = getattr(F, f"max_pool{dims}d")
    check(protocol, lambda x: pool(F.relu(x * 1), **setting), reals(seed, *shape), grads=[0])


@pytest.mark.parametrize("width", [40, 64])
def test_a_pool_goes_before_the_relu_of_a_convolution_at_any_width(width):
    from mpc.launch import run_parties
    from protocols.nn import Session

    weight, x = reals(1, 2, 1, 3, 3, limit=1).float(), reals(2, 1, 1, 8, 8).float()

    def program(party):
        session = Session(party, width=width)
        w, secret = shared(session, weight), shared(session, x)
        y = F.max_pool2d(F.relu(F.conv2d(secret, w, padding=1)), 3, 2, padding=1)
        return session.open(y, reason="a test")

    exact = F.max_pool2d(F.relu(F.conv2d(x, weight, padding=1)), 3, 2, padding=1)
    assert torch.all(abs(run_parties(3, program)[0] - exact) <= ULP)


@protocols
def test_a_relu_that_is_used_beside_a_pool_too_has_the_gradient_of_both(protocol):
    def f(x):
        y = F.relu(x * 1)
        return F.max_pool2d(y, 2) + y[:, :, ::2, ::2]

    check(protocol, f, reals(1, 2, 3, 4, 6), grads=[0])


def test_a_pool_after_a_relu_compares_each_window_with_zero_once():
    from mpc.launch import run_parties
    from protocols.nn import Session

    def program(party):
        session, sent = Session(party), []
        x = shared(session, reals(1, 1, 1, 48, 48).float(), grad=True)
        total = party.meter.total
        for f in (lambda x: F.max_pool2d(F.relu(x), 2), lambda x: F.max_pool2d(x, 2)):
            before = total.rounds, total.sent_bytes
            y = f(x * 1)
            y.secret.share  # noqa: B018
            forward = total.rounds - before[0], total.sent_bytes - before[1]
            y.sum().backward()
            sent.append((*forward, total.rounds - before[0] - forward[0]))
        return sent

    rows = run_parties(3, program)
    (relu_too, _, way_back), (alone, _, without) = rows[0]
    assert (relu_too, alone) == (7 + 14, 14)
    assert (way_back, without) == (2 + 4, 4)  # one select of a bit a window
    of_pool, of_both = (sum(row[i][1] for row in rows) for i in (1, 0))
    assert of_both - of_pool == 24 * 24 * 78.75  # a positive part for each window


@protocols
@some
@given(seed=SEEDS, drawn=pools(dilated=False), include=st.booleans())
def test_average_pooling_is_rounded_once(protocol, seed, drawn, include):
    dims, setting, shape = drawn
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[dims - 1]
    x = reals(seed, *shape)

    def f(x):
        return pool(x, count_include_pad=include, **setting)

    # The sum of a window, below 4·k, times a public number that is off by 2^-16 of the largest,
    # which is at most 1.
    k = math.prod(setting["kernel_size"])
    # As many windows as cover an input, each with a weight below 1 and an error of that or of one
    # rounding.
    covered = math.prod(
        math.ceil(a / b) for a, b in zip(setting["kernel_size"], setting["stride"], strict=True)
    )
    check(protocol, f, x, value=4 * k * RELATIVE + ULP, grads=[covered * (RELATIVE + ULP)])


@protocols
@pytest.mark.parametrize("kernel", [2, 4, 8])
def test_the_gradient_of_an_average_over_a_power_of_two_is_exact_and_sends_nothing(
    protocol, kernel
):
    x = reals(1, 1, 2, 16, 16)
    check(protocol, lambda x: F.avg_pool2d(x, kernel), x, value=ULP, grads=[0])


def test_that_gradient_sends_nothing():
    def program(session):
        x = shared(session, reals(1, 1, 2, 8, 8), grad=True)
        y = F.avg_pool2d(x, 4)
        g = shared(session, torch.ones(1, 2, 2, 2))
        if session.party is None:
            return 0
        before = session.party.meter.total.rounds
        y.backward(g)
        return session.party.meter.total.rounds - before

    assert at_parties("rep3", program) == 0


@protocols
def test_the_weights_before_a_global_average_get_a_gradient_that_is_not_drowned_in_rounding(
    protocol,
):
    """One ulp at each of the 676 positions would be 676·|x| ulp in the weight: here it is three."""
    x, w = reals(1, 1, 1, 28, 28, limit=1), reals(2, 2, 1, 3, 3, limit=1)

    def f(x, w):
        return F.adaptive_avg_pool2d(F.conv2d(x, w), 1).flatten(1)

    # A gradient below 1 over 676 positions, which is off by 2^-16 of itself and by 2^-24 at each.
    bound = 676 * 2.0**-24 + RELATIVE + ULP
    value = ULP + 9 * RELATIVE + ULP
    check(protocol, f, x, w, value=value, grads=[9 * (RELATIVE + ULP), bound])


@protocols
@some
@given(
    seed=SEEDS,
    dims=st.integers(1, 3),
    sizes=st.tuples(*[st.integers(1, 7)] * 3),
    wanted=st.tuples(*[st.integers(1, 5)] * 3),
)
def test_adaptive_average_pooling_agrees_for_all_sizes(protocol, seed, dims, sizes, wanted):
    out = tuple(min(a, b) for a, b in zip(sizes, wanted, strict=True))[:dims]
    x = reals(seed, 2, 2, *sizes[:dims])
    pool = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[dims - 1]
    k = math.prod(math.ceil(n / o) + 1 for n, o in zip(sizes, out, strict=False))
    check(
        protocol,
        lambda x: pool(x, out),
        x,
        value=4 * k * RELATIVE + ULP,
        grads=[
            2**dims * (RELATIVE + ULP)
        ],  # bins that overlap cover an input at most twice along an axis
    )


@protocols
@some
@given(seed=SEEDS, dims=st.integers(1, 3), factor=st.integers(1, 3))
def test_adaptive_max_pooling_is_exact_where_sizes_divide(protocol, seed, dims, factor):
    x = with_ties(seed, 1, 2, *(2 * factor, factor, 3 * factor)[:dims])
    pool = (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)[dims - 1]
    check(protocol, lambda x: pool(x, (2, 1, 3)[:dims]), x, grads=[0])


def test_adaptive_max_pooling_of_other_sizes_is_refused():
    with pytest.raises(NotOffered, match="sizes that divide"):
        secretly("clear", lambda x: F.adaptive_max_pool2d(x, 3), reals(1, 1, 1, 8, 8))


@protocols
@pytest.mark.parametrize("grad", [False, True])
def test_max_pool_1d_works_with_and_without_gradients(protocol, grad):
    x = reals(1, 2, 3, 8)

    def program(session):
        t = shared(session, x, grad=grad)
        with torch.set_grad_enabled(grad):
            return opened(session, nn.MaxPool1d(2)(t))

    assert torch.equal(at_parties(protocol, program), nn.MaxPool1d(2)(x))


@protocols
@pytest.mark.parametrize("width", [64, 40, 32])
def test_padding_never_wins_at_any_comparison_width(protocol, width):
    low = -(2.0 ** min(width - 20, 29))  # far below zero, and still comparable
    x = torch.full((1, 1, 4, 4), low, dtype=torch.float64)

    def program(session):
        return opened(session, F.max_pool2d(shared(session, x), 3, 2, 1))

    assert torch.all(at_parties(protocol, program, width) == low)


def test_the_places_of_a_max_pool_stay_secret():
    def program(session):
        x = shared(session, reals(1, 1, 1, 4, 4))
        _, places = F.max_pool2d(x, 2, return_indices=True)
        session.open(places, reason="a test")

    with pytest.raises(NotOffered, match="places of a max-pool"):
        at_parties("clear", program)
