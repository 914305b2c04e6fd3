"""Choices by a bit mean what the clear interpreter says, under every protocol."""

import numpy as np
import pytest
from hypothesis import given

from kernels.ring import multiply
from protocols.clear import Clear
from tests.protocols.words import (
    REP3,
    SEEDS,
    SHAPES,
    THREE,
    TWO,
    WIDTHS,
    at_parties,
    draw_words,
    everywhere,
    joined,
    same,
    signed,
    some,
)


@everywhere
@some
@given(SEEDS, SHAPES)
def test_select_keeps_what_is_chosen_and_zeroes_the_rest(at, seed, shape):
    x, y = draw_words(seed, shape), draw_words(seed + 1, shape)

    def program(p, x, y):
        chosen = p.sign_bit(y)
        return [p.select(chosen, x) for _ in range(3)]

    for found in same(at, program, x, y):
        assert np.array_equal(found, np.where(signed(y) < 0, x, np.uint64(0)))


@everywhere
@pytest.mark.parametrize("width", WIDTHS)
def test_a_positive_part_is_the_value_where_it_is_above_zero(at, width):
    x = draw_words(width, (9, 15), width)
    x[::2, ::3] = 0

    def program(p, x):
        positive, part = p.positive_part(x)
        return [p.bit_to_ring(positive), part]

    found = same(at, lambda p, x: [*program(p, x), *program(p, x), *program(p, x)], x, width=width)
    for above, part in zip(found[::2], found[1::2], strict=True):
        assert np.array_equal(above, signed(x) > 0)
        assert np.array_equal(signed(part), np.maximum(signed(x), 0))


@everywhere
@pytest.mark.parametrize(
    "width, fraction", [(64, 16), (40, 16), (32, 16), (20, 1), (9, 33), (3, 2)]
)
def test_a_truncated_positive_part_has_the_sign_of_what_was_truncated(at, width, fraction):
    bits = min(width + fraction, 62)
    z = draw_words(width, (7, 20), bits)
    z[::2, ::3] = 0
    one = np.ones(z.shape, np.uint64)

    def program(party):
        p = Clear(None) if party is None else at.make(party, width)
        first = party is None or party.rank == 0
        x, y = (p.input(v if first else None, z.shape, 0) for v in (z, one))
        made = []
        for _ in range(3):
            (product,) = p.product(multiply, (x, y))
            truncated, positive, part = p.truncated_positive_part(product, fraction=fraction)
            made += [truncated, p.bit_to_ring(positive), part]
        return made

    parts = at.run(program)
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


@pytest.mark.parametrize(
    "at, chunk, apart",
    [(REP3, 128, 10**9), (REP3, 10**9, 64), (REP3, 320, 192), (TWO, 64, 0), (THREE, 320, 0)],
    ids=str,
)
def test_parts_of_a_large_array_are_put_together_again(at, monkeypatch, chunk, apart):
    monkeypatch.setattr("protocols.base.CHUNK", chunk)
    monkeypatch.setattr("protocols.rep3.sharing.APART", apart)
    x = draw_words(1, (5, 77), 60)

    def program(p, x):
        positive, part = p.positive_part(x)
        (product,) = p.product(multiply, (x, p.constant(np.ones(x.shape, np.uint64))))
        cut, above, cut_part = p.truncated_positive_part(product, fraction=16)
        bits = [p.bit_to_ring(b) for b in (p.sign_bit(x), positive, above)]
        small = x.map(lambda v: v[:2, :3])
        return [*bits, part, cut, cut_part, *p.truncate(x, small, fraction=16)]

    *bits, part, cut, cut_part, truncated, small = at_parties(at, program, x)
    for found, expected in zip(bits, (signed(x) < 0, signed(x) > 0, signed(x) > 0), strict=True):
        assert np.array_equal(found, expected)
    assert np.array_equal(signed(part), np.maximum(signed(x), 0))
    assert np.array_equal(cut_part, np.where(signed(x) > 0, cut, np.uint64(0)))
    for found, value in ((cut, x), (truncated, x), (small, x[:2, :3])):
        assert set((signed(found) - (signed(value) >> 16)).reshape(-1)) <= {0, 1}
