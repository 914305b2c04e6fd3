"""Words on bits mean what the clear interpreter says, under every protocol."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.bits import to_planes
from mpc.shares import Bits
from protocols.bits import split
from protocols.clear import Clear
from tests.protocols.words import (
    SEEDS,
    SHAPES,
    WIDTHS,
    at_parties,
    draw_words,
    everywhere,
    same,
    signed,
    some,
    thrice,
)


def drawn_bits(p, x, width):
    """Bits that are shared in earnest: those of a secret."""
    return p.bits(x).map(lambda planes: planes[:width])


@everywhere
@some
@given(SEEDS, SHAPES, st.integers(1, 6))
def test_conjunctions_exclusive_ors_and_inversions_agree(at, seed, shape, width):
    x, y = draw_words(seed, shape), draw_words(seed + 1, shape)

    def program(p, x, y):
        a, b = drawn_bits(p, x, width), drawn_bits(p, y, width)
        return [p.conj(a, b), a.map(np.bitwise_xor, b), p.invert(a), a.plane(-1)]

    anded, xored, inverted, last = same(at, program, x, y)
    rows = [[(v.reshape(-1) >> np.uint64(j)) & np.uint64(1) for j in range(width)] for v in (x, y)]
    assert np.array_equal(anded, np.bitwise_and(*rows))
    assert np.array_equal(xored, np.bitwise_xor(*rows))
    assert np.array_equal(inverted, 1 - np.array(rows[0]))
    assert np.array_equal(last, rows[0][-1:])


@everywhere
@pytest.mark.parametrize("width", WIDTHS)
def test_addends_add_up_in_every_turn(at, width):
    x = draw_words(width, (7, 19))

    def program(p, x):
        return [bits for _ in range(3) for bits in p.addends(x, width)]

    found = at_parties(at, program, x)
    powers = np.uint64(1) << np.arange(width, dtype=np.uint64)[:, None]
    mask = np.uint64(2**width - 1)
    for t, s in zip(found[::2], found[1::2], strict=True):
        total = (t * powers).sum(0, dtype=np.uint64) + (s * powers).sum(0, dtype=np.uint64)
        assert np.array_equal(total & mask, x.reshape(-1) & mask)


@everywhere
@pytest.mark.parametrize("width", [2, 3, 4, 7, 64])
def test_a_level_of_the_carry_tree_merges_neighbours(at, width):
    x = draw_words(width, (70,))

    def program(p, x):
        g, q = p.generate(x, width)
        low = q.map(lambda planes: planes[: width - 1])
        return [g, low, *p.merge(g, low), q]

    g, q, merged_g, merged_q, full = at_parties(at, program, x)
    m = width - 1
    h = m // 2
    pairs = slice(0, 2 * h, 2), slice(1, 2 * h, 2)
    rest = slice(2 * h, m)
    assert len(full) == width
    expected = g[pairs[1]] ^ (q[pairs[1]] & g[pairs[0]])
    assert np.array_equal(merged_g, np.concatenate([expected, g[rest]]))
    expected = np.concatenate([q[pairs[1]] & q[pairs[0]], q[rest]])
    # The lowest propagate bit is never used; in an unpaired single level it is passed on.
    assert np.array_equal(merged_q[1:], expected[1:])


@everywhere
@pytest.mark.parametrize("width", WIDTHS)
def test_a_sign_is_the_top_bit_of_the_width(at, width):
    x = np.concatenate([draw_words(width, (130,), width), draw_words(width, (61,))])
    for found in same(at, thrice(lambda p, x: p.sign_bit(x)), x, width=width):
        assert np.array_equal(found[0], (x >> np.uint64(width - 1)) & np.uint64(1))
        assert np.array_equal(found[0][:130], signed(x[:130]) < 0)


@everywhere
@some
@given(SEEDS, SHAPES)
def test_signs_and_all_bits_agree_in_any_shape(at, seed, shape):
    x = draw_words(seed, shape)
    _, _, every = same(at, lambda p, x: [p.sign_bit(x), p.equal_zero(x), p.bits(x)], x)
    powers = np.uint64(1) << np.arange(64, dtype=np.uint64)[:, None]
    assert np.array_equal((every * powers).sum(0, dtype=np.uint64), x.reshape(-1))


@everywhere
@pytest.mark.parametrize("width", WIDTHS)
def test_equal_zero_finds_zeros_and_only_those(at, width):
    x = draw_words(width, (9, 15), width)
    x[::2, ::3] = 0
    for found in same(at, thrice(lambda p, x: p.equal_zero(x)), x, width=width):
        assert np.array_equal(found[0].reshape(x.shape), x == 0)


@everywhere
@pytest.mark.parametrize("planes", [1, 2, 3, 8, 13, 64])
def test_any_above_says_whether_a_higher_plane_is_set(at, planes):
    x = draw_words(planes, (77,)) >> np.uint64(64 - planes)
    x >>= np.arange(77, dtype=np.uint64) % np.uint64(planes)
    (found,) = same(at, lambda p, x: [p.any_above(drawn_bits(p, x, planes))], x)
    assert np.array_equal(found, [x >= np.uint64(1) << np.uint64(j) for j in range(planes)])


@everywhere
@some
@given(SEEDS, SHAPES, st.integers(1, 9))
def test_bits_become_ring_elements_with_a_leading_axis_if_there_are_several(
    at, seed, shape, planes
):
    x = draw_words(seed, shape)
    found = same(at, thrice(lambda p, x: p.bit_to_ring(drawn_bits(p, x, planes))), x)
    rows = np.stack([(x >> np.uint64(j)) & np.uint64(1) for j in range(planes)])
    for value in found:
        assert np.array_equal(value, rows[0] if planes == 1 else rows)


@everywhere
def test_padding_never_reaches_a_neighbour_when_planes_are_cut(at):
    x = draw_words(8, (3, 45))

    def program(p, x):
        return split(p.sign_bit(x), (45, 45, 45), (45,))

    for found, row in zip(same(at, program, x), x, strict=True):
        assert np.array_equal(found[0], signed(row) < 0)


def test_planes_carry_the_shape_of_their_elements():
    planes = to_planes(np.arange(6, dtype=np.uint64), 2)
    bits = Bits(Clear().constant(planes), (2, 3))
    assert bits.plane(0).shape == (2, 3)
    assert bits.plane(-1).planes.shape == (1, 1)
