"""Bit planes: round trips, ANDs on shares, and a whole carry tree against integer addition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import bits, reference
from tests.kernels.drawing import LAYOUTS, SEEDS, Words, some

COUNTS = st.one_of(st.integers(0, 200), st.sampled_from([511, 512, 513, 4097, 70_001]))


@some
@given(n=COUNTS, k=st.integers(0, 64), seed=SEEDS, layout=LAYOUTS, data=st.data())
def test_planes_agree_with_their_definition(machine, n, k, seed, layout, data):
    x = Words(seed)(n, layout=layout)
    first = data.draw(st.integers(0, 64 - k))
    planes = bits.to_planes(x, k, first)
    assert planes.shape == (k, bits.words(n))
    assert np.array_equal(planes, reference.to_planes(x, k, first))
    assert np.array_equal(bits.from_planes(planes, n), reference.from_planes(planes, n))


@some
@given(n=COUNTS, k=st.integers(0, 64), seed=SEEDS)
def test_from_planes_undoes_to_planes(machine, n, k, seed):
    x = Words(seed)(n)
    kept = x & np.uint64(2**k - 1)
    assert np.array_equal(bits.from_planes(bits.to_planes(x, k), n), kept)


def test_an_array_of_any_shape_is_flattened():
    x = Words(1)(5, 6, 7)
    assert np.array_equal(bits.to_planes(x, 64), bits.to_planes(x.reshape(-1), 64))


@some
@given(rows=st.integers(0, 5), width=st.integers(0, 90), seed=SEEDS)
def test_conj_agrees_with_its_definition(machine, rows, width, seed):
    words = Words(seed)
    out, *terms = (words(rows, width) for _ in range(5))
    expected = out ^ reference.conj(*terms)
    bits.conj_to(out, *terms)
    assert np.array_equal(out, expected)


@some
@given(m=st.integers(0, 9), width=st.sampled_from([0, 1, 5, 8, 9, 300]), seed=SEEDS)
def test_carry_step_agrees_with_its_definition(machine, m, width, seed):
    words, h = Words(seed), m // 2
    planes = [words(m, width) for _ in range(4)]
    g_out, p_out = words(h, width), words(max(h - 1, 0), width)
    expected = g_out.copy(), p_out.copy()
    bits.carry_step(*planes, g_out, p_out)
    reference.carry_step(*planes, *expected)
    assert np.array_equal(g_out, expected[0])
    assert np.array_equal(p_out, expected[1])


def shared(words, x):
    """Three XOR shares of x."""
    a, b = words(*x.shape), words(*x.shape)
    return [a, b, x ^ a ^ b]


@some
@given(n=st.integers(1, 300), k=st.integers(2, 64), seed=SEEDS)
def test_three_parties_carry_steps_add_up_to_integer_addition(machine, n, k, seed):
    """Shared generate and propagate planes, merged level by level, give the carry into the top."""
    words = Words(seed)
    x, y = words(n), words(n)
    a, b = bits.to_planes(x, k - 1), bits.to_planes(y, k - 1)
    g, p = shared(words, a & b), shared(words, a ^ b)
    while g[0].shape[0] > 1:
        m, width = g[0].shape
        h = m // 2
        terms = []
        for i in range(3):
            j = (i + 1) % 3
            # The masks that must cancel over the parties are left zero here.
            g_out, p_out = np.zeros((h, width), np.uint64), np.zeros((h - 1, width), np.uint64)
            bits.carry_step(g[i], g[j], p[i], p[j], g_out, p_out)
            # The lowest propagate is never used: any row will do.
            terms.append((g_out, np.concatenate([words(1, width), p_out])))
        last = slice(m - m % 2, m)
        g = [np.concatenate([t[0], g[i][last]]) for i, t in enumerate(terms)]
        p = [np.concatenate([t[1], p[i][last]]) for i, t in enumerate(terms)]
    carry = bits.from_planes(g[0] ^ g[1] ^ g[2], n)
    low = np.uint64(2 ** (k - 1) - 1)
    assert np.array_equal(carry, ((x & low) + (y & low)) >> np.uint64(k - 1) & np.uint64(1))


CARRIES = st.one_of(st.integers(1, 9), st.sampled_from([31, 32, 47, 62, 63]))


@some
@given(n=COUNTS, low=CARRIES, seed=SEEDS, layout=LAYOUTS)
def test_block_products_agree_with_their_definition(machine, n, low, seed, layout):
    words = Words(seed)
    x, out, top = (
        words(n, layout=layout),
        words(bits.product_words(low, n)),
        words(1, bits.words(n)),
    )
    products, above = reference.block_products(x, low)
    expected = out ^ products, top ^ above
    bits.block_products(out, top, x, low)
    assert np.array_equal(out, expected[0])
    assert np.array_equal(top, expected[1])


@some
@given(n=COUNTS, low=CARRIES, seed=SEEDS, layout=LAYOUTS)
def test_both_holders_of_the_products_find_the_carries_of_the_blocks(machine, n, low, seed, layout):
    """Whatever the shares, the two parts add up to the carries, as adding bit by bit finds them."""
    words, width, blocks = Words(seed), bits.words(n), -(-low // 4)
    t, x = words(n), words(n, layout=layout)
    products, _ = reference.block_products(t, low)
    mask = words(len(products))
    g, p, top = words(blocks, width), words(blocks - 1, width), words(1, width)
    carries, through = reference.block_carries(t, x, low)
    expected = g ^ carries, p ^ through, top ^ bits.to_planes(x, 1, low)
    bits.block_carries(g, p, top, products ^ mask, x, low, whole=True)
    bits.block_carries(g, p, np.zeros_like(top), mask, x, low, whole=False)
    for part, whole in zip((g, p, top), expected, strict=True):
        assert np.array_equal(part, whole)


@some
@given(n=st.integers(1, 300), low=CARRIES, seed=SEEDS)
def test_the_carries_of_the_blocks_are_those_of_integer_addition(n, low, seed):
    words = Words(seed)
    t, x = words(n), words(n)
    carries, through = reference.block_carries(t, x, low)
    carry = carries[0]
    for g, p in zip(carries[1:], through, strict=True):
        carry = g ^ (p & carry)
    kept = np.uint64(2**low - 1)
    total = ((t & kept) + (x & kept)) >> np.uint64(low) & np.uint64(1)
    assert np.array_equal(bits.from_planes(carry[None], n), total)


def test_products_and_carries_that_do_not_fit_raise():
    words = Words(0)
    x, top = words(70), words(1, 2)
    out, g, p = words(bits.product_words(7, 70)), words(2, 2), words(1, 2)
    for low in (0, 64):
        with pytest.raises(ValueError, match="a carry passes 1 to 63 bits"):
            bits.block_products(out, top, x, low)
        with pytest.raises(ValueError, match="a carry passes 1 to 63 bits"):
            bits.block_carries(g, p, top, out, x, low, whole=True)
    with pytest.raises(ValueError, match="out has shape"):
        bits.block_products(out[1:], top, x, 7)
    with pytest.raises(ValueError, match="top has shape"):
        bits.block_products(out, top[:, :1], x, 7)
    with pytest.raises(ValueError, match="shared has shape"):
        bits.block_carries(g, p, top, out[1:], x, 7, whole=True)
    with pytest.raises(ValueError, match="p has shape"):
        bits.block_carries(g, g, top, out, x, 7, whole=True)
    with pytest.raises(TypeError):
        bits.block_products(out, top, x.astype(np.uint32), 7)


def test_shapes_and_ranges_that_do_not_fit_raise():
    words = Words(0)
    with pytest.raises(ValueError, match="a word has no bits"):
        bits.to_planes(words(3), 60, 5)
    with pytest.raises(TypeError):
        bits.to_planes(words(3).astype(np.uint32), 3)
    for planes, n in ((words(3, 2), 64), (words(65, 1), 64), (words(3), 64), (words(3, 1), -1)):
        with pytest.raises(ValueError, match="planes of"):
            bits.from_planes(planes, n)
    a = words(4, 3)
    with pytest.raises(ValueError, match="b1 has shape"):
        bits.conj_to(words(4, 3), a, a, a, words(4, 2))
    with pytest.raises(ValueError, match="g_out has shape"):
        bits.carry_step(a, a, a, a, words(1, 3), words(1, 3))
    with pytest.raises(ValueError, match="p_out has shape"):
        bits.carry_step(a, a, a, a, words(2, 3), words(2, 3))
    with pytest.raises(ValueError, match="C-contiguous"):
        bits.carry_step(a, a, a, a, words(3, 2).T, words(1, 3))
