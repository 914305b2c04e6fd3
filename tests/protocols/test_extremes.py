"""Tournaments find the largest, and the first of equals, and give back to the winner."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc.errors import UsageError
from protocols import functions
from protocols.clear import Clear
from protocols.functions.extremes import one_hot_winner, place, tournament
from protocols.secret import SecretArray, constant
from tests.protocols.test_compare import arrays, halves
from tests.protocols.words import SEEDS, draw_words, each_protocol, same, signed, some

TAILS = st.sampled_from([(), (1,), (5,), (0,), (2, 3), (65,)])


def with_ties(seed, shape, width=64):
    """Words among which equals are common."""
    x = halves(seed, shape, width)
    few = np.random.default_rng(seed).choice(x.reshape(-1)[:2] if x.size else [0], shape)
    return np.where(np.random.default_rng(seed + 1).integers(0, 2, shape) > 0, few, x).astype(
        np.uint64
    )


@each_protocol
@some
@given(SEEDS, st.integers(1, 9), TAILS, st.sampled_from([64, 40]))
def test_the_largest_is_exact_and_so_is_its_place(at, seed, entrants, tail, width):
    x = with_ties(seed, (entrants, *tail), width)

    def program(x):
        largest, won = tournament(x)
        found = [largest, functions.maximum_along(x, 0)]
        if entrants > 1:
            found += [place(won), one_hot_winner(won), functions.argmax(x, 0)]
        return found

    found = same(at, arrays(program), x, width=width)
    assert np.array_equal(signed(found[0]), signed(x).max(0))
    assert np.array_equal(found[1], found[0])
    if entrants > 1:
        first = signed(x).argmax(0)  # NumPy, too, takes the first of equals
        assert np.array_equal(found[2], first)
        assert np.array_equal(found[3], np.arange(entrants).reshape(-1, *[1] * len(tail)) == first)
        assert np.array_equal(found[4], first)


@each_protocol
@some
@given(SEEDS, st.integers(1, 9), TAILS)
def test_a_prize_goes_to_the_winner_and_to_nobody_else(at, seed, entrants, tail):
    x, prize = with_ties(seed, (entrants, *tail)), draw_words(seed + 2, tail)

    def program(x, prize):
        return [tournament(x)[1].spread(prize)]

    (found,) = same(at, arrays(program), x, prize)
    winners = np.arange(entrants).reshape(-1, *[1] * len(tail)) == signed(x).argmax(0)
    assert np.array_equal(found, np.where(winners, prize, np.uint64(0)))


@each_protocol
@some
@given(SEEDS, st.integers(-3, 2))
def test_any_axis_may_be_searched(at, seed, axis):
    x = with_ties(seed, (3, 4, 2))

    def program(x):
        return [functions.maximum_along(x, axis), functions.argmax(x, axis)]

    largest, place_of_it = same(at, arrays(program), x)
    assert np.array_equal(signed(largest), signed(x).max(axis))
    assert np.array_equal(place_of_it, signed(x).argmax(axis))


def test_a_tournament_of_one_has_no_loser():
    x = constant(Clear(), np.ones((1, 4)))
    with pytest.raises(UsageError, match="at least two"):
        one_hot_winner(tournament(x)[1])
    assert not functions.argmax(x, 0).share.value.any()


def test_a_tournament_shows_no_value():
    x = SecretArray(Clear(), Clear().constant(np.arange(6, dtype=np.uint64)))
    assert "array" not in repr(tournament(x))
