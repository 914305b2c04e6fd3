"""Items of correlated randomness: shares of all parties join to masks and to what is made of them.

What is made is compared with NumPy here, item by item; not with what made it.
"""

from functools import reduce
from itertools import combinations
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.conv import Geometry, conv
from kernels.gemm import matmul
from kernels.ring import multiply
from mpc.correlated.carries import Merge, levels
from mpc.correlated.items import (
    Addend,
    Carries,
    Choice,
    Conjunction,
    DoubleBits,
    Field,
    Mask,
    Masked,
    Triple,
)
from mpc.correlated.seeded import Maker, SeededSource, new_masks
from mpc.errors import OutOfStep

U = np.uint64
some = settings(deadline=None, max_examples=25)
PARTIES = st.integers(2, 4)
COUNTS = st.sampled_from([0, 1, 5, 63, 64, 65, 130])


class Made(SeededSource):
    """A source of one party, where each of them could make the corrections."""

    name, assumption = "made", "a test"

    def __init__(self, seeds, rank):
        self.maker = Maker(seeds)
        super().__init__(seeds[rank], is_last=rank == len(seeds) - 1)

    def _corrections(self, number, item):
        return self.maker.corrections(number, item)


def sources(parties, seed=0):
    seeds = [bytes([seed % 256, rank]) * 16 for rank in range(parties)]
    return [Made(seeds, rank) for rank in range(parties)]


def joined(fields, shares):
    """The values of fields from all parties' shares, each a list of arrays."""
    values = []
    for i, field in enumerate(fields):
        parts = [share[i] for share in shares]
        assert all(part.shape == field.shape and part.dtype == field.dtype for part in parts)
        values.append(reduce(np.bitwise_xor if field.xor else np.add, parts))
    return values


def taken(makers, item):
    """An item that all parties take: its number, masks and products."""
    dealt = [source.take(item) for source in makers]
    (number,) = {part.number for part in dealt}
    masks = joined(item.masks(), [part.masks for part in dealt])
    return number, masks, joined(item.products(), [part.products for part in dealt])


def bits_of(planes, n):
    """Planes [k, W] as bits [k, n]."""
    flat = np.ascontiguousarray(planes).view(np.uint8).reshape(len(planes), 8 * planes.shape[1])
    return np.unpackbits(flat, axis=1, bitorder="little")[:, :n].astype(U)


# Each kind of item.


@some
@given(PARTIES, COUNTS, st.booleans())
def test_a_triple_of_products_is_two_masks_and_their_product(parties, n, square):
    item = Triple("multiply", (n,), (n,), square=square)
    _, masks, (c,) = taken(sources(parties), item)
    assert len(masks) == 2 - square
    assert np.array_equal(c, masks[0] * masks[-1])


@some
@given(PARTIES, st.tuples(*[st.integers(0, 5)] * 3))
def test_a_triple_of_matrices_is_of_the_operands_own_shapes(parties, sizes):
    n, m, k = sizes
    _, (a, b), (c,) = taken(sources(parties), Triple("matmul", (n, m), (m, k)))
    assert a.shape == (n, m) and b.shape == (m, k)
    assert np.array_equal(c, a @ b)


def test_a_triple_of_a_convolution_is_found_by_its_name():
    f = conv(Geometry((2,), (1,), (1,), 1))
    item = Triple(f.name, (1, 2, 7), (3, 2, 3))
    _, (a, b), (c,) = taken(sources(3), item)
    padded = np.pad(a, ((0, 0), (0, 0), (1, 1)))
    windows = np.stack([padded[:, :, at : at + 3] for at in range(0, 7, 2)], 1)
    assert np.array_equal(c, np.einsum("nocs,kcs->nko", windows, b))


@some
@given(PARTIES, COUNTS, st.integers(1, 62), st.booleans())
def test_a_mask_to_be_cut_comes_with_its_high_bits_and_its_top_bit(parties, n, fraction, choose):
    item = Masked(n, fraction=fraction, choose=choose)
    _, (r, *mask), (high, top, *chosen) = taken(sources(parties), item)
    assert np.array_equal(high, r >> U(fraction))
    # Only the low bits of it are ever looked at.
    assert top.dtype == (np.uint16 if fraction <= 16 else U)
    assert np.array_equal(top, (r >> U(63)).astype(top.dtype))
    if choose:
        beta = bits_of(mask[0], n)[0]
        assert np.array_equal(chosen[0], beta)
        assert np.array_equal(chosen[1], beta * high)
        assert np.array_equal(chosen[2], (beta * (r >> U(63))).astype(top.dtype))


