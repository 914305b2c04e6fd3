"""Bit planes and carry trees as a card works on them, under the emulator."""

import numpy as np
import pytest

from kernels import _native, bits, reference
from kernels.cuda import planes
from kernels.cuda.launch import WAVES
from tests.kernels.drawing import Words
from tests.kernels.emulator import GPU

COUNTS = (0, 1, 31, 32, 33, 63, 64, 65, 511, 512, 513, 1023, 1024, 1025, 4133)
SEVERAL_TILES = 64 * planes.TILE_WORDS * WAVES * GPU.cores + 3000  # for some blocks


def parts(n):
    """First bit and number of planes: all, none, and some drawn."""
    rng = np.random.default_rng(n)
    for k in (0, 1, 64, *rng.integers(2, 64, 2)):
        yield int(rng.integers(0, 65 - k)), int(k)


@pytest.mark.parametrize("n", (*COUNTS, SEVERAL_TILES))
def test_planes_agree_with_their_definition(n):
    x = Words(n)(n)
    for first, k in parts(n):
        expected = reference.to_planes(x, k, first)
        found = Words(1)(*expected.shape)
        planes.to_planes(GPU, found, x, first)
        assert np.array_equal(found, expected), (first, k)
        back = Words(2)(n)
        planes.from_planes(GPU, back, found)
        assert np.array_equal(back, reference.from_planes(expected, n)), (first, k)


def test_bits_of_no_element_are_not_read():
    x = np.full(70, 2**64 - 1, np.uint64)
    found = np.empty((64, 2), np.uint64)
    planes.to_planes(GPU, found, x[:65], 0)
    assert np.array_equal(found, np.tile(np.array([2**64 - 1, 1], np.uint64), (64, 1)))
    planes.from_planes(GPU, x[:65], np.zeros((3, 2), np.uint64))
    assert not x[:65].any() and np.all(x[65:] == 2**64 - 1)


@pytest.mark.parametrize("shape", [(0, 4), (1, 1), (3, 70), (5, 3000)])
def test_conj_agrees_with_its_definition(shape):
    words = Words(3)
    out, *terms = (words(*shape) for _ in range(5))
    expected = out ^ reference.conj(*terms)
    planes.conj_to(GPU, out, *terms)
    assert np.array_equal(out, expected)


@pytest.mark.parametrize("m", range(10))
@pytest.mark.parametrize("width", [0, 1, 8, 255, 256, 300])
def test_carry_step_agrees_with_its_definition(m, width):
    words, h = Words(m), m // 2
    terms = [words(m, width) for _ in range(4)]
    g_out, p_out = words(h, width), words(max(h - 1, 0), width)
    expected = g_out.copy(), p_out.copy()
    reference.carry_step(*terms, *expected)
    planes.carry_step(GPU, g_out, p_out, *terms)
    assert np.array_equal(g_out, expected[0])
    assert np.array_equal(p_out, expected[1])


def test_a_carry_step_goes_on_past_one_wave_of_words_and_of_pairs(monkeypatch):
    monkeypatch.setattr(planes, "MOST_ROWS", 2)
    monkeypatch.setattr(planes, "WAVES", 1)
    words = Words(4)
    terms = [words(14, 700) for _ in range(4)]
    g_out, p_out = words(7, 700), words(6, 700)
    expected = g_out.copy(), p_out.copy()
    reference.carry_step(*terms, *expected)
    planes.carry_step(GPU, g_out, p_out, *terms)
    assert np.array_equal(g_out, expected[0])
    assert np.array_equal(p_out, expected[1])


def check_products(n, low):
    words = Words(n + low)
    x, out, top = words(n), words(bits.product_words(low, n)), words(1, bits.words(n))
    expected = out.copy(), top.copy()
    _native.block_products(*expected, x, low)
    planes.block_products(GPU, out, top, x, low)
    assert np.array_equal(out, expected[0])
    assert np.array_equal(top, expected[1])


def check_carries(n, low):
    words, width, blocks = Words(n + low), bits.words(n), -(-low // planes.BLOCK)
    x, shared = words(n), words(bits.product_words(low, n))
    onto = words(blocks, width), words(blocks - 1, width), words(1, width)
    for whole in (True, False):
        found, expected = ([part.copy() for part in onto] for _ in range(2))
        _native.block_carries(*expected, shared, x, low, whole)
        planes.block_carries(GPU, *found, shared, x, low, whole)
        for a, b in zip(found, expected, strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize("low", range(1, 64))
def test_products_and_carries_of_any_bits_agree_with_the_compiled_module(low):
    for n in (65, 513, 1500):
        check_products(n, low)
        check_carries(n, low)


@pytest.mark.parametrize("n", (*COUNTS, SEVERAL_TILES))
def test_products_and_carries_of_any_elements_agree_with_the_compiled_module(n):
    for low in (3, 63):
        check_products(n, low)
        check_carries(n, low)


@pytest.mark.parametrize("low", [1, 5, 63])
def test_both_holders_of_the_products_find_the_carries_of_the_blocks(low):
    """As adding bit by bit finds them."""
    n, words = 1111, Words(low)
    t, x = words(n), words(n)
    products, above = reference.block_products(t, low)
    mask, top = words(len(products)), np.zeros_like(above)
    masked = mask.copy()
    planes.block_products(GPU, masked, top, t, low)
    assert np.array_equal(masked, products ^ mask) and np.array_equal(top, above)
    g = np.zeros((-(-low // planes.BLOCK), bits.words(n)), np.uint64)
    p = np.zeros_like(g[1:])
    planes.block_carries(GPU, g, p, np.zeros_like(top), masked, x, low, True)
    planes.block_carries(GPU, g, p, np.zeros_like(top), mask, x, low, False)
    carries, through = reference.block_carries(t, x, low)
    assert np.array_equal(g, carries) and np.array_equal(p, through)
