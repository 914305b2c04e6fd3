"""Functions that settle down: far enough from 0 they are a constant, or max(x, 0), to 16 bits.

They are folded at 0 and cut at a public limit L: all that is needed of x is its sign and
t = min(|x|, L). On [0, L] one polynomial does the rest. So nothing is ever out of range, and no
error grows with |x|.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic

import numpy as np

from mpc.ring import Array
from mpc.shares import Share
from protocols.bits import split
from protocols.functions.compare import where
from protocols.functions.polynomial import polynomial
from protocols.secret import FRACTION, SecretArray, SecretBits, stack


@dataclass(frozen=True, slots=True)
class Curve:
    """A function on [0, limit], as a polynomial in (t - limit/2) / 2^shrink.

    Coefficients are minimax under two conditions: right at 0, and at the limit half of what is cut
    off there.
    """

    limit: float
    shrink: int
    coefficients: tuple[float, ...]

    def __call__(self, t: Array) -> Array:
        """The polynomial itself, in floating point."""
        u = (np.asarray(t) - self.limit / 2) / 2**self.shrink
        total: Array = np.zeros_like(u)
        for c in reversed(self.coefficients):
            total = total * u + c
        return total


@dataclass(frozen=True, slots=True)
class Folded(Generic[Share]):
    """What is needed of x.

    Args:
        negative: whether x < 0.
        below: min(x, 0).
        argument: (min(|x|, limit) - limit/2) / 2^shrink.
    """

    negative: SecretBits[Share]
    below: SecretArray[Share]
    argument: SecretArray[Share]


def fold(x: SecretArray[Share], limit: float, shrink: int) -> Folded[Share]:
    """Fold x at 0 and cut it at the limit, for every |x| < 2^30.

    At a comparison width k below 64, for |x| + limit < 2^(k - 17). Found once for an array: a
    gradient finds here what its function has left.

    Cost: three signs at once and three `select` at once; under rep3 8 rounds.
    """
    key = f"folded at {limit} by {shrink}"
    if key not in x.memo:
        fine = x.settled().at(FRACTION)
        signs = stack([fine, fine + limit, limit - fine]).negative()
        chosen = signs.select(stack([fine, fine + limit, fine - limit]))
        below, under, over = chosen[0], chosen[1], chosen[2]
        cut = fine - below - below + under - over
        argument = SecretArray(x.protocol, (cut - limit / 2).share, FRACTION + shrink)
        negative = SecretBits(x.protocol, split(signs.bits, (x.size,), x.shape)[0])
        x.memo.setdefault("negative", negative)
        x.memo[key] = Folded(negative, below, argument)
    found: Folded[Share] = x.memo[key]
    return found


def even_part(x: SecretArray[Share], curve: Curve) -> tuple[Folded[Share], SecretArray[Share]]:
    """The curve at min(|x|, limit), and the folded x. Cost: `fold` and `polynomial`."""
    folded = fold(x, curve.limit, curve.shrink)
    return folded, polynomial(folded.argument, curve.coefficients, FRACTION)


def ramp(x: SecretArray[Share], curve: Curve, sign: int) -> SecretArray[Share]:
    """max(x, 0), plus or minus the curve at min(|x|, limit). Cost: `even_part`."""
    folded, v = even_part(x, curve)
    return x.at(FRACTION) - folded.below + (v if sign > 0 else -v)


def step(x: SecretArray[Share], curve: Curve, lowest: int) -> SecretArray[Share]:
    """From `lowest` to 1: 1 - v where x >= 0, lowest + v where x < 0.

    Here v is the curve at min(|x|, limit).

    Cost: `even_part` and one `select`.
    """
    folded, v = even_part(x, curve)
    return where(folded.negative, v + lowest, 1 - v)
