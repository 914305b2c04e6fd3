"""Products of int64 tensors: ours, those by limbs, and torch's own, bit for bit."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("protocols.interop.crypten", exc_type=ImportError)

from protocols.interop.crypten.limbs import limbs, product, terms
from protocols.interop.crypten.products import RingTorch, fits, plan
from protocols.interop.crypten.views import in_ring, tensor, words

OURS = RingTorch()


def drawn(seed, shape):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(-(2**63), 2**63, shape, dtype=np.int64))


def ours(op, x, y, **settings):
    chosen = plan(op, tuple(x.shape), tuple(y.shape), **settings)
    assert chosen is not None and fits(chosen, tuple(x.shape), tuple(y.shape))
    return chosen(x, y)


SIZES = st.integers(1, 4)
SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def matmul_shapes(draw):
    m, k, n = draw(SIZES), draw(SIZES), draw(SIZES)
    batch = tuple(draw(st.lists(SIZES, max_size=2)))
    x = draw(st.sampled_from([(k,), (m, k), (*batch, m, k), (*(1 for _ in batch), m, k)]))
    y = draw(st.sampled_from([(k,), (k, n), (*batch, k, n)]))
    return x, y


@given(matmul_shapes(), SEEDS)
def test_matrix_products_are_torchs(shapes, seed):
    x, y = drawn(seed, shapes[0]), drawn(seed + 1, shapes[1])
    assert torch.equal(ours("matmul", x, y), torch.matmul(x, y))
    assert torch.equal(OURS.matmul(x, y), torch.matmul(x, y))


@st.composite
def convolutions(draw, transposed):
    rank = draw(st.integers(1, 2))

    def numbers(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    stride, padding, dilation, kernel = numbers(1, 3), numbers(0, 2), numbers(1, 2), numbers(1, 3)
    groups, per_in, per_out = draw(st.integers(1, 3)), draw(SIZES), draw(SIZES)
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    lead = () if draw(st.booleans()) else (draw(SIZES),)
    places = tuple(
        max(1, (k - 1) * d + 1 - 2 * p) + draw(st.integers(0, 4))
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    )
    x = (*lead, groups * per_in, *places)
    if not transposed:
        return f"conv{rank}d", x, (groups * per_out, per_in, *kernel), settings
    more = tuple(draw(st.integers(0, s - 1)) for s in stride)
    out = [
        (n - 1) * s - 2 * p + d * (k - 1) + o + 1
        for n, s, p, d, k, o in zip(places, stride, padding, dilation, kernel, more, strict=True)
    ]
    settings["output_padding"] = more
    if min(out) < 1:
        settings["padding"] = (0,) * rank
    return f"conv_transpose{rank}d", x, (groups * per_in, per_out, *kernel), settings


@given(st.one_of(convolutions(False), convolutions(True)), SEEDS)
def test_convolutions_are_torchs_for_every_setting(case, seed):
    op, of_x, of_y, settings = case
    x, y = drawn(seed, of_x), drawn(seed + 1, of_y)
    expected = getattr(torch, op)(x, y, **settings)
    assert torch.equal(ours(op, x, y, **settings), expected)
    assert torch.equal(getattr(OURS, op)(x, y, **settings), expected)


@given(st.one_of(convolutions(False), convolutions(True)), SEEDS)
def test_convolutions_by_limbs_are_torchs(case, seed):
    op, of_x, of_y, settings = case
    x, y = drawn(seed, of_x), drawn(seed + 1, of_y)
    count = terms(op, x.shape, y.shape, settings["groups"])
    got = product(op, x, y, count, **settings)
    assert torch.equal(got, getattr(torch, op)(x, y, **settings))


@given(matmul_shapes(), SEEDS)
def test_matrix_products_by_limbs_are_torchs(shapes, seed):
    x, y = drawn(seed, shapes[0]), drawn(seed + 1, shapes[1])
    got = product("matmul", x, y, terms("matmul", x.shape, y.shape))
    assert torch.equal(got, torch.matmul(x, y))


def test_limbs_are_exact_where_cryptens_are_not():
    # 3x3 windows over 2,048 channels of words whose lowest limbs are full: CrypTen's three limbs
    # of 22 bits add up 18,432 products of 44 bits in a float64 of 53.
    x, y = torch.full((1, 2048, 3, 3), -1), torch.full((1, 2048, 3, 3), -1)
    y[0, 0, 0, 0] = -2
    got = product("conv2d", x, y, terms("conv2d", x.shape, y.shape))
    assert torch.equal(got, torch.conv2d(x, y)) and got.item() == 2048 * 9 + 1


@given(st.integers(1, 2**40))
def test_limbs_are_narrow_enough_for_their_sums(count):
    number, bits = limbs(count)
    assert number * bits >= 64
    assert count * (2**bits - 1) ** 2 <= 2**53


def test_words_and_tensors_share_their_memory():
    x = torch.arange(12).reshape(3, 4)
    words(x.t())[0, 1] = 99
    assert x[1, 0] == 99
    array = np.zeros(3, np.uint64)
    tensor(array)[1] = -1
    assert array[1] == 2**64 - 1


def test_only_int64_in_main_memory_is_in_the_ring():
    assert in_ring(torch.zeros(2, dtype=torch.long))
    assert not in_ring(torch.zeros(2)) and not in_ring(3)
    assert not in_ring(torch.zeros(2, dtype=torch.long).to_sparse())


def test_what_is_not_of_the_ring_is_left_to_torch():
    x, y = torch.randn(2, 3), torch.randn(3, 2)
    assert torch.equal(OURS.matmul(x, y), x @ y)
    assert OURS.float64 is torch.float64 and OURS.nn is torch.nn
    with pytest.raises(RuntimeError, match="shapes"):
        OURS.matmul(torch.ones(2, 3, dtype=torch.long), torch.ones(2, 3, dtype=torch.long))
    wide = torch.conv2d(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3), padding="same")
    ints = torch.ones(1, 1, 4, 4, dtype=torch.long), torch.ones(1, 1, 3, 3, dtype=torch.long)
    assert torch.equal(OURS.conv2d(*ints, padding="same"), wide.long())
