"""Exponent and mantissa of a secret number: x = ±m·2^e with 1 <= m <= 2.

The leading one is found among the bit planes inside a public window. Its place is written in two
digits, the low one as a one-hot code and the high one as a thermometer code. Both are exclusive ors
of planes that are there already, so a dozen bits become ring elements (Catrina and Saxena, FC 2010,
need one for each place); then 2^(a·e) for a public a is a sum of constants over each digit and one
exact product.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Generic

import numpy as np

from mpc.errors import NotOffered
from mpc.ring import WORD, Array
from mpc.shares import Bits, Share
from protocols.functions.polynomial import (
    QUARTIC,
    RING,
    SLOPE,
    Quartic,
    times,
    times_at,
    weighted_sum,
)
from protocols.secret import FRACTION, SecretArray, constant

LOWEST = 2.0**-FRACTION  # the smallest positive number
HIGHEST = math.nextafter(2.0**30, 0)  # the largest
IRRATIONAL = 20  # fractional bits of powers of two that are not whole


@dataclass(frozen=True, slots=True)
class Window:
    """Where the leading one of a ring element may be, and how its place is written.

    Args:
        first: lowest place.
        last: highest place.
        radix: of the low digit; a power of two.
    """

    first: int
    last: int
    radix: int

    @staticmethod
    def of(low: float, high: float, fraction: int, *, signed: bool, zero: bool) -> Window:
        """For low <= |x| <= high.

        Places of a negative number are those of its one's complement, |x| - 1, which for a power of
        two is one lower.
        """
        if not 0 < low <= high:
            raise NotOffered(f"a window from {low} to {high}: it must go from a positive number up")
        first = max(math.frexp(low)[1] - 1 + fraction - signed, 0)
        last = math.frexp(high)[1] - 1 + fraction
        if high == 2 * low and math.frexp(low)[0] == 0.5 and not (signed or zero):
            last = first  # nothing to find out: a mantissa may be 2
        last = max(last, 3)  # so that a mantissa has bits to drop
        if last > 45:
            raise NotOffered(f"a window up to {high} at {fraction} fractional bits: the ring ends")
        count = last - first + 1
        radix = min((2, 4, 8, 16), key=lambda r: r + math.ceil(count / r))
        return Window(first, last, radix)

    @property
    def bottom(self) -> int:
        """Place at which the digits are zero, at or below `first`: at `last` both are largest."""
        return self.last + 1 - self.radix * (self.steps + 1)

    @property
    def steps(self) -> int:
        """Largest high digit."""
        return math.ceil((self.last - self.first + 1) / self.radix) - 1


@dataclass(frozen=True, slots=True)
class Normalised(Generic[Share]):
    """A secret number and the digits of its exponent.

    Args:
        x: the number.
        window: what the digits mean.
        low: the low digit's one-hot code along the first axis, integers. All zero where x has no
            leading one.
        high: the high digit's thermometer code; None if it is always zero.
        sign: 1 or -1, an integer; None for a number that is known not to be negative.
    """

    x: SecretArray[Share]
    window: Window
    low: SecretArray[Share]
    high: SecretArray[Share] | None
    sign: SecretArray[Share] | None

    def exponent(self) -> SecretArray[Share]:
        """e, as an integer. No message."""
        w = self.window
        e = _weighted(self.low, [w.bottom - self.x.fraction + j for j in range(w.radix)])
        if self.high is None:
            return e
        return e + _weighted(self.high, [w.radix] * w.steps)

    def power(self, a: float) -> tuple[SecretArray[Share], SecretArray[Share] | None]:
        """Two numbers whose product is 2^(a·e); the second is whole, and None for 1. No message.

        Exact for whole a, within 2^-20 relative for halves; nothing else is offered. Where x has no
        leading one the first is zero.
        """
        w, size = self.window, abs(a)
        bits = 0 if a == int(a) else IRRATIONAL
        digits = range(w.radix) if a > 0 else range(w.radix - 1, -1, -1)
        at_zero_digit = a * (w.bottom - self.x.fraction)  # 2^(a·e) where both digits are 0
        if a < 0:
            at_zero_digit += a * (w.radix * w.steps + w.radix - 1)
        whole = math.floor(at_zero_digit)
        extra = at_zero_digit - whole
        low = _weighted(self.low, [_root(2 * (size * d + extra + bits)) for d in digits])
        low = SecretArray(low.protocol, low.share, bits - whole)
        if self.high is None:
            return low, None
        step = size * w.radix
        levels = [_root(2 * step * h) for h in range(w.steps + 1)]
        levels = levels if a > 0 else levels[::-1]
        rises = [after - before for before, after in pairwise(levels)]
        return low, _weighted(self.high, rises, levels[0])

    def largest_power(self, a: float) -> int:
        """Bits of the largest ring element that `power` can give, rounded up."""
        w = self.window
        bits = 0 if a == int(a) else IRRATIONAL + 1
        places = w.last - (w.first if a < 0 else w.bottom)
        return math.ceil(abs(a) * places) + bits

    def arguments(
        self, *which: Quartic
    ) -> tuple[list[SecretArray[Share]], SecretArray[Share] | None]:
        """The quartics' arguments u = lambda·(m - 3/2), and the whole factor of 2^-e with x's sign.

        m is within 2^-15 / lambda.

        Cost: 3 rounds; 2 where the window has one digit.
        """
        low, high = self.power(-1)
        x, factor = self.x, high if self.sign is None else self.sign
        if factor is None:
            pairs = [(_scaled(x, q.slope), low) for q in which]
            return [
                q.centred(m) for q, m in zip(which, times_at(QUARTIC, *pairs), strict=True)
            ], None
        if high is not None and self.sign is not None:
            x, factor = times((x, low), (self.sign, high))
        else:
            (x,) = times((x, low))
        pairs = [(_scaled(x, q.slope), factor) for q in which]
        return [q.centred(m) for q, m in zip(which, times_at(QUARTIC, *pairs), strict=True)], factor


def normalise(
    x: SecretArray[Share],
    low: float = LOWEST,
    high: float = HIGHEST,
    *,
    signed: bool = False,
    zero: bool = True,
) -> Normalised[Share]:
    """Find the exponent of x.

    Args:
        x: the numbers.
        low: public lower bound of |x|. Numbers below it are treated as `zero` says.
        high: public upper bound of |x|. Above it the result means nothing.
        signed: whether x may be negative.
        zero: True: no digit of a number without a leading one in the window is set, so its powers
            are 0. False: such a number gets the lowest exponent, and a mantissa below 1.

    Cost: `bits`, `any_above` of the window's planes, and `bit_to_ring` of both digits; under rep3
    16 rounds for the widest window.
    """
    protocol, window = x.protocol, Window.of(low, high, x.fraction, signed=signed, zero=zero)
    first = window.first if zero else window.first + 1
    start, count = first - window.bottom, window.last - first + 1
    steps, radix = window.steps, window.radix
    if count == 0:
        rows = np.zeros((radix, *x.shape), np.int64)
        rows[window.first - window.bottom] = 1
        return Normalised(x, window, constant(protocol, rows, 0), None, None)
    planes = protocol.bits(x.share)

    def inside(all_planes: Array) -> Array:
        return all_planes[first : window.last + 1] ^ (all_planes[63:] if signed else WORD(0))

    above = protocol.any_above(planes.map(inside))

    def digits(thermometer: Array) -> Array:
        leading = thermometer.copy()
        leading[:-1] ^= thermometer[1:]
        place, none = start + np.arange(count), np.zeros_like(leading[0])
        low_rows = [reduce(np.bitwise_xor, leading[place % radix == d], none) for d in range(radix)]
        high_rows = [thermometer[radix * h - start] for h in range(1, steps + 1)]
        return np.stack(low_rows + high_rows)

    found = above.map(digits)
    if signed:
        found = found.map(lambda a, b: np.concatenate([a, b[63:]]), planes)
    ring = protocol.bit_to_ring(Bits(found.planes, x.shape))
    code = SecretArray(protocol, ring, 0)
    low_code = code[:radix]
    if not zero:
        lowest = np.zeros((radix, *(1 for _ in x.shape)), np.int64)
        lowest[window.first - window.bottom] = 1
        low_code = low_code + (1 - low_code.sum(0)) * lowest
    return Normalised(
        x,
        window,
        low_code,
        code[radix : radix + steps] if steps else None,
        1 - code[-1] * 2 if signed else None,
    )


def _root(exponent: float) -> int:
    """The root of 2^exponent in whole numbers, so that every machine finds the same."""
    return math.isqrt(1 << int(exponent))


def _scaled(x: SecretArray[Share], slope: int) -> SecretArray[Share]:
    """slope / 2^SLOPE times x, exactly. No message."""
    share = x.share.map(lambda v: v * WORD(slope))
    return SecretArray(x.protocol, share, x.fraction + SLOPE)


def _weighted(
    rows: SecretArray[Share], weights: Sequence[int], offset: int = 0
) -> SecretArray[Share]:
    """The sum of weights[j]·rows[j], and a whole offset. No message."""
    words = [WORD(weight % RING) for weight in weights]

    share = rows.share.map(lambda values: weighted_sum(values, words))
    if offset:
        share = share.map(np.add, rows.protocol.constant(np.asarray(offset, WORD)))
    return SecretArray(rows.protocol, share, rows.fraction)
