"""Polynomials on secrets, and products at chosen scales.

A product may stay exact (one round, the fractions add up) as long as it fits the ring, and a
truncation costs a round of its own. So a polynomial is evaluated on few fractional bits, and what
is added comes in before the truncation. Paterson and Stockmeyer's blocks (1973) keep the number of
products small. All coefficients are literals, since parties must agree on every bit of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kernels.ring import multiply, summed_products
from mpc.ring import WORD, Array
from mpc.shares import Share
from protocols.secret import SecretArray, products, stack

EXACT = 60  # fractional bits of a value about to be truncated: |value| < 4 keeps it below 2^62
POWERS = 20  # fractional bits of t, t^2, t^3 and t^4: a third of EXACT
HEADROOM = 3  # bits given up by a block that is not the last, so that |value| < 32 fits
QUARTIC = 15  # fractional bits of a quartic's argument: a quarter of EXACT
SLOPE = 13  # fractional bits of a quartic's lambda
RING = 2**64


def times(*pairs: tuple[SecretArray[Share], SecretArray[Share]]) -> list[SecretArray[Share]]:
    """x·y for each pair, exactly: the fractions add up. Cost: 1 round, an element for each."""
    protocol = pairs[0][0].protocol
    shares = protocol.bilinear(multiply, *((x.share, y.share) for x, y in pairs))
    return [
        SecretArray(protocol, z, x.fraction + y.fraction)
        for z, (x, y) in zip(shares, pairs, strict=True)
    ]


def times_at(
    fraction: int, *pairs: tuple[SecretArray[Share], SecretArray[Share]]
) -> list[SecretArray[Share]]:
    """x·y for each pair with this many fractional bits; all pairs have the same two scales.

    Cost: 2 rounds, one `bilinear_truncate` for each result; 1 round where no bit is dropped.
    """
    return products(multiply, *pairs, fraction=fraction)


def affine(
    fraction: int, constant: float, *terms: tuple[float, SecretArray[Share]]
) -> SecretArray[Share]:
    """constant + the sum of c·x over the terms (c, x), with this many fractional bits. No message.

    Coefficients are rounded to the bits that their terms leave over.
    """
    factors = [_word(c, fraction - x.fraction) for c, x in terms]
    first, protocol = terms[0][1], terms[0][1].protocol

    def combine(*values: Array) -> Array:
        return weighted_sum(values, factors)

    share = first.share.map(combine, *(x.share for _, x in terms[1:]))
    offset = protocol.constant(np.asarray(_word(constant, fraction)))
    return SecretArray(protocol, share.map(np.add, offset), fraction)


def weighted_sum(values: Sequence[Array] | Array, factors: Sequence[np.uint64]) -> Array:
    """The sum of values[j]·factors[j] modulo 2^64, in one new array."""
    total = np.multiply(values[0], factors[0], out=np.empty_like(values[0], order="C"))
    for value, factor in zip(values[1:], factors[1:], strict=True):
        np.add(total, np.multiply(value, factor), out=total)
    return total


def _word(real: float, fraction: int) -> np.uint64:
    return WORD(round(math.ldexp(real, fraction)) % RING)


def _powers(t: SecretArray[Share]) -> list[SecretArray[Share]]:
    """t, t^2, t^3, t^4 at POWERS bits, found once for an array. Cost: 4 rounds, 3 products."""
    if "powers" not in t.memo:
        fine = t.finer(POWERS)
        (square,) = times_at(POWERS, (fine, fine))
        cube, fourth = times_at(POWERS, (square, fine), (square, square))
        t.memo["powers"] = [fine, square, cube, fourth]
    found: list[SecretArray[Share]] = t.memo["powers"]
    return found


def _plus_product(
    fraction: int, *sums: tuple[SecretArray[Share], SecretArray[Share], SecretArray[Share]]
) -> list[SecretArray[Share]]:
    """a + b·c for each, where b·c has a's fraction, truncated together. Cost: as `times_at`."""
    pairs = []
    for a, b, c in sums:
        protocol = a.protocol
        one = protocol.constant(np.ones((), WORD)).map(
            lambda v, like: np.broadcast_to(v, like.shape), c.share
        )
        ring = [SecretArray(protocol, s, 0) for s in (a.share, b.share, c.share, one)]
        x, y = stack([ring[0], ring[1]]), stack([ring[3], ring[2]])
        pairs.append((SecretArray(protocol, x.share, a.fraction), y))
    return products(summed_products, *pairs, fraction=fraction)


