"""Every function keeps the bound that its docstring states, over the domain that it states."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from protocols import functions
from protocols.functions.error_function import ERFC, GELU, GELU_SLOPE
from protocols.functions.exponential import SIGMOID, SILU, SILU_SLOPE, SOFTPLUS, TANH
from protocols.functions.polynomial import evaluation_error
from protocols.functions.power import INVERSE, INVERSE_ROOT, LOGARITHM, ROOT
from tests.protocols.words import PROTOCOLS, ULP, computed


def grid(low, high, count=6000):
    """Numbers from low to high: evenly, by magnitude, and about every power of two and the ends."""
    draw = np.random.default_rng(1)
    powers = 2.0 ** np.arange(-16, 31)
    near = np.concatenate([powers, powers - ULP, powers + ULP, [0.0, low, high]])
    sizes = 2.0 ** draw.uniform(-16, 30, count)
    lines = [np.linspace(max(low, -r), min(high, r), count) for r in (1.0, 24.0)]
    x = np.concatenate([near, -near, sizes, -sizes, *lines])
    x = np.rint(x / ULP) * ULP
    return x[(x >= low) & (x <= high)]


def normal(x):
    return np.exp(-np.minimum(x * x, 1400) / 2) / math.sqrt(2 * math.pi)


def silu_slope(x):
    return special.expit(x) * (1 + x * special.expit(-x))


@dataclass(frozen=True)
class Case:
    """A function, what it should give, its domain, and how far off it may be."""

    function: Callable
    truth: Callable
    low: float
    high: float
    allowed: Callable


LARGEST = 2.0**30 - ULP
CASES = {
    "reciprocal": Case(
        functions.reciprocal,
        lambda x: 1 / x,
        ULP,
        LARGEST,
        lambda x, y: 2.0**-11 * np.abs(y) + 2.0**-16,
    ),
    "reciprocal of negative numbers": Case(
        functions.reciprocal,
        lambda x: 1 / x,
        -LARGEST,
        -2 * ULP,
        lambda x, y: 2.0**-11 * np.abs(y) + 2.0**-16,
    ),
    "reciprocal in a window": Case(
        lambda x: functions.reciprocal(x, 2.0**-8, 2.0**20),
        lambda x: 1 / x,
        2.0**-8,
        2.0**20,
        lambda x, y: 2.0**-11 * np.abs(y) + 2.0**-16,
    ),
    "reciprocal of negative numbers in a window": Case(
        lambda x: functions.reciprocal(x, 2.0**-8, 2.0**20),
        lambda x: 1 / x,
        -(2.0**20),
        -(2.0**-8),
        lambda x, y: 2.0**-11 * np.abs(y) + 2.0**-16,
    ),
    "rsqrt": Case(
        functions.rsqrt,
        lambda x: x**-0.5,
        ULP,
        LARGEST,
        lambda x, y: 2.0**-12 * y + 2.0**-16,
    ),
    "sqrt": Case(
        functions.sqrt, np.sqrt, 0.0, LARGEST, lambda x, y: 2.0**-13 * y + 2.0**-16 * (x > 0)
    ),
    "log": Case(functions.log, np.log, ULP, LARGEST, lambda x, y: 2.0**-12),
    "exp": Case(
        functions.exp,
        lambda x: np.where(x < -20, 0, np.exp(x)),
        -LARGEST,
        8.0,
        lambda x, y: (2.0**-13 * y + 2.0**-15) * (x >= -20),
    ),
    "sigmoid": Case(functions.sigmoid, special.expit, -LARGEST, LARGEST, lambda x, y: 2.0**-12),
    "tanh": Case(functions.tanh, np.tanh, -LARGEST, LARGEST, lambda x, y: 2.0**-11),
    "erf": Case(functions.erf, special.erf, -LARGEST, LARGEST, lambda x, y: 2.0**-12),
    "gelu": Case(
        functions.gelu,
        lambda x: x * special.ndtr(x),
        -LARGEST,
        LARGEST,
        lambda x, y: np.where(np.abs(x) < 4, 2.0**-12, 2.0**-13),
    ),
    "gelu_slope": Case(
        functions.gelu_slope,
        lambda x: special.ndtr(x) + x * normal(x),
        -LARGEST,
        LARGEST,
        lambda x, y: 2.0**-11,
    ),
    "silu": Case(
        functions.silu,
        lambda x: x * special.expit(x),
        -LARGEST,
        LARGEST,
        lambda x, y: np.where(np.abs(x) < 12, 2.0**-12, 2.0**-13),
    ),
    "silu_slope": Case(functions.silu_slope, silu_slope, -LARGEST, LARGEST, lambda x, y: 2.0**-10),
    "softplus": Case(
        functions.softplus,
        lambda x: np.logaddexp(0, x),
        -LARGEST,
        LARGEST,
        lambda x, y: 2.0**-12,
    ),
}


def check(protocol, case, x):
    (y,) = computed(protocol, case.function, x)
    truth = case.truth(x)
    excess = np.abs(y - truth) - case.allowed(x, truth)
    worst = np.argmax(excess)
    assert excess[worst] <= 0, f"at {x[worst]}: {y[worst]} instead of {truth[worst]}"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", CASES)
def test_a_function_keeps_its_bound_all_over_its_domain(protocol, name):
    case = CASES[name]
    check(protocol, case, grid(case.low, case.high))


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_function_keeps_its_bound_on_drawn_numbers(name, data):
    case = CASES[name]
    ring = st.integers(round(case.low / ULP), round(case.high / ULP))
    x = np.array(data.draw(st.lists(ring, min_size=1, max_size=70))) * ULP
    for protocol in PROTOCOLS:
        check(protocol, case, x)


@pytest.mark.parametrize("name", ["reciprocal", "rsqrt", "sqrt", "log"])
def test_a_power_keeps_its_bound_for_every_number_up_to_2(name):
    check("clear", CASES[name], np.arange(1, 2 * 65536 + 1) * ULP)


@pytest.mark.parametrize("name", ["exp", "sigmoid", "tanh", "erf", "gelu", "gelu_slope"])
def test_a_folded_function_keeps_its_bound_for_every_number_about_0(name):
    check("clear", CASES[name], np.arange(-4 * 65536, 4 * 65536 + 1) * ULP)


# What a window or an end of a domain does.

WINDOWS = [
    (0.5, 0.9),
    (1.0, 1.0),
    (1.0, 2.0),
    (1.0, 3.0),
    (0.25, 5.0),
    (2.0**-16, 1.0),
    (3.0, 900.0),
]


@pytest.mark.parametrize("low, high", WINDOWS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_window_gives_the_same_function(protocol, low, high):
    x = np.rint(np.linspace(low, high, 200) / ULP) * ULP
    x = x[(x >= low) & (x <= high)]

    def all_of_them(x):
        return (
            functions.reciprocal(x, low, high),
            functions.rsqrt(x, low, high),
            functions.sqrt(x, low, high),
            functions.log(x, low, high),
            functions.divide(x, x, low, high),
        )

    inverse, rsqrt, sqrt, log, one = computed(protocol, all_of_them, x)
    assert np.all(np.abs(inverse - 1 / x) <= 2.0**-11 / x + ULP)
    assert np.all(np.abs(rsqrt - x**-0.5) <= 2.0**-12 * x**-0.5 + ULP)
    assert np.all(np.abs(sqrt - x**0.5) <= 2.0**-13 * x**0.5 + ULP)
    assert np.all(np.abs(log - np.log(x)) <= 2.0**-12)
    assert np.all(np.abs(one - 1) <= 2.0**-11 + ULP + 2 * ULP / x)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_quotient_keeps_its_bound_and_by_zero_is_zero(protocol):
    draw = np.random.default_rng(2)
    y = grid(-LARGEST, LARGEST, 2000)
    y = y[y != -ULP]
    x = draw.uniform(-1, 1, y.size) * np.minimum(np.abs(y) * 2.0**16, 2.0**30)
    x = np.rint(x * 2.0 ** -draw.integers(0, 24, y.size) / ULP) * ULP
    x[y == 0] = 1000.0
    (q,) = computed(protocol, functions.divide, x, y)
    assert np.all(q[y == 0] == 0)
    x, y, q = x[y != 0], y[y != 0], q[y != 0]
    assert np.all(np.abs(q - x / y) <= 2.0**-11 * np.abs(x / y) + ULP + 2 * ULP / np.abs(y))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_at_zero_powers_are_zero_and_the_logarithm_is_finite(protocol):
    zero = np.zeros(3)
    for function in (functions.reciprocal, functions.rsqrt, functions.sqrt):
        (y,) = computed(protocol, function, zero)
        assert np.all(y == 0)
    (y,) = computed(protocol, functions.reciprocal, np.array([-ULP]))
    assert np.all(y == 0)
    (y,) = computed(protocol, functions.log, zero)
    assert np.all((y < math.log(ULP)) & (y > math.log(ULP) - 3))


@pytest.mark.parametrize(
    "protocol, shape",
    [
        ("rep3", ()),
        ("additive", ()),
        *((name, s) for name in PROTOCOLS for s in [(1,), (2, 3), (0,), (5, 13)]),
    ],
)
def test_any_shape_goes_in_and_comes_out(protocol, shape):
    x = np.full(shape, 2.0)

    def several(x):
        return tuple(
            f(x) for f in (functions.reciprocal, functions.log, functions.gelu, functions.sigmoid)
        )

    for y, truth in zip(computed(protocol, several, x), (0.5, 0.6931, 1.9545, 0.8808), strict=True):
        assert y.shape == shape
        assert np.all(np.abs(y - truth) <= 2.0**-10)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_slope_after_its_function_is_the_slope(protocol):
    x = grid(-LARGEST, LARGEST, 500)
    for name in ("gelu", "silu"):
        function, case = getattr(functions, name), CASES[f"{name}_slope"]

        def both(x, function=function, slope=case.function):
            return function(x), slope(x)

        _, y = computed(protocol, both, x)
        assert np.all(np.abs(y - case.truth(x)) <= case.allowed(x, y))


# Softmax.


def logits(classes):
    """Rows of every spread: equal, one ahead, two levels, from near to as far as numbers go."""
    draw = np.random.default_rng(3)
    spread = 2.0 ** draw.uniform(-4, 9, (60, 1))
    wide = draw.normal(size=(60, classes)) * spread
    ahead = -np.tile(np.linspace(0, 22, 45)[:, None], (1, classes))
    ahead[:, 0] = 0
    levels = draw.choice([0.0, -3.0, -9.0], (20, classes))
    ends = draw.choice([2.0**29 - 1, 1 - 2.0**29, 0.0], (6, classes))
    x = np.concatenate([np.zeros((2, classes)), wide, ahead, levels, ends])
    return np.rint(x / ULP) * ULP


@pytest.mark.parametrize("classes", [1, 2, 3, 4, 5, 10, 16, 33, 128])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_softmax_and_its_logarithm_keep_their_bounds(protocol, classes):
    x = logits(classes)

    def all_of_them(x):
        both = functions.log_softmax_and_softmax(x)
        return functions.softmax(x), functions.log_softmax(x), *both

    p, log_p, log_q, q = computed(protocol, all_of_them, x)
    for y in (p, q):
        assert np.all(np.abs(y - special.softmax(x, -1)) <= 2.0**-11)
    for y in (log_p, log_q):
        assert np.all(np.abs(y - special.log_softmax(x, -1)) <= 2.0**-11)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("axis", [0, 1, 2, -2])
def test_softmax_goes_along_any_axis(protocol, axis):
    x = np.rint(np.random.default_rng(4).normal(size=(3, 4, 5)) / ULP) * ULP
    (p,) = computed(protocol, lambda x: functions.softmax(x, axis), x)
    (log_p,) = computed(protocol, lambda x: functions.log_softmax(x, axis), x)
    assert np.all(np.abs(p - special.softmax(x, axis)) <= 2.0**-11)
    assert np.all(np.abs(log_p - special.log_softmax(x, axis)) <= 2.0**-11)


# The bounds follow from what docs/numerics.md says about their parts.


@pytest.mark.parametrize(
    "quartic, truth, relative, bound",
    [
        (INVERSE, lambda m: 1 / m, True, 2.0**-11.7),
        (INVERSE_ROOT, lambda m: m**-0.5, True, 2.0**-13.7),
        (ROOT, np.sqrt, True, 2.0**-16.8),
        (LOGARITHM, np.log, False, 2.0**-14),
    ],
)
def test_a_quartic_is_as_near_as_it_says(quartic, truth, relative, bound):
    m = np.linspace(1, 2, 20001)
    off = np.abs(quartic(m) - truth(m))
    assert np.max(off / truth(m) if relative else off) <= bound
    assert quartic.slope < 2**13
    assert np.max(truth(m)) / 2.0**quartic.scale < 4


@pytest.mark.parametrize(
    "curve, truth, bound",
    [
        (SIGMOID, lambda t: special.expit(-t), 2.0**-12),
        (TANH, lambda t: 1 - np.tanh(t), 2.0**-11),
        (ERFC, special.erfc, 2.0**-12),
        (GELU, lambda t: t * special.ndtr(-t), 2.0**-12),
        (GELU_SLOPE, lambda t: special.ndtr(-t) - t * normal(t), 2.0**-11),
        (SILU, lambda t: t * special.expit(-t), 2.0**-12),
        (SILU_SLOPE, lambda t: silu_slope(-t), 2.0**-10),
        (SOFTPLUS, lambda t: np.log1p(np.exp(-t)), 2.0**-12),
    ],
)
def test_a_curve_with_its_rounding_and_what_it_cuts_off_keeps_the_bound(curve, truth, bound):
    t = np.linspace(0, curve.limit, 20001)
    polynomial = np.max(np.abs(curve(t) - truth(t)))
    cut_off = max(abs(curve(curve.limit) - truth(curve.limit)), abs(curve(curve.limit)))
    rounding = evaluation_error(curve.coefficients, curve.limit / 2 / 2**curve.shrink)
    assert max(polynomial, cut_off) + rounding + ULP <= bound
    beyond = np.linspace(curve.limit, 4 * curve.limit, 1000)
    assert np.all(np.diff(np.abs(truth(beyond))) <= 0)  # so the limit is the worst place