@some
@given(PARTIES, st.integers(0, 64), st.integers(1, 63), st.booleans())
def test_a_mask_to_be_compared_comes_with_products_of_its_bits(parties, n, low, choose):
    """Up to 64 elements: one word a plane, row after row."""
    _, (r, *mask), (products, top, *chosen) = taken(
        sources(parties), Masked(n, low=low, choose=choose)
    )
    rows = bits_of(products.reshape(-1, 1), n)
    bit = [(r >> U(j)) & U(1) for j in range(64)]
    expected = []
    for first in range(0, low, 4):
        block = bit[first : min(first + 4, low)]
        for subset in range(1, 2 ** len(block)):
            inside = [b for j, b in enumerate(block) if subset >> j & 1]
            expected.append(reduce(np.bitwise_and, inside))
    if n:
        assert np.array_equal(rows, expected)
        assert np.array_equal(bits_of(top, n)[0], bit[low])
    if choose:
        beta = bits_of(mask[0], n)[0]
        assert np.array_equal(chosen[0], beta)
        assert np.array_equal(chosen[1], beta * (U(0) - r))


@some
@given(PARTIES, COUNTS, st.integers(1, 7))
def test_a_conjunction_is_two_masks_and_their_and(parties, n, planes):
    shape = (planes, -(-n // 64))
    _, (alpha, beta), (both,) = taken(sources(parties), Conjunction(shape))
    assert np.array_equal(both, alpha & beta)


@some
@given(PARTIES, COUNTS, st.integers(2, 64))
def test_an_addend_is_the_negative_of_its_mask_in_bits(parties, n, width):
    _, (r,), (planes,) = taken(sources(parties), Addend(n, width))
    assert len(planes) == width
    for j, row in enumerate(bits_of(planes, n)):
        assert np.array_equal(row, ((U(0) - r) >> U(j)) & U(1))


@some
@given(PARTIES, COUNTS)
def test_a_choice_is_a_bit_a_value_and_their_product(parties, n):
    _, (alpha, mask), (beta, both) = taken(sources(parties), Choice(n))
    assert np.array_equal(beta, bits_of(mask, n)[0])
    assert np.array_equal(both, alpha * beta)


@some
@given(PARTIES, COUNTS, st.integers(0, 6))
def test_double_bits_are_the_same_under_xor_and_in_the_ring(parties, n, planes):
    _, (mask,), (rows,) = taken(sources(parties), DoubleBits(planes, n))
    assert rows.shape == (planes, n)
    assert np.array_equal(rows, bits_of(mask, n) if planes else rows)


@some
@given(PARTIES, COUNTS, st.integers(1, 16))
def test_the_products_of_a_carry_tree_are_those_of_its_masks(parties, n, blocks):
    item = Carries(blocks, n)
    _, masks, products = taken(sources(parties), item)
    kinds = [merge for level in item.levels for merge, _ in level.groups]
    assert len(kinds) == len(masks) == len(products)
    for merge, mask, made in zip(kinds, masks, products, strict=True):
        for subset, product in zip(merge.products, made, strict=True):
            assert len(subset) > 1
            assert np.array_equal(product, np.bitwise_and.reduce(mask[list(subset)], axis=0))


EACH_KIND = [
    Triple("multiply", (3, 4), (4,)),
    Triple("matmul", (3, 4), (4, 5)),
    Triple("matmul", (4, 4), (4, 4), square=True),
    Masked(70, fraction=16),
    Masked(70, low=63, choose=True),
    Masked(70, fraction=17, low=47, choose=True),
    Carries(16, 70),
    Conjunction((3, 2)),
    Addend(70, 40),
    Choice(70),
    DoubleBits(3, 70),
]
each_kind = pytest.mark.parametrize("item", EACH_KIND, ids=lambda item: item.kind)


@each_kind
def test_of_two_items_nothing_is_the_same_and_no_party_draws_what_another_does(item):
    makers = sources(3)
    seen = []
    for _ in range(2):
        for source in makers:
            dealt = source.take(item)
            seen += [a.reshape(-1) for a in (*dealt.masks, *dealt.products) if a.dtype == U]
    every = np.concatenate(seen)
    assert len(np.unique(every)) == len(every)  # by chance about once in 2^40 tests


@each_kind
def test_a_share_of_all_but_one_party_joins_to_something_else(item):
    dealt = [source.take(item) for source in sources(3)]
    whole = joined(item.masks(), [part.masks for part in dealt])
    for absent in range(3):
        rest = [part.masks for rank, part in enumerate(dealt) if rank != absent]
        for one, other in zip(joined(item.masks(), rest), whole, strict=True):
            assert not np.any(one == other)


@each_kind
def test_an_item_is_counted_and_numbered_and_its_corrections_are_as_large_as_it_says(item):
    for source in sources(2):
        assert [source.take(item).number for _ in range(3)] == [0, 1, 2]
        assert source.served == {item.kind: 3}
        made = source.maker.corrections(0, item)
        assert sum(a.nbytes for a in made) == item.correction_bytes
        assert item.correction_bytes == sum(field.nbytes for field in item.products())


def test_other_seeds_make_other_items():
    one, other = (taken(sources(2, seed), Choice(9))[1][0] for seed in (1, 2))
    assert not np.intersect1d(one, other).size


# A mask that serves again.


@each_kind
def test_a_mask_is_drawn_again_as_it_was(item):
    for source in sources(3):
        source.take(Choice(5))
        dealt = source.take(item)
        source.take(item)
        for place, (mask, field) in enumerate(zip(dealt.masks, item.masks(), strict=True)):
            again = source.mask(Mask(dealt.number, place), field)
            assert np.array_equal(again, mask) and again.dtype == mask.dtype


@some
@given(PARTIES, st.permutations(range(3)), st.booleans())
def test_a_product_with_masks_of_earlier_items_is_that_of_those_masks(parties, axes, other_side):
    shape, axes = (2, 3, 4), tuple(axes)
    makers = sources(parties)
    first = Triple("multiply", shape, shape)
    number, (_, b), _ = taken(makers, first)
    names = new_masks(first, number)
    assert names == (Mask(number, 0), Mask(number, 1))

    known = names[1]._replace(axes=axes)
    turned = tuple(shape[axis] for axis in axes)
    assert known.field(turned) == Field(shape)
    assert np.array_equal(known.moved(b), b.transpose(axes))

    masks = {"y_mask" if other_side else "x_mask": known}
    item = Triple("multiply", turned, turned, **masks)
    number, (new,), (c,) = taken(makers, item)
    assert np.array_equal(c, new * b.transpose(axes))
    of_x, of_y = new_masks(item, number)
    assert {of_x, of_y} == {known, Mask(number, 0)}
    assert (of_y if other_side else of_x) == known

    both = Triple("multiply", turned, turned, of_x, of_y)
    _, none, (d,) = taken(makers, both)
    assert not none and np.array_equal(d, c)
    _, none, (square,) = taken(makers, Triple("multiply", turned, turned, known, square=True))
    assert not none and np.array_equal(square, b.transpose(axes) ** 2)


def test_the_operands_of_a_triple_are_told_apart_whichever_is_known():
    a, b = object(), object()
    shape, known = (2,), Mask(0, 1)
    assert Triple("multiply", shape, shape).operands([a, b], []) == (a, b)
    assert Triple("multiply", shape, shape, known).operands([b], [a]) == (a, b)
    assert Triple("multiply", shape, shape, None, known).operands([a], [b]) == (a, b)
    assert Triple("multiply", shape, shape, known, known).operands([], [a, b]) == (a, b)
    assert Triple("multiply", shape, shape, square=True).operands([a], []) == (a, a)
    assert Triple("multiply", shape, shape, known, square=True).operands([], [a]) == (a, a)


@pytest.mark.parametrize("named", [3, 4, 2**40 - 1])
@pytest.mark.parametrize("side", ["x_mask", "y_mask"])
def test_a_mask_of_an_item_that_does_not_come_before_is_refused(named, side):
    item = Triple("multiply", (2,), (2,), **{side: Mask(named, 0)})
    with pytest.raises(OutOfStep, match=f"item 3 names a mask of item {named}"):
        Maker([bytes(32), bytes(32)]).corrections(3, item)


# Carries.


def ripple(g, p):
    """The carry out of all blocks, the lowest first."""
    carry = np.zeros_like(g[0])
    for generate, through in zip(g, p, strict=True):
        carry = generate ^ (through & carry)
    return carry


@some
@given(PARTIES, st.integers(1, 16), st.sampled_from([0, 1, 3]), st.integers(0, 2**32 - 1))
def test_a_tree_of_carries_is_the_plain_ripple(parties, blocks, width, seed):
    draw = np.random.default_rng(seed)

    def shares(values):
        some = draw.integers(0, 2**64, (parties - 1, *values.shape), np.uint64)
        return [*some, values ^ np.bitwise_xor.reduce(some, axis=0)]

    # A block that generates a carry and one that passes it on exclude each other in an adder, and
    # need not here.
    g, p = draw.integers(0, 2**64, (2, blocks, width), np.uint64)
    dealt = [source.take(Carries(blocks, 64 * width)) for source in sources(parties)]
    masks, products = ([iter(getattr(d, part)) for d in dealt] for part in ("masks", "products"))
    gs, ps = shares(g), shares(p)
    for level in levels(blocks):
        new_g, new_p = [[] for _ in dealt], [[] for _ in dealt]
        for at, (merge, count) in enumerate(level.groups):
            cuts = [(level.cut(gs[i])[at], level.cut(ps[i])[at]) for i in range(parties)]
            mine = [next(masks[i]) for i in range(parties)]
            factors = [merge.opened(*cut) for cut in cuts]
            assert factors[0].shape == (merge.factors, count, width) == mine[0].shape
            opened = reduce(np.bitwise_xor, [f ^ m for f, m in zip(factors, mine, strict=True)])
            for i in range(parties):
                made = merge.merged(cuts[i][0], opened, mine[i], next(products[i]), first=i == 0)
                new_g[i].append(made[0])
                new_p[i].append(made[1])
        gs = [level.joined(new, old) for new, old in zip(new_g, gs, strict=True)]
        ps = [level.joined(new, old) for new, old in zip(new_p, ps, strict=True)]
    assert all(share.shape == (1, width) for share in gs)
    assert np.array_equal(reduce(np.bitwise_xor, gs)[0], ripple(g, p))


def test_a_tree_has_half_as_many_levels_as_one_of_pairs():
    assert [len(levels(blocks)) for blocks in range(1, 18)] == [0, *[1] * 3, *[2] * 12, 3]
    for blocks in range(2, 17):
        *before, last = levels(blocks)
        assert all(level.through for level in before) and not last.through
        at = blocks
        for level in (*before, last):
            assert 4 * level.fours + level.rest == at and level.rest < 4
            at = level.fours + (level.rest > 0)
        assert at == 1


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("through", [False, True])
def test_a_merge_needs_each_product_of_two_masks_or_more_once(size, through):
    merge = Merge(size, through)
    needed = {
        frozenset(subset)
        for term in merge.terms
        for count in range(2, len(term) + 1)
        for subset in combinations(term, count)
    }
    assert {frozenset(product) for product in merge.products} == needed
    assert len(merge.products) == len(needed)
    assert {factor for term in merge.terms for factor in term} == set(range(merge.factors))


def test_a_field_knows_its_bytes_also_where_it_is_large():
    assert Field((2**20, 2**20)).nbytes == 2**43
    assert Field((3, 5), dtype=np.dtype(np.uint16)).nbytes == 30
    assert Field(()).nbytes == 8 and Field((4, 0)).nbytes == 0


def test_a_map_of_a_triple_is_found_again_by_its_name():
    for f in (multiply, matmul):
        item = Triple(f.name, (2, 2), (2, 2))
        assert item.map is f and item.products() == (Field(f.shape((2, 2), (2, 2))),)
        assert prod(item.products()[0].shape) == 4
