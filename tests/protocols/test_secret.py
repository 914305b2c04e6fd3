"""Secret arrays compute what float64 does, to within the roundings that they declare."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.ring import multiply
from mpc.errors import NotOffered, RangeError, ShapeMismatch, UsageError
from protocols import functions
from protocols.clear import Clear
from protocols.secret import (
    FRACTION,
    SecretArray,
    align,
    concatenate,
    constant,
    products,
    stack,
)
from tests.protocols.words import PROTOCOLS, SEEDS, SHAPES, ULP, computed, reals, some


def secret(x, fraction=FRACTION):
    return constant(Clear(), x, fraction)


# Sums are exact.


@pytest.mark.parametrize("protocol", PROTOCOLS)
@some
@given(seed=SEEDS, shape=SHAPES)
def test_sums_differences_and_moves_are_exact(protocol, seed, shape):
    x, y = reals(seed, shape), reals(seed + 1, shape)
    public = reals(seed + 2, shape)

    def all_of_them(x, y):
        sums = [x + y, x - y, -x, x + public, public + x, x - public, public - x, 2 - x, x + 0.5]
        return [*sums, x.sum(), x.reshape(x.size), x.transpose(), x.broadcast_to((2, *shape))]

    found = computed(protocol, all_of_them, x, y)
    expected = [x + y, x - y, -x, x + public, public + x, x - public, public - x, 2 - x, x + 0.5]
    expected += [x.sum(), x.reshape(-1), x.T, np.broadcast_to(x, (2, *shape))]
    for a, b in zip(found, expected, strict=True):
        assert a.shape == np.shape(b)
        assert np.array_equal(a, b)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_parts_and_joins_are_those_of_numpy(protocol):
    x = reals(1, (4, 6))

    def all_of_them(x):
        parts = [x[1], x[..., ::2], x[np.array([3, 0])], x[None, 2:], x[2, 3]]
        return [*parts, concatenate([x, x[:1]]), stack([x, -x], 1), x.sum(1, keepdims=True)]

    found = computed(protocol, all_of_them, x)
    expected = [x[1], x[..., ::2], x[[3, 0]], x[None, 2:], x[2, 3]]
    expected += [np.concatenate([x, x[:1]]), np.stack([x, -x], 1), x.sum(1, keepdims=True)]
    for a, b in zip(found, expected, strict=True):
        assert a.shape == np.shape(b) and np.array_equal(a, b)


# Products are rounded once: to the floor or one ulp more, so they are off by less than one ulp
# down, at most one up.


@pytest.mark.parametrize("protocol", PROTOCOLS)
@some
@given(seed=SEEDS, shape=SHAPES)
def test_a_product_is_rounded_once(protocol, seed, shape):
    x, y = reals(seed, shape), reals(seed + 1, shape)
    xy, square, yx = computed(protocol, lambda x, y: [x * y, x * x, y * x], x, y)
    for found, exact in ((xy, x * y), (square, x * x), (yx, y * x)):
        assert np.all(np.abs(found - exact) <= ULP)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@some
@given(seed=SEEDS, sizes=st.tuples(*[st.integers(1, 9)] * 3))
def test_a_matrix_product_is_rounded_once_and_not_for_each_term(protocol, seed, sizes):
    n, m, k = sizes
    x, y = reals(seed, (n, m)), reals(seed + 1, (m, k))
    (found,) = computed(protocol, lambda x, y: x @ y, x, y)
    assert np.all(np.abs(found - x @ y) <= ULP)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@some
@given(
    seed=SEEDS,
    shape=SHAPES,
    factor=st.floats(-1, 1, allow_subnormal=False),
    power=st.integers(-60, 20),
)
def test_a_public_factor_of_any_size_is_off_by_2_to_the_minus_16_and_one_ulp(
    protocol, seed, shape, factor, power
):
    public = factor * 2.0**power
    x = reals(seed, shape, min(100.0, 2.0**29 / max(abs(public), 1e-30)))
    found = computed(protocol, lambda x: [x * public, public * x], x)
    for y in found:
        assert np.all(np.abs(y - x * public) <= np.abs(x * public) * 2.0**-16 + ULP)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@some
@given(seed=SEEDS, beyond=st.floats(-0.125, 0.125, allow_subnormal=False))
def test_a_public_factor_near_1_is_off_by_less(protocol, seed, beyond):
    x = reals(seed, (9,), 20000)
    (found,) = computed(protocol, lambda x: x * (1 + beyond), x)
    bound = np.abs(x * beyond) * 2.0**-16 + np.abs(x) * 2.0**-52 + ULP
    assert np.all(np.abs(found - x * (1 + beyond)) <= bound)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@some
@given(seed=SEEDS, divisor=st.floats(2.0**-12, 2.0**20))
def test_a_public_divisor_is_as_a_factor(protocol, seed, divisor):
    x = reals(seed, (9,))
    found = computed(protocol, lambda x: [x / divisor, x / -divisor], x)
    for y, exact in zip(found, (x / divisor, -x / divisor), strict=True):
        assert np.all(np.abs(y - exact) <= np.abs(exact) * 2.0**-16 + ULP)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_public_array_is_as_exact_as_its_largest_allows(protocol):
    x, public = reals(1, (40,)), np.random.default_rng(2).uniform(-3, 3, 40)
    (found,) = computed(protocol, lambda x: x * public, x)
    # 16 significant bits of the largest, which is below 4: off by half of 4·2^-16, and one
    # rounding.
    assert np.all(np.abs(found - x * public) <= np.abs(x) * 2 * 2.0**-16 + ULP)


@pytest.mark.parametrize("protocol", ["rep3", "additive"])
@pytest.mark.parametrize("factor", [0, 0.0, 1, -1, 2, 3, 0.5, 0.25, 2.0**-10, 1024, 12345])
def test_whole_numbers_are_exact_and_so_are_halves_of_what_is_even(protocol, factor):
    x = np.arange(-8, 8) * 2.0**-6
    (found,) = computed(protocol, lambda x: x * factor, x)
    assert np.array_equal(found, x * factor)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@some
@given(seed=SEEDS, shape=SHAPES)
def test_a_mean_is_a_sum_times_a_public_number(protocol, seed, shape):
    x = reals(seed, (3, *shape))
    found = computed(protocol, lambda x: [x.mean(0), x.mean(), x.mean(0, keepdims=True)], x)
    expected = [x.mean(0), x.mean() if x.size else 0.0, x.mean(0, keepdims=True)]
    for y, exact in zip(found, expected, strict=True):
        assert y.shape == np.shape(exact)
        assert np.all(np.abs(y - exact) <= np.abs(exact) * 2.0**-16 + ULP)


# Scales.


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_operands_of_different_scales_meet_at_the_finer(protocol):
    x, y, n = reals(1, (30,)), reals(2, (30,)) / 2**8, np.arange(-15, 15)

    def all_of_them(x, y, n):
        return [x + y, x - y, x * y, x + n, x * n, n * n, n + 1, n * 2, n * 0.5, n + 0.5, n - x]

    found = computed(protocol, all_of_them, x, y, n, fractions=[16, 24, 0])
    fine = ULP / 2**8
    exact = [x + y, x - y, x * y, x + n, x * n, n * n, n + 1, n * 2, n * 0.5, n + 0.5, n - x]
    bounds = [0, 0, fine, 0, 0, 0, 0, 0, 0, 0, 0]
    for a, b, bound in zip(found, exact, bounds, strict=True):
        assert np.all(np.abs(a - b) <= bound)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("fraction", [8, 12, 16, 20, 31, 32, 40])
def test_products_come_at_the_scale_that_was_asked_for(protocol, fraction):
    x, y = reals(1, (30,), 10), reals(2, (30,), 10)

    def both(x, y):
        return [*products(multiply, (x, y), (y, y), fraction=fraction)]

    found = computed(protocol, both, x, y)
    bound = 2.0**-fraction if fraction < 32 else 0  # all the bits that there are: exact
    for a, b in zip(found, (x * y, y * y), strict=True):
        assert np.all(np.abs(a - b) <= bound)
    z = products(multiply, (secret(x), secret(y)), fraction=fraction)[0]
    assert z.fraction == fraction
    assert secret(x).bilinear(multiply, 0.3, fraction=fraction).fraction == fraction


def test_products_of_pairs_at_different_scales_are_refused():
    x = secret(np.ones(3))
    with pytest.raises(UsageError, match="different scales"):
        products(multiply, (x, x), (x.finer(20), x))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_powers_of_two_are_exact_and_cost_no_precision(protocol):
    x = reals(1, (20,))
    found = computed(protocol, lambda x: [x.times_power(k) for k in (-8, -1, 0, 3, 16)], x)
    for y, k in zip(found, (-8, -1, 0, 3, 16), strict=True):
        assert np.array_equal(y, x * 2.0**k)
    assert secret(x).times_power(20).at(FRACTION).fraction == FRACTION


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("fraction", [0, 1, 7, 15, 16, 17, 30])
def test_another_scale_is_exact_upwards_and_rounded_once_downwards(protocol, fraction):
    x = reals(1, (50,))
    (found,) = computed(protocol, lambda x: x.at(fraction), x)
    assert np.all(np.abs(found - x) <= (2.0**-fraction if fraction < FRACTION else 0))
    assert np.all(found >= np.floor(x * 2.0**fraction) / 2.0**fraction)


def test_fewer_bits_are_not_finer():
    with pytest.raises(UsageError, match="use at"):
        secret(1.0).finer(8)


def test_aligned_arrays_have_one_scale_and_the_same_numbers():
    x, y = align(secret(np.ones(2), 3), secret(np.ones(2), 9))
    assert x.fraction == y.fraction == 9
    assert np.array_equal(x.share.value, y.share.value)


# Misuse.


@pytest.mark.parametrize(
    "use, error, says",
    [
        (lambda x: x + secret(np.ones(4)), ShapeMismatch, r"\(2, 3\) \+ \(4,\) do not go together"),
        (lambda x: x - np.ones(4), ShapeMismatch, "do not go together"),
        (lambda x: np.ones(4) - x, ShapeMismatch, "do not go together"),
        (lambda x: x * secret(np.ones(4)), ShapeMismatch, "do not broadcast"),
        (lambda x: x * np.ones(4), ShapeMismatch, "do not broadcast"),
        (lambda x: x @ x, ShapeMismatch, "3 columns"),
        (lambda x: x @ np.ones((2, 3)), ShapeMismatch, "3 columns"),
        (lambda x: bool(x), UsageError, "where"),
        (lambda x: bool(x < 0), UsageError, "where"),
        (lambda x: x / x, UsageError, "functions.divide"),
        (lambda x: 1 / x, UsageError, "functions.reciprocal"),
        (lambda x: x * np.inf, RangeError, "infinite 1"),
        (lambda x: x * np.nan, RangeError, "NaN 1"),
        (lambda x: x / 0, RangeError, "infinite 1"),
        (lambda x: x + 2.0**31, RangeError, "too large 1"),
        (lambda x: x.times_power(20) + 0.5, NotOffered, "fractional"),
    ],
)
def test_misuse_is_refused_in_one_line_that_says_what_to_do(use, error, says):
    with pytest.raises(error, match=says) as caught:
        use(secret(np.ones((2, 3))))
    assert "\n" not in str(caught.value)


def test_a_public_array_may_stand_on_the_left_of_every_operator():
    public, x = np.array([1.5, -2.0]), secret(np.array([0.5, 4.0]))
    for z, expected in (
        (public + x, [2, 2]),
        (public - x, [1, -6]),
        (public * x, [0.75, -8]),
        (np.float64(2) * x, [1, 8]),
    ):
        assert isinstance(z, SecretArray)
        assert np.array_equal(z.share.value.view(np.int64) * ULP, expected)
    assert isinstance(public < x, type(x > public))


def test_what_is_remembered_of_an_array_stays_with_it():
    x = secret(np.array([-1.0, 2.0]))
    y = functions.relu(x)
    assert "positive" in x.memo and "positive" in y.memo
    for other in (x + 1, -y, y[0:2], y.reshape(2, 1), y * 2, y.at(20), x.times_power(1)):
        assert not other.memo
    # Of a shifted array other things are true, and they are found anew.
    assert np.array_equal((y - 1).positive().bits.planes.value, [[2]])
    assert np.array_equal(y.positive().bits.planes.value, [[2]])
    assert np.array_equal((-y).negative().bits.planes.value, [[2]])
    assert secret(0.0).memo is not secret(0.0).memo


def test_no_value_is_shown():
    x = secret(np.full(3, 1234.5))
    for shown in (repr(x), str(x), repr(x > 0), f"{x}", f"{x < 1}"):
        assert "1234" not in shown and "array" not in shown and "[" not in shown
    functions.relu(x)
    assert "memo" not in repr(x)
    assert "shape=(3,)" in repr(x) and "shape=(3,)" in repr(x > 0)


# Truth values.


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_truth_values_combine_like_those_of_numpy(protocol):
    x, y = reals(1, (5, 14)), reals(2, (5, 14))

    def all_of_them(x, y):
        a, b = x > 0, y < 10
        row = a.map(lambda v: v[:1])
        found = [a & b, a | b, a ^ b, ~a, row.broadcast_to((5, 14)), a.map(np.transpose)]
        return [v.ring() for v in found] + [part.ring() for part in a.split(5)]

    found = computed(protocol, all_of_them, x, y)
    a, b = x > 0, y < 10
    expected = [a & b, a | b, a ^ b, ~a, np.broadcast_to(a[:1], (5, 14)), a.T, *a[:, None]]
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape and np.array_equal(one, other)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_comparisons_with_numbers_take_them_as_reals(protocol):
    x = np.array([-1.5, -ULP, 0.0, ULP, 0.25, 1.0])

    def all_of_them(x):
        return [v.ring() for v in (x < 0, x > 0, x <= 0, x >= 0, x > 0.25, x < 1, x.equals(0.25))]

    expected = [x < 0, x > 0, x <= 0, x >= 0, x > 0.25, x < 1, x == 0.25]
    for one, other in zip(computed(protocol, all_of_them, x), expected, strict=True):
        assert np.array_equal(one, other)
