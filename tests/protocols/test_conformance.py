"""rep3 means what the clear interpreter says, word for word."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.bits import to_planes
from kernels.conv import Geometry, conv, conv_input_grad, conv_weight_grad
from kernels.gemm import matmul
from kernels.ring import multiply
from mpc.errors import UsageError
from mpc.launch import run_parties
from mpc.shares import Bits
from protocols.clear import Clear
from protocols.rep3 import Rep3Protocol
from tests.protocols.words import (
    SEEDS,
    SHAPES,
    at_three,
    draw_words,
    joined,
    same,
    signed,
    some,
    thrice,
)

WIDTHS = [2, 3, 5, 31, 32, 33, 40, 63, 64]


@some
@given(SEEDS, SHAPES)
def test_an_input_is_what_its_owner_put_in(seed, shape):
    x = draw_words(seed, shape)
    (found,) = same(lambda p, x: [x], x)
    assert np.array_equal(found, x)


@pytest.mark.parametrize("owner", range(3))
def test_an_owner_without_the_promised_shape_is_refused(owner):
    def program(party):
        x = np.zeros((2, 3), np.uint64) if party.rank == owner else None
        Rep3Protocol(party).input(x, (3, 2), owner)

    with pytest.raises(UsageError, match="must hold it in that shape"):
        run_parties(3, program)


@some
@given(SEEDS, SHAPES, st.sampled_from([None, 0, 1, 2]), st.integers(0, 2))
def test_an_opening_tells_the_value_to_those_who_may_know(seed, shape, to, owner):
    x, y = draw_words(seed, shape), draw_words(seed + 1, (3,))

    def program(party):
        p = Rep3Protocol(party)
        shares = [p.input(v if party.rank == owner else None, v.shape, owner) for v in (x, y)]
        return p.open(*shares, reason="a test", to=to), p.openings

    for rank, (opened, openings) in enumerate(run_parties(3, program)):
        assert [(o.shape, o.to, o.reason) for o in openings] == [
            (x.shape, to, "a test"),
            (y.shape, to, "a test"),
        ]
        if to in (None, rank):
            assert np.array_equal(opened[0], x) and opened[0].shape == shape
            assert np.array_equal(opened[1], y)
        else:
            assert opened == [None, None]


@pytest.mark.parametrize("to, reason, says", [(3, "a test", "no party 3"), (None, " ", "reason")])
def test_an_opening_to_nobody_or_for_no_reason_is_refused(to, reason, says):
    def program(party):
        p = Rep3Protocol(party)
        p.open(p.constant(np.zeros(2, np.uint64)), reason=reason, to=to)

    with pytest.raises(UsageError, match=says):
        run_parties(3, program)


@some
@given(SEEDS, SHAPES)
def test_a_constant_is_a_sharing_of_itself(seed, shape):
    x = draw_words(seed, shape)
    planes = to_planes(x, 5)

    def program(p, _):
        return [p.constant(x), p.constant_bits(planes, shape)]

    found, bits = same(program, x)
    assert np.array_equal(found, x)
    assert np.array_equal(bits, [(x.reshape(-1) >> np.uint64(j)) & np.uint64(1) for j in range(5)])


@st.composite
def broadcast_pairs(draw):
    shape = draw(SHAPES)
    other = tuple(n if draw(st.booleans()) else 1 for n in shape)
    other = other[draw(st.integers(0, len(shape))) :]
    return (shape, other) if draw(st.booleans()) else (other, shape)


@some
@given(SEEDS, broadcast_pairs())
def test_products_agree_under_broadcasting(seed, shapes):
    x, y = (draw_words(seed + i, shape) for i, shape in enumerate(shapes))
    same(thrice(lambda p, x, y: p.bilinear(multiply, (x, y))[0]), x, y)


@some
@given(SEEDS, st.tuples(*[st.integers(0, 5)] * 3), st.sampled_from([(), (1,), (3,), (2, 2)]))
def test_matrix_products_agree_one_or_several_at_once(seed, sizes, batch):
    n, m, k = sizes
    x, y = draw_words(seed, (*batch, n, m)), draw_words(seed + 1, (m, k))

    def program(p, x, y):
        both = p.bilinear(matmul, (x, y), (x, y))
        return [*both, p.dot(x, y)]

    same(program, x, y)


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


@some
@given(SEEDS, convolutions())
def test_convolutions_and_their_gradients_agree(seed, drawn):
    geometry, x_shape, w_shape = drawn
    x, w = draw_words(seed, x_shape), draw_words(seed + 1, w_shape)
    g = draw_words(seed + 2, conv(geometry).shape(x_shape, w_shape))

    def program(p, x, w, g):
        (y,) = p.bilinear(conv(geometry), (x, w))
        (dx,) = p.bilinear(conv_input_grad(geometry, x_shape[2:]), (g, w))
        (dw,) = p.bilinear(conv_weight_grad(geometry, w_shape[2:]), (x, g))
        return [y, dx, dw]

    same(program, x, w, g)


def rounded_down_or_one_more(found, exact, fraction):
    off = signed(found) - (signed(exact) >> fraction)
    assert np.all((off == 0) | (off == 1))
    return off


@pytest.mark.parametrize("fraction", [*range(1, 47), 61, 62])
def test_truncation_is_the_floor_or_one_ulp_more_up_to_the_ends_of_its_range(fraction):
    top = 2**62
    ends = [0, 1, -1, top - 1, 1 - top, top // 2, -top // 2, 2**fraction, 2**fraction - 1]
    ends = np.array([e for e in ends if abs(e) < top], np.int64)
    x = np.concatenate([ends.view(np.uint64), draw_words(fraction, (200,), 63)])
    for found in at_three(thrice(lambda p, x: p.truncate(x, fraction=fraction)[0]), x):
        off = rounded_down_or_one_more(found, x, fraction)
        cut = signed(x) & (2**fraction - 1)
        assert np.all(off[cut == 0] == 0)  # what is exact stays exact
    (clear,) = Clear().truncate(Clear().constant(x), fraction=fraction)
    off = rounded_down_or_one_more(clear.value, x, fraction)
    assert np.array_equal(off, (signed(x) >> (fraction - 1)) & 1)  # the nearest


@some
@given(SEEDS, SHAPES, SHAPES, st.integers(1, 46), st.integers(0, 2))
def test_several_arrays_of_any_shape_are_truncated_at_once(seed, one, other, fraction, owner):
    x, y = draw_words(seed, one, 63), draw_words(seed + 1, other, 63)

    def program(p, x, y):
        return [z for _ in range(3) for z in p.truncate(x, y, fraction=fraction)]

    for found, exact in zip(at_three(program, x, y, owner=owner), [x, y] * 3, strict=True):
        assert found.shape == exact.shape
        rounded_down_or_one_more(found, exact, fraction)


@some
@given(SEEDS, broadcast_pairs(), st.integers(1, 46))
def test_a_truncated_product_is_the_floor_or_one_ulp_more(seed, shapes, fraction):
    x, y = draw_words(seed, shapes[0], 32), draw_words(seed + 1, shapes[1], 31)
    exact = x * y

    def program(p, x, y):
        pairs = [(x, y), (y, x)]
        return [
            z for _ in range(3) for z in p.bilinear_truncate(multiply, *pairs, fraction=fraction)
        ]

    for found in at_three(program, x, y):
        rounded_down_or_one_more(found, exact, fraction)


def test_truncation_rounds_up_as_often_as_what_was_cut_off_says():
    n, cut = 40000, 0.3
    x = np.full(n, int((5 + cut) * 2**16), np.uint64)
    (found,) = at_three(lambda p, x: p.truncate(x, fraction=16), x)
    share = np.mean(signed(found) == 6)
    assert abs(share - cut) < 6 * np.sqrt(cut * (1 - cut) / n)


# Bits.


def drawn_bits(p, x, width):
    """Bits that are shared in earnest: those of a secret."""
    return p.bits(x).map(lambda planes: planes[:width])


@some
@given(SEEDS, SHAPES, st.integers(1, 6))
def test_conjunctions_exclusive_ors_and_inversions_agree(seed, shape, width):
    x, y = draw_words(seed, shape), draw_words(seed + 1, shape)

    def program(p, x, y):
        a, b = drawn_bits(p, x, width), drawn_bits(p, y, width)
        return [p.conj(a, b), a.map(np.bitwise_xor, b), p.invert(a), a.plane(-1)]

    anded, xored, inverted, last = same(program, x, y)
    rows = [[(v.reshape(-1) >> np.uint64(j)) & np.uint64(1) for j in range(width)] for v in (x, y)]
    assert np.array_equal(anded, np.bitwise_and(*rows))
    assert np.array_equal(xored, np.bitwise_xor(*rows))
    assert np.array_equal(inverted, 1 - np.array(rows[0]))
    assert np.array_equal(last, rows[0][-1:])


@pytest.mark.parametrize("width", WIDTHS)
def test_addends_add_up_in_every_turn(width):
    x = draw_words(width, (7, 19))

    def program(p, x):
        return [bits for _ in range(3) for bits in p.addends(x, width)]

    found = at_three(program, x)
    powers = np.uint64(1) << np.arange(width, dtype=np.uint64)[:, None]
    mask = np.uint64(2**width - 1)
    for t, s in zip(found[::2], found[1::2], strict=True):
        total = (t * powers).sum(0, dtype=np.uint64) + (s * powers).sum(0, dtype=np.uint64)
        assert np.array_equal(total & mask, x.reshape(-1) & mask)


@pytest.mark.parametrize("width", [2, 3, 4, 7, 64])
def test_a_level_of_the_carry_tree_merges_neighbours(width):
    x = draw_words(width, (70,))

    def program(p, x):
        g, q = p.generate(x, width)
        low = q.map(lambda planes: planes[: width - 1])
        return [g, low, *p.merge(g, low), q]

    g, q, merged_g, merged_q, full = at_three(program, x)
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


@pytest.mark.parametrize("width", WIDTHS)
def test_a_sign_is_the_top_bit_of_the_width(width):
    x = np.concatenate([draw_words(width, (130,), width), draw_words(width, (61,))])
    for found in same(thrice(lambda p, x: p.sign_bit(x)), x, width=width):
        assert np.array_equal(found[0], (x >> np.uint64(width - 1)) & np.uint64(1))
        assert np.array_equal(found[0][:130], signed(x[:130]) < 0)


@some
@given(SEEDS, SHAPES)
def test_signs_and_all_bits_agree_in_any_shape(seed, shape):
    x = draw_words(seed, shape)
    _, _, every = same(lambda p, x: [p.sign_bit(x), p.equal_zero(x), p.bits(x)], x)
    powers = np.uint64(1) << np.arange(64, dtype=np.uint64)[:, None]
    assert np.array_equal((every * powers).sum(0, dtype=np.uint64), x.reshape(-1))


@pytest.mark.parametrize("width", WIDTHS)
def test_equal_zero_finds_zeros_and_only_those(width):
    x = draw_words(width, (9, 15), width)
    x[::2, ::3] = 0
    for found in same(thrice(lambda p, x: p.equal_zero(x)), x, width=width):
        assert np.array_equal(found[0].reshape(x.shape), x == 0)


@pytest.mark.parametrize("planes", [1, 2, 3, 8, 13, 64])
def test_any_above_says_whether_a_higher_plane_is_set(planes):
    x = draw_words(planes, (77,)) >> np.uint64(64 - planes)
    x >>= np.arange(77, dtype=np.uint64) % np.uint64(planes)
    (found,) = same(lambda p, x: [p.any_above(drawn_bits(p, x, planes))], x)
    assert np.array_equal(found, [x >= np.uint64(1) << np.uint64(j) for j in range(planes)])


@some
@given(SEEDS, SHAPES)
def test_select_keeps_what_is_chosen_and_zeroes_the_rest(seed, shape):
    x, y = draw_words(seed, shape), draw_words(seed + 1, shape)

    def program(p, x, y):
        chosen = p.sign_bit(y)
        return [p.select(chosen, x) for _ in range(3)]

    for found in same(program, x, y):
        assert np.array_equal(found, np.where(signed(y) < 0, x, np.uint64(0)))


@pytest.mark.parametrize("width", WIDTHS)
def test_a_positive_part_is_the_value_where_it_is_above_zero(width):
    x = draw_words(width, (9, 15), width)
    x[::2, ::3] = 0

    def program(p, x):
        positive, part = p.positive_part(x)
        return [p.bit_to_ring(positive), part]

    found = same(lambda p, x: [*program(p, x), *program(p, x), *program(p, x)], x, width=width)
    for above, part in zip(found[::2], found[1::2], strict=True):
        assert np.array_equal(above, signed(x) > 0)
        assert np.array_equal(signed(part), np.maximum(signed(x), 0))


@pytest.mark.parametrize(
    "width, fraction", [(64, 16), (40, 16), (32, 16), (20, 1), (9, 33), (3, 2)]
)
def test_a_truncated_positive_part_has_the_sign_of_what_was_truncated(width, fraction):
    bits = min(width + fraction, 62)
    z = draw_words(width, (7, 20), bits)
    z[::2, ::3] = 0
    one = np.ones(z.shape, np.uint64)

    def program(party):
        p = Clear(None) if party is None else Rep3Protocol(party, width=width)
        first = party is None or party.rank == 0
        x, y = (p.input(v if first else None, z.shape, 0) for v in (z, one))
        made = []
        for _ in range(3):
            (product,) = p.product(multiply, (x, y))
            truncated, positive, part = p.truncated_positive_part(product, fraction=fraction)
            made += [truncated, p.bit_to_ring(positive), part]
        return made

    parts = run_parties(3, program)
    found = [joined([of_party[i] for of_party in parts]) for i in range(9)]
    clear = [share.value for share in program(None)]
    floor = signed(z) >> fraction
    for i in range(0, 9, 3):
        truncated, positive, part = found[i : i + 3]
        assert set((signed(truncated) - floor).reshape(-1)) <= {0, 1}
        assert np.array_equal(positive, signed(z) > 0)
        assert np.array_equal(part, np.where(signed(z) > 0, truncated, np.uint64(0)))
        # The clear interpreter looks at the sign after rounding: apart by what rounds to nothing.
        assert np.all(np.abs(signed(clear[i + 2]) - signed(part)) <= 1)


@some
@given(SEEDS, SHAPES)
def test_a_sum_of_products_is_truncated_once(seed, shape):
    x, y = (draw_words(seed + i, shape, 30) for i in range(2))

    def program(p, x, y):
        (product,) = p.product(multiply, (x, y))
        total = product.map(lambda v, w: v - w, p.summand(y))
        return [*p.truncate_summands(product, fraction=9), *p.truncate_summands(total, fraction=9)]

    of_product, of_total = at_three(program, x, y)
    exact = signed(x) * signed(y)
    assert set((signed(of_product) - (exact >> 9)).reshape(-1)) <= {0, 1}
    assert set((signed(of_total) - ((exact - signed(y)) >> 9)).reshape(-1)) <= {0, 1}


def test_a_share_is_not_used_up_with_what_is_made_of_it():
    x = draw_words(1, (70,), 60)
    (cut, kept) = at_three(lambda p, x: [*p.truncate_summands(p.summand(x), fraction=9), x], x)
    assert np.array_equal(kept, x)
    assert set(signed(cut) - (signed(x) >> 9)) <= {0, 1}


@pytest.mark.parametrize("chunk, apart", [(128, 10**9), (10**9, 64), (320, 192)])
def test_parts_of_a_large_array_are_put_together_again(monkeypatch, chunk, apart):
    monkeypatch.setattr("protocols.rep3.sharing.CHUNK", chunk)
    monkeypatch.setattr("protocols.rep3.sharing.APART", apart)
    x = draw_words(1, (5, 77), 60)

    def program(p, x):
        positive, part = p.positive_part(x)
        (product,) = p.product(multiply, (x, p.constant(np.ones(x.shape, np.uint64))))
        cut, above, cut_part = p.truncated_positive_part(product, fraction=16)
        bits = [p.bit_to_ring(b) for b in (p.sign_bit(x), positive, above)]
        small = x.map(lambda v: v[:2, :3])
        return [*bits, part, cut, cut_part, *p.truncate(x, small, fraction=16)]

    *bits, part, cut, cut_part, truncated, small = at_three(program, x)
    for found, expected in zip(bits, (signed(x) < 0, signed(x) > 0, signed(x) > 0), strict=True):
        assert np.array_equal(found, expected)
    assert np.array_equal(signed(part), np.maximum(signed(x), 0))
    assert np.array_equal(cut_part, np.where(signed(x) > 0, cut, np.uint64(0)))
    for found, value in ((cut, x), (truncated, x), (small, x[:2, :3])):
        assert set((signed(found) - (signed(value) >> 16)).reshape(-1)) <= {0, 1}


@some
@given(SEEDS, SHAPES, st.integers(1, 9))
def test_bits_become_ring_elements_with_a_leading_axis_if_there_are_several(seed, shape, planes):
    x = draw_words(seed, shape)
    found = same(thrice(lambda p, x: p.bit_to_ring(drawn_bits(p, x, planes))), x)
    rows = np.stack([(x >> np.uint64(j)) & np.uint64(1) for j in range(planes)])
    for value in found:
        assert np.array_equal(value, rows[0] if planes == 1 else rows)


def test_coins_are_the_same_at_all_parties_and_new_each_time():
    def program(party):
        p = Rep3Protocol(party)
        return p.coins((40,)), p.coins((40,))

    first, *others = run_parties(3, program)
    assert all(np.array_equal(first, other) for other in others)
    assert not np.intersect1d(*first).size
    p = Clear()
    assert not np.intersect1d(p.coins((40,)), p.coins((40,))).size


def test_two_sessions_of_the_same_parties_share_no_randomness():
    x = np.arange(50, dtype=np.uint64)

    def program(party):
        shares = [Rep3Protocol(party).input(x if not party.rank else None, (50,), 0) for _ in "ab"]
        return [share.own for share in shares]

    own, _, _ = run_parties(3, program)
    assert not np.intersect1d(*own).size


def test_a_share_that_left_a_linear_map_is_still_a_sharing():
    x = draw_words(4, (3, 8))

    def program(p, x):
        return [
            p.local(lambda v: v.sum(0, dtype=np.uint64), x),
            p.local(np.subtract, x, x.map(lambda v: v * np.uint64(3))),
        ]

    total, difference = same(program, x)
    assert np.array_equal(total, x.sum(0, dtype=np.uint64))
    assert np.array_equal(difference, x - np.uint64(3) * x)


def test_padding_never_reaches_a_neighbour_when_planes_are_cut():
    x = draw_words(8, (3, 45))

    def program(p, x):
        from protocols.bits import split

        return split(p.sign_bit(x), (45, 45, 45), (45,))

    for found, row in zip(same(program, x), x, strict=True):
        assert np.array_equal(found[0], signed(row) < 0)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_another_number_of_parties_is_refused(size):
    with pytest.raises(UsageError, match="needs 3 parties"):
        run_parties(size, Rep3Protocol)


@pytest.mark.parametrize("width", [-1, 0, 1, 65])
def test_a_width_that_is_none_is_refused(width):
    with pytest.raises(UsageError, match="comparison width"):
        Clear(width=width)


def test_what_a_mistaken_share_would_show_is_noticed_by_these_tests():
    def program(party):
        share = Rep3Protocol(party).constant(np.ones(3, np.uint64))
        return share.map(lambda v: v + np.uint64(party.rank == 1))

    with pytest.raises(AssertionError):
        joined(run_parties(3, program))


def test_planes_carry_the_shape_of_their_elements():
    planes = to_planes(np.arange(6, dtype=np.uint64), 2)
    bits = Bits(Clear().constant(planes), (2, 3))
    assert bits.plane(0).shape == (2, 3)
    assert bits.plane(-1).planes.shape == (1, 1)
