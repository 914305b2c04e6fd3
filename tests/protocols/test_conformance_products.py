"""Products and truncation mean what the clear interpreter says, under every protocol."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.conv import Geometry, conv, conv_input_grad, conv_weight_grad
from kernels.gemm import matmul
from kernels.ring import multiply, summed_products
from protocols.clear import Clear
from tests.protocols.words import (
    SEEDS,
    SHAPES,
    at_parties,
    draw_words,
    everywhere,
    same,
    signed,
    some,
    thrice,
)


@st.composite
def broadcast_pairs(draw):
    shape = draw(SHAPES)
    other = tuple(n if draw(st.booleans()) else 1 for n in shape)
    other = other[draw(st.integers(0, len(shape))) :]
    return (shape, other) if draw(st.booleans()) else (other, shape)


@everywhere
@some
@given(SEEDS, broadcast_pairs())
def test_products_agree_under_broadcasting(at, seed, shapes):
    x, y = (draw_words(seed + i, shape) for i, shape in enumerate(shapes))
    same(at, thrice(lambda p, x, y: p.bilinear(multiply, (x, y))[0]), x, y)


@everywhere
@some
@given(SEEDS, st.tuples(*[st.integers(0, 5)] * 3), st.sampled_from([(), (1,), (3,), (2, 2)]))
def test_matrix_products_agree_one_or_several_at_once(at, seed, sizes, batch):
    n, m, k = sizes
    x, y = draw_words(seed, (*batch, n, m)), draw_words(seed + 1, (m, k))

    def program(p, x, y):
        both = p.bilinear(matmul, (x, y), (x, y))
        return [*both, p.dot(x, y)]

    same(at, program, x, y)


@everywhere
@some
@given(SEEDS, st.integers(0, 4), SHAPES)
def test_sums_of_products_agree(at, seed, terms, shape):
    x, y = draw_words(seed, (terms, *shape)), draw_words(seed + 1, (terms, *shape))
    (found,) = same(at, lambda p, x, y: p.bilinear(summed_products, (x, y)), x, y)
    assert np.array_equal(found, (x * y).sum(0, dtype=np.uint64))


@st.composite
def convolutions(draw):
    dims = draw(st.integers(1, 3))

    def sizes(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    groups = draw(st.integers(1, 2))
    stride, padding, dilation, kernel = sizes(1, 2), sizes(0, 2), sizes(1, 2), sizes(1, 3)
    spatial = tuple(
        d * (k - 1) + 1 + draw(st.integers(0, 2)) for d, k in zip(dilation, kernel, strict=True)
    )
    geometry = Geometry(stride, padding, dilation, groups)
    x = (draw(st.integers(1, 2)), groups * draw(st.integers(1, 2)), *spatial)
    w = (groups * draw(st.integers(1, 2)), x[1] // groups, *kernel)
    return geometry, x, w


@everywhere
@some
@given(SEEDS, convolutions())
def test_convolutions_and_their_gradients_agree(at, seed, drawn):
    geometry, x_shape, w_shape = drawn
    x, w = draw_words(seed, x_shape), draw_words(seed + 1, w_shape)
    g = draw_words(seed + 2, conv(geometry).shape(x_shape, w_shape))

    def program(p, x, w, g):
        (y,) = p.bilinear(conv(geometry), (x, w))
        (dx,) = p.bilinear(conv_input_grad(geometry, x_shape[2:]), (g, w))
        (dw,) = p.bilinear(conv_weight_grad(geometry, w_shape[2:]), (x, g))
        return [y, dx, dw]

    same(at, program, x, w, g)


def rounded_down_or_one_more(found, exact, fraction):
    off = signed(found) - (signed(exact) >> fraction)
    assert np.all((off == 0) | (off == 1))
    return off


@everywhere
@pytest.mark.parametrize("fraction", [*range(1, 47), 61, 62])
def test_truncation_is_the_floor_or_one_ulp_more_up_to_the_ends_of_its_range(at, fraction):
    top = 2**62
    ends = [0, 1, -1, top - 1, 1 - top, top // 2, -top // 2, 2**fraction, 2**fraction - 1]
    ends = np.array([e for e in ends if abs(e) < top], np.int64)
    x = np.concatenate([ends.view(np.uint64), draw_words(fraction, (200,), 63)])
    for found in at_parties(at, thrice(lambda p, x: p.truncate(x, fraction=fraction)[0]), x):
        off = rounded_down_or_one_more(found, x, fraction)
        cut = signed(x) & (2**fraction - 1)
        assert np.all(off[cut == 0] == 0)  # what is exact stays exact
    (clear,) = Clear().truncate(Clear().constant(x), fraction=fraction)
    off = rounded_down_or_one_more(clear.value, x, fraction)
    assert np.array_equal(off, (signed(x) >> (fraction - 1)) & 1)  # the nearest


@everywhere
@some
@given(SEEDS, SHAPES, SHAPES, st.integers(1, 46), st.integers(0, 11))
def test_several_arrays_of_any_shape_are_truncated_at_once(at, seed, one, other, fraction, owner):
    x, y = draw_words(seed, one, 63), draw_words(seed + 1, other, 63)

    def program(p, x, y):
        return [z for _ in range(3) for z in p.truncate(x, y, fraction=fraction)]

    found_by_all = at_parties(at, program, x, y, owner=owner % at.parties)
    for found, exact in zip(found_by_all, [x, y] * 3, strict=True):
        assert found.shape == exact.shape
        rounded_down_or_one_more(found, exact, fraction)


@everywhere
@some
@given(SEEDS, broadcast_pairs(), st.integers(1, 46))
def test_a_truncated_product_is_the_floor_or_one_ulp_more(at, seed, shapes, fraction):
    x, y = draw_words(seed, shapes[0], 32), draw_words(seed + 1, shapes[1], 31)
    exact = x * y

    def program(p, x, y):
        pairs = [(x, y), (y, x)]
        return [
            z for _ in range(3) for z in p.bilinear_truncate(multiply, *pairs, fraction=fraction)
        ]

    for found in at_parties(at, program, x, y):
        rounded_down_or_one_more(found, exact, fraction)


@everywhere
def test_truncation_rounds_up_as_often_as_what_was_cut_off_says(at):
    n, cut = 40000, 0.3
    x = np.full(n, int((5 + cut) * 2**16), np.uint64)
    (found,) = at_parties(at, lambda p, x: p.truncate(x, fraction=16), x)
    share = np.mean(signed(found) == 6)
    assert abs(share - cut) < 6 * np.sqrt(cut * (1 - cut) / n)


@everywhere
@some
@given(SEEDS, SHAPES)
def test_a_sum_of_products_is_truncated_once(at, seed, shape):
    x, y = (draw_words(seed + i, shape, 30) for i in range(2))

    def program(p, x, y):
        (product,) = p.product(multiply, (x, y))
        total = product.map(lambda v, w: v - w, p.summand(y))
        return [*p.truncate_summands(product, fraction=9), *p.truncate_summands(total, fraction=9)]

    of_product, of_total = at_parties(at, program, x, y)
    exact = signed(x) * signed(y)
    assert set((signed(of_product) - (exact >> 9)).reshape(-1)) <= {0, 1}
    assert set((signed(of_total) - ((exact - signed(y)) >> 9)).reshape(-1)) <= {0, 1}


@everywhere
def test_a_share_is_not_used_up_with_what_is_made_of_it(at):
    x = draw_words(1, (70,), 60)
    (cut, kept) = at_parties(
        at, lambda p, x: [*p.truncate_summands(p.summand(x), fraction=9), x], x
    )
    assert np.array_equal(kept, x)
    assert set(signed(cut) - (signed(x) >> 9)) <= {0, 1}