def polynomial(
    t: SecretArray[Share], coefficients: Sequence[float], fraction: int
) -> SecretArray[Share]:
    """The sum of coefficients[k]·t^k, up to degree 12.

    Args:
        t: |t| <= 1, with at most 20 fractional bits.
        coefficients: public. What they give must stay below 4, and their part from t^8 on, over
            t^4, below 32.
        fraction: fractional bits of the result.

    Error: one ulp of the result, and what `evaluation_error` says.

    Cost: 6 rounds and 4 products up to degree 8, 8 rounds and 5 products above. Another polynomial
    of the same t has its powers already: 4 rounds and 3 products less.
    """
    powers = _powers(t)
    fourth, (lowest, *blocks, top) = powers[3], _blocks(coefficients)
    upper = _block(EXACT - POWERS - (HEADROOM if blocks else 0), top, powers)
    for block in reversed(blocks):
        (product,) = times_at(EXACT - POWERS, (upper, fourth))
        upper = product + _block(EXACT - POWERS, block, powers)
    (result,) = _plus_product(fraction, (_block(EXACT, lowest, powers), upper, fourth))
    return result


def _block(
    fraction: int, block: Sequence[float], powers: list[SecretArray[Share]]
) -> SecretArray[Share]:
    return affine(fraction, block[0], *zip(block[1:], powers, strict=False))


def evaluation_error(coefficients: Sequence[float], bound: float) -> float:
    """How far `polynomial` can be from its own coefficients for |t| <= bound, but for its last ulp.

    Every truncation is off by one ulp of 20 bits, every coefficient rounded by half of one.
    """
    ulp = 2.0**-POWERS
    fourth = bound**4
    off = [0.0, 0.0, ulp, (1 + bound) * ulp, (1 + 2 * bound**2) * ulp]  # of t^0 … t^4
    total = size = 0.0
    for block in reversed(_blocks(coefficients)):
        rounded = 4 * ulp if size == 0 else ulp / 2  # the first block gives up HEADROOM
        total = total * fourth + size * off[4] + ulp * (size > 0) / 2**POWERS
        total += sum(abs(c) * e for c, e in zip(block, off, strict=False))
        total += rounded * sum(bound**k for k in range(len(block)))
        size = size * fourth + sum(abs(c) * bound**k for k, c in enumerate(block))
    return total


def _blocks(coefficients: Sequence[float]) -> list[list[float]]:
    """Fours of coefficients, at least two; the last may be a five, since t^4 is known."""
    count = max(2, (len(coefficients) + 2) // 4)
    blocks = [list(coefficients[4 * j : 4 * j + 4]) for j in range(count - 1)]
    return [*blocks, list(coefficients[4 * (count - 1) :])]


@dataclass(frozen=True, slots=True)
class Quartic:
    """2^scale · (±u^4 + c3·u^3 + c2·u^2 + c1·u + c0) for u = lambda·(m - 3/2) and 1 <= m <= 2.

    Lambda makes the leading coefficient a power of two: a factor for u^4 would not fit the ring.

    Args:
        slope: lambda·2^13, an integer below 2^13.
        scale: the power of two.
        sign: of the leading coefficient.
        low: c0, c1, c2, c3.
    """

    slope: int
    scale: int
    sign: int
    low: tuple[float, float, float, float]

    def centred(self, scaled: SecretArray[Share]) -> SecretArray[Share]:
        """The argument u from lambda·m. No message."""
        return affine(QUARTIC, -1.5 * self.slope / 2**SLOPE, (1.0, scaled))

    def __call__(self, m: Array) -> Array:
        """The polynomial itself, in floating point."""
        u = self.slope / 2**SLOPE * (m - 1.5)
        c0, c1, c2, c3 = self.low
        value: Array = c0 + u * (c1 + u * (c2 + u * (c3 + u * self.sign)))
        return value * 2.0**self.scale


def quartics(
    drop: int,
    *each: tuple[Quartic, SecretArray[Share]],
    exact: Sequence[tuple[SecretArray[Share], SecretArray[Share]]] = (),
) -> tuple[list[SecretArray[Share]], list[SecretArray[Share]]]:
    """The quartics, each at its own u, and exact products of more pairs, which ride along.

    Given u, everything is exact but the last truncation: the error is that of the polynomial, of u,
    and one ulp. The results have 60 - drop - scale fractional bits.

    Cost: 3 rounds; for each quartic one exact product and one truncated.
    """
    found = times(*((u, u) for _, u in each), *exact)
    squares, others = found[: len(each)], found[len(each) :]
    sums = []
    for (q, u), square in zip(each, squares, strict=True):
        c0, c1, c2, c3 = q.low
        upper = affine(2 * QUARTIC, c2, (q.sign, square), (c3, u))
        sums.append((affine(EXACT, c0, (c1, u)), upper, square))
    results = _plus_product(EXACT - drop, *sums)
    return [
        SecretArray(r.protocol, r.share, EXACT - drop - q.scale)
        for r, (q, _) in zip(results, each, strict=True)
    ], others
