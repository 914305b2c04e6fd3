"""Inputs, openings, constants and linear maps mean what the clear interpreter says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.bits import to_planes
from mpc.errors import UsageError
from mpc.launch import run_parties
from protocols.additive import AdditiveProtocol
from protocols.clear import Clear
from protocols.rep3 import Rep3Protocol
from tests.protocols.words import (
    REP3,
    SEEDS,
    SHAPES,
    additive,
    at_parties,
    draw_words,
    everywhere,
    joined,
    same,
    some,
)


@everywhere
@some
@given(SEEDS, SHAPES)
def test_an_input_is_what_its_owner_put_in(at, seed, shape):
    x = draw_words(seed, shape)
    for owner in range(at.parties):
        (found,) = at_parties(at, lambda p, x: [x], x, owner=owner)
        assert np.array_equal(found, x)


@everywhere
@pytest.mark.parametrize("owner", [0, 1, -1])
def test_an_owner_without_the_promised_shape_is_refused(at, owner):
    owner %= at.parties

    def program(party):
        x = np.zeros((2, 3), np.uint64) if party.rank == owner else None
        at.make(party).input(x, (3, 2), owner)

    with pytest.raises(UsageError, match="must hold it in that shape"):
        at.run(program)


@everywhere
@some
@given(SEEDS, SHAPES, st.sampled_from([None, 0, 1, -1]), st.integers(0, 11))
def test_an_opening_tells_the_value_to_those_who_may_know(at, seed, shape, to, owner):
    to, owner = (rank if rank is None else rank % at.parties for rank in (to, owner))
    x, y = draw_words(seed, shape), draw_words(seed + 1, (3,))

    def program(party):
        p = at.make(party)
        shares = [p.input(v if party.rank == owner else None, v.shape, owner) for v in (x, y)]
        return p.open(*shares, reason="a test", to=to), p.openings

    for rank, (opened, openings) in enumerate(at.run(program)):
        assert [(o.shape, o.to, o.reason) for o in openings] == [
            (x.shape, to, "a test"),
            (y.shape, to, "a test"),
        ]
        if to in (None, rank):
            assert np.array_equal(opened[0], x) and opened[0].shape == shape
            assert np.array_equal(opened[1], y)
        else:
            assert opened == [None, None]


@everywhere
@pytest.mark.parametrize("to, reason, says", [(4, "a test", "no party 4"), (None, " ", "reason")])
def test_an_opening_to_nobody_or_for_no_reason_is_refused(at, to, reason, says):
    def program(party):
        p = at.make(party)
        p.open(p.constant(np.zeros(2, np.uint64)), reason=reason, to=to)

    with pytest.raises(UsageError, match=says):
        at.run(program)


@everywhere
@some
@given(SEEDS, SHAPES)
def test_a_constant_is_a_sharing_of_itself(at, seed, shape):
    x = draw_words(seed, shape)
    planes = to_planes(x, 5)

    def program(p, _):
        return [p.constant(x), p.constant_bits(planes, shape)]

    found, bits = same(at, program, x)
    assert np.array_equal(found, x)
    assert np.array_equal(bits, [(x.reshape(-1) >> np.uint64(j)) & np.uint64(1) for j in range(5)])


@everywhere
def test_a_share_that_left_a_linear_map_is_still_a_sharing(at):
    x = draw_words(4, (3, 8))

    def program(p, x):
        return [
            p.local(lambda v: v.sum(0, dtype=np.uint64), x),
            p.local(np.subtract, x, x.map(lambda v: v * np.uint64(3))),
        ]

    total, difference = same(at, program, x)
    assert np.array_equal(total, x.sum(0, dtype=np.uint64))
    assert np.array_equal(difference, x - np.uint64(3) * x)


@everywhere
def test_coins_are_the_same_at_all_parties_and_new_each_time(at):
    def program(party):
        p = at.make(party)
        return p.coins((40,)), p.coins((40,))

    first, *others = at.run(program)
    assert all(np.array_equal(first, other) for other in others)
    assert not np.intersect1d(*first).size
    p = Clear()
    assert not np.intersect1d(p.coins((40,)), p.coins((40,))).size


@everywhere
def test_two_sessions_of_the_same_parties_share_no_randomness(at):
    x = np.arange(50, dtype=np.uint64)

    def program(party):
        shares = [at.make(party).input(x if not party.rank else None, (50,), 0) for _ in "ab"]
        return [share.own for share in shares]

    own, *_ = at.run(program)
    assert not np.intersect1d(*own).size


@pytest.mark.parametrize(
    "size, make, says",
    [
        *((size, Rep3Protocol, "rep3 needs 3 parties") for size in (1, 2, 4)),
        (1, additive, "additive needs 2 parties or more"),
        (2, AdditiveProtocol, "additive needs a source"),
    ],
)
def test_parties_too_few_or_too_many_or_without_a_source_are_refused(size, make, says):
    with pytest.raises(UsageError, match=says):
        run_parties(size, make)


@pytest.mark.parametrize("width", [-1, 0, 1, 65])
def test_a_width_that_is_none_is_refused(width):
    with pytest.raises(UsageError, match="comparison width"):
        Clear(width=width)


def test_what_a_mistaken_share_would_show_is_noticed_by_these_tests():
    def program(party):
        share = REP3.make(party).constant(np.ones(3, np.uint64))
        return share.map(lambda v: v + np.uint64(party.rank == 1))

    with pytest.raises(AssertionError):
        joined(REP3.run(program))
