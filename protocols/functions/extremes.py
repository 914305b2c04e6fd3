"""The largest of several: tournaments along an axis, and the way back that a gradient takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic

import numpy as np

from mpc.errors import UsageError
from mpc.shares import Share
from protocols.secret import SecretArray, SecretBits, concatenate, constant


@dataclass(frozen=True, slots=True)
class Tournament(Generic[Share]):
    """Who won: level by level, a bit for each pair along the first axis: the first of them?"""

    entrants: int
    levels: tuple[SecretBits[Share], ...]

    def spread(self, prize: SecretArray[Share]) -> SecretArray[Share]:
        """Give each prize to the entrant that won it, 0 to the others.

        Args:
            prize: one for each tournament.

        Returns:
            An array with a new first axis of entrants.

        Cost: one `select` for each match, in 2 rounds a level.
        """
        counts = _counts(self.entrants)
        share = prize[None]
        for count, first_won in zip(reversed(counts[:-1]), reversed(self.levels), strict=True):
            h = count // 2
            played, idle = share[:h], share[h:]
            first = first_won.select(played)
            share = concatenate([_interleave(first, played - first), idle])
        return share


def tournament(x: SecretArray[Share]) -> tuple[SecretArray[Share], Tournament[Share]]:
    """The largest along the first axis, and who it was; of equals the first.

    Cost: ceil(log2(n)) times `relu`'s rounds; n - 1 times its bytes.
    """
    entrants, levels = x.shape[0], []
    while (n := x.shape[0]) > 1:
        h = n // 2
        first, second, idle = x[0 : 2 * h : 2], x[1 : 2 * h : 2], x[2 * h :]
        beyond = (second - first).positive_part()
        levels.append(~beyond.positive())
        x = concatenate([first + beyond, idle])
    return x[0], Tournament(entrants, tuple(levels))


def maximum_along(x: SecretArray[Share], axis: int = -1) -> SecretArray[Share]:
    """The largest along an axis, which is dropped. Exact. Cost: `tournament`."""
    largest, _ = tournament(x.map(lambda v: np.moveaxis(v, axis, 0)))
    return largest


def argmax(x: SecretArray[Share], axis: int = -1) -> SecretArray[Share]:
    """Place of the largest along an axis, of equals the first, as an integer. Exact.

    Cost: `tournament`, and its way back on bits.
    """
    return largest_and_place(x, axis)[1]


def largest_and_place(
    x: SecretArray[Share], axis: int = -1
) -> tuple[SecretArray[Share], SecretArray[Share]]:
    """Both `maximum_along` and `argmax` in one tournament. Exact. Cost: as of `argmax`."""
    largest, won = tournament(x.map(lambda v: np.moveaxis(v, axis, 0)))
    if won.levels:
        return largest, place(won)
    return largest, constant(x.protocol, np.zeros(largest.shape, np.int64), 0)


def one_hot_winner(won: Tournament[Share]) -> SecretArray[Share]:
    """1 for the winner of each tournament, 0 for the others, along a new first axis; integers.

    Cost: one `select` for each match, in 2 rounds a level.

    Raises:
        UsageError: a tournament of one, which has nobody to tell apart.
    """
    if not won.levels:
        raise UsageError("a tournament of one has no loser: ask among at least two")
    final = won.levels[-1]
    return won.spread(constant(final.protocol, np.ones(final.shape[1:], np.int64), 0))


def place(won: Tournament[Share]) -> SecretArray[Share]:
    """Place of each tournament's winner, as an integer. Cost: `one_hot_winner`."""
    marks = one_hot_winner(won)
    places = np.arange(won.entrants).reshape(-1, *(1 for _ in marks.shape[1:]))
    return (marks * places).sum(0)


def _interleave(a: SecretArray[Share], b: SecretArray[Share]) -> SecretArray[Share]:
    return a.map(lambda u, v: np.stack([u, v], axis=1).reshape(2 * len(u), *u.shape[1:]), b)


def _counts(entrants: int) -> list[int]:
    """How many are left before each level, and at the end."""
    counts = [entrants]
    while counts[-1] > 1:
        counts.append((counts[-1] + 1) // 2)
    return counts
