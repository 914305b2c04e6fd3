"""Functions of one comparison and one choice are exact, under every protocol as in the clear."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc.errors import ShapeMismatch
from protocols import functions
from protocols.clear import Clear
from protocols.functions.compare import where
from protocols.secret import FRACTION, SecretArray
from tests.protocols.words import (
    SEEDS,
    SHAPES,
    ULP,
    at_parties,
    draw_words,
    each_protocol,
    same,
    signed,
    some,
)

WIDTHS = [64, 40, 32]


def arrays(function):
    """A program of shares from a function of secret arrays."""
    return lambda p, *shares: function(*(SecretArray(p, share, FRACTION) for share in shares))


def halves(seed, shape, width):
    """Words whose sums and differences can be compared at this width."""
    return draw_words(seed, shape, width - 1)


@each_protocol
@some
@given(SEEDS, SHAPES, st.sampled_from(WIDTHS))
def test_relu_absolute_and_sign_are_exact(at, seed, shape, width):
    x = draw_words(seed, shape, width)
    program = arrays(lambda x: [functions.relu(x), functions.absolute(x), functions.sign(x)])
    relu, absolute, sign = (signed(v) for v in same(at, program, x, width=width))
    assert np.array_equal(relu, np.maximum(signed(x), 0))
    assert np.array_equal(absolute, np.abs(signed(x)))
    assert np.array_equal(sign, np.sign(signed(x)))


@each_protocol
@some
@given(SEEDS, SHAPES, st.sampled_from(WIDTHS))
def test_maximum_minimum_and_where_are_exact_up_to_the_ends_of_the_width(at, seed, shape, width):
    x, y = halves(seed, shape, width), halves(seed + 1, shape, width)

    def program(x, y):
        return [functions.maximum(x, y), functions.minimum(x, y), where(x < y, x, y)]

    largest, smallest, chosen = (signed(v) for v in same(at, arrays(program), x, y, width=width))
    assert np.array_equal(largest, np.maximum(signed(x), signed(y)))
    assert np.array_equal(smallest, np.minimum(signed(x), signed(y)))
    assert np.array_equal(chosen, smallest)


@each_protocol
@some
@given(SEEDS, SHAPES, st.sampled_from(WIDTHS))
def test_comparisons_are_exact_and_know_equals(at, seed, shape, width):
    x, y = halves(seed, shape, width), halves(seed + 1, shape, width)
    y = np.where(np.random.default_rng(seed).integers(0, 2, shape) > 0, x, y).reshape(shape)

    def program(x, y):
        return [x < y, x > y, x <= y, x >= y, x.equals(y), x < 0, x > 0, x <= 0, x >= 0]

    found = [v.astype(bool) for v in same(at, arrays(program), x, y, width=width)]
    a, b = signed(x), signed(y)
    expected = [a < b, a > b, a <= b, a >= b, a == b, a < 0, a > 0, a <= 0, a >= 0]
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one, other)


@each_protocol
@some
@given(SEEDS, SHAPES, st.sampled_from([(-2.0, 3.5), (None, 0.25), (-0.75, None), (None, None)]))
def test_clamp_keeps_within_public_bounds(at, seed, shape, bounds):
    x = halves(seed, shape, 50)
    (found,) = same(at, arrays(lambda x: [functions.clamp(x, *bounds)]), x)
    low, high = (b if b is None else int(b * 2**FRACTION) for b in bounds)
    assert np.array_equal(
        signed(found), signed(x) if low == high else np.clip(signed(x), low, high)
    )


@each_protocol
@some
@given(SEEDS, SHAPES, st.sampled_from([0.01, 0.3, 1.0, 0.0, -0.5]))
def test_leaky_relu_is_exact_where_positive_and_a_product_elsewhere(at, seed, shape, slope):
    x = draw_words(seed, shape, 46)
    (found,) = at_parties(at, arrays(lambda x: [functions.leaky_relu(x, slope)]), x)
    assert np.array_equal(signed(found)[signed(x) > 0], signed(x)[signed(x) > 0])
    real, off = signed(x) * ULP, np.abs(signed(found) * ULP - signed(x) * ULP * slope)
    # The slope is off by 2^-16 relative, and the product is rounded once.
    assert np.all(off[signed(x) <= 0] <= (np.abs(real * slope) * 2.0**-16 + ULP)[signed(x) <= 0])


@each_protocol
@pytest.mark.parametrize("slope", [0.2, 0.0, -0.5])
def test_what_is_remembered_of_a_result_is_true_of_it(at, slope):
    x = draw_words(1, (200,), 40)

    def program(x):
        y, z = functions.relu(x), functions.leaky_relu(x, slope)
        again = [SecretArray(v.protocol, v.share) for v in (y, z)]
        return [y.positive(), again[0].positive(), z.positive(), again[1].positive()]

    one, fresh_one, other, fresh_other = at_parties(at, arrays(program), x)
    assert np.array_equal(one, fresh_one)
    assert np.array_equal(other, fresh_other)


@each_protocol
def test_zero_is_not_positive(at):
    def program(x):
        return [functions.relu(x).memo["positive"], x.positive(), x.negative()]

    for found in same(at, arrays(program), np.zeros((3,), np.uint64)):
        assert not found.any()


def test_where_wants_one_shape():
    x = SecretArray(Clear(), Clear().constant(np.zeros((2, 3), np.uint64)))
    with pytest.raises(ShapeMismatch, match="where"):
        where(x < 0, x, x[0])
    with pytest.raises(ShapeMismatch, match="choices of shape"):
        (x < 0).select(x[0])
