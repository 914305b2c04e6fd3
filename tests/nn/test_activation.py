"""Activations and their gradients: choices are exact, curves keep their functions' bounds."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from mpc.errors import NotOffered
from tests.nn.both import PROTOCOLS, RELATIVE, SEEDS, ULP, check, reals, secretly, shared, some

protocols = pytest.mark.parametrize("protocol", PROTOCOLS)
SHAPES = st.sampled_from([(1,), (7,), (2, 3, 4), (65,)])


def of_weight(slope, error):
    """A gradient that is a slope known to within `slope`, times the weight, and roundings."""
    return lambda _plain, weight: slope * weight.abs() + error


@protocols
@some
@given(seed=SEEDS, shape=SHAPES)
def test_relu_is_exact_and_its_gradient_too(protocol, seed, shape):
    x = reals(seed, *shape)
    x.reshape(-1)[::3] = 0  # where PyTorch, and so we, give no gradient
    check(protocol, F.relu, x, grads=[0])
    check(protocol, lambda x: F.relu(x * 1, inplace=True), x, grads=[0])
    check(protocol, F.relu6, x, grads=[0])
    check(protocol, lambda x: F.threshold(x, 0.5, -1.0), x)


@protocols
@some
@given(seed=SEEDS, shape=SHAPES, slope=st.sampled_from([0.01, 0.2, 0.5]))
def test_leaky_relu_is_exact_where_positive_and_rounded_once_elsewhere(
    protocol, seed, shape, slope
):
    x = reals(seed, *shape)
    x.reshape(-1)[::3] = 0
    value = 4 * slope * RELATIVE + ULP
    check(protocol, lambda x: F.leaky_relu(x, slope), x, value=value, grads=[RELATIVE + ULP])


@protocols
@some
@given(seed=SEEDS, channels=st.sampled_from([1, 3]))
def test_prelu_rounds_once_and_its_weight_gets_a_sum_of_rounded_products(protocol, seed, channels):
    x, w = reals(seed, 2, 3, 4), reals(seed + 1, channels, limit=1)
    many = x.numel() // channels
    check(protocol, F.prelu, x, w, value=ULP, grads=[ULP, many * ULP])


@protocols
@some
@given(seed=SEEDS, shape=SHAPES, bounds=st.sampled_from([(-1.0, 1.0), (-0.5, 2.0), (0.0, 6.0)]))
def test_hardtanh_and_clamp_are_exact(protocol, seed, shape, bounds):
    x = reals(seed, *shape)
    check(protocol, lambda x: F.hardtanh(x, *bounds), x, grads=[0])
    check(protocol, lambda x: x.clamp(*bounds), x, grads=[0])
    check(protocol, lambda x: x.clamp(min=bounds[0]), x, grads=[0])
    check(protocol, lambda x: x.clamp(max=bounds[1]), x, grads=[0])


# Curves. A product of the slope with the gradient is rounded once more.


@protocols
@pytest.mark.parametrize("limit", [3.0, 40.0, 20000.0])
def test_sigmoid_and_tanh_keep_the_bounds_of_their_functions(protocol, limit):
    x = reals(1, 300, limit=limit)

    # y is off by e, so y·(1 - y) by at most e·(1 + e), and y·y is rounded.
    def sigmoid_slope(_plain, weight):
        e = 2.0**-12
        return (e * (1 + e) + ULP) * weight.abs() + ULP

    def tanh_slope(_plain, weight):
        e = 2.0**-11
        return (e * (2 + e) + ULP) * weight.abs() + ULP

    check(protocol, torch.sigmoid, x, value=2.0**-12, grads=[sigmoid_slope])
    check(protocol, torch.tanh, x, value=2.0**-11, grads=[tanh_slope])


@protocols
@pytest.mark.parametrize("limit", [3.0, 40.0, 20000.0])
def test_gelu_silu_and_softplus_keep_the_bounds_of_their_functions(protocol, limit):
    x = reals(2, 300, limit=limit)
    check(protocol, F.gelu, x, value=2.0**-12, grads=[of_weight(2.0**-11, ULP)])
    check(protocol, F.silu, x, value=2.0**-12, grads=[of_weight(2.0**-10, ULP)])
    # Beyond 20 PyTorch takes x itself, which is 2^-28 off.
    check(protocol, F.softplus, x, value=2.0**-12, grads=[of_weight(2.0**-12 + 2.0**-28, ULP)])
    check(protocol, F.logsigmoid, x, value=2.0**-12, grads=[of_weight(2.0**-12, ULP)])


@protocols
def test_the_tanh_form_of_gelu_is_gelu(protocol):
    x = reals(3, 300, limit=8)
    apart = (F.gelu(x, approximate="tanh") - F.gelu(x)).abs().max()
    assert apart < 2.0**-11
    check(protocol, lambda x: F.gelu(x, approximate="tanh"), x, value=2.0**-12 + apart)


@protocols
def test_the_hard_ones_are_products_with_a_sixth_and_a_third(protocol):
    x = reals(4, 300, limit=6)
    sixth = RELATIVE + ULP
    check(protocol, F.hardsigmoid, x, value=sixth, grads=[RELATIVE / 6 + ULP])
    # x·hardsigmoid(x): 6 times what hardsigmoid is off by, and one rounding; the slope is x/3 +
    # 1/2.
    slope = 2 * RELATIVE + 2 * ULP
    check(protocol, F.hardswish, x, value=6 * sixth + ULP, grads=[of_weight(slope, ULP)])


@protocols
@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_elu_and_selu_keep_the_bound_of_exp(protocol, alpha):
    x = reals(5, 300, limit=10)
    x[::5] = 0
    exp = 2.0**-13 + 2 * ULP  # for x <= 0, where e^x <= 1
    check(
        protocol,
        lambda x: F.elu(x, alpha),
        x,
        value=exp + RELATIVE + ULP,
        grads=[of_weight(exp + RELATIVE + ULP, ULP)],
    )
    # alpha·scale is 1.76, and x·scale is up to 10.5.
    off = 1.76 * (exp + RELATIVE) + ULP
    check(
        protocol,
        F.selu,
        x,
        value=off + 11 * RELATIVE + ULP,
        grads=[of_weight(off + 2 * RELATIVE + ULP, ULP)],
    )


def test_settings_that_are_not_offered_are_named():
    for f, says in [
        (lambda x: F.softplus(x, beta=2), "beta"),
        (lambda x: F.elu(x.clone(), inplace=True), "elu in place"),
    ]:
        with pytest.raises(NotOffered, match=says):
            secretly("clear", f, reals(1, 3), weight=reals(2, 3))


def test_a_gradient_needs_no_second_comparison():
    from mpc.launch import run_parties
    from protocols.nn import Session

    def program(party):
        session = Session(party)
        x = session.share(torch.randn(64) if party.rank == 0 else None, owner=0).requires_grad_()
        g = session.share(torch.randn(64) if party.rank == 0 else None, owner=0)
        counts = []
        for f in (F.relu, lambda x: F.leaky_relu(x, 0.1), F.gelu, F.silu):
            y = f(x * 1)
            y.secret.share  # noqa: B018  # a ReLU is computed when it is looked at
            before = party.meter.total.rounds
            y.backward(g)
            counts.append(party.meter.total.rounds - before)
        return counts

    relu, leaky, gelu, silu = run_parties(3, program)[0]
    assert relu == 2  # one select
    assert leaky == 4  # and one product with a public number
    assert gelu == 4 + 2  # the slope after its function, and one product
    assert silu == 6 + 2


@pytest.mark.parametrize(
    "function, rounds",
    [
        (F.relu6, 2 + 7),
        (F.hardtanh, 2 + 7),
        (F.hardsigmoid, 2 + 2 + 7),
        (F.sigmoid, 2 + 16),
        (F.softplus, 2 + 14),
        (F.relu, 7),
    ],
)
def test_an_activation_truncates_the_product_before_it_once(function, rounds):
    from mpc.launch import run_parties
    from protocols.nn import Session

    x, weight = reals(1, 20, 8).float(), reals(2, 16, 8).float()

    def program(party):
        session = Session(party)
        secret, w = shared(session, x), shared(session, weight)
        before = party.meter.total.rounds
        y = function(F.linear(secret, w))
        y.secret.share  # noqa: B018
        taken = party.meter.total.rounds - before
        return taken, session.open(y, reason="a test")

    for taken, y in run_parties(3, program):
        assert taken == rounds
        assert torch.allclose(y, function(x @ weight.T), atol=2e-3)
        if function is F.relu6:
            assert y.min() == 0 and y.max() == 6
