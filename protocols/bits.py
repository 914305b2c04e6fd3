"""Words that look at bits, in terms of `conj` and `addends`: signs, all bits, choices.

A sharing of x gives two integers that add up to x. The carries of that addition are found in a tree
of (generate, propagate) pairs; the sign is the top bit of the sum (Ladner and Fischer 1980; ABY3,
section 5.3). Everything is packed in bit planes, 64 elements to the word.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np

from kernels.bits import words
from mpc.ring import WORD, Array, Shape
from mpc.shares import Bits, LocalMap, Share, Summand
from protocols.base import Protocol

ALL_ONES = WORD(2**64 - 1)


class BitProtocol(Protocol[Share]):
    """A protocol with the words that look at bits."""

    @abstractmethod
    def select(self, b: Bits[Share], x: Share) -> Share:
        """b·x, element by element, for a single plane of bits b."""

    @abstractmethod
    def bit_to_ring(self, b: Bits[Share]) -> Share:
        """Bits as ring elements 0 and 1; planes become a leading axis when there are several."""

    def generate(self, x: Share, width: int) -> tuple[Bits[Share], Bits[Share]]:
        """Generate and propagate bits of the addition behind x: `width` - 1 and `width` planes."""
        t, s = self.addends(x, width)
        low = slice(0, width - 1)
        return self.conj(_rows(t, low), _rows(s, low)), xor(t, s)

    def merge(self, g: Bits[Share], q: Bits[Share]) -> tuple[Bits[Share], Bits[Share]]:
        """One level of the carry tree: neighbours (lo, hi) become (g_hi ^ q_hi·g_lo, q_hi·q_lo).

        An odd last pair is passed on. The lowest propagate bit is never used and keeps whatever
        value it has.
        """
        m = g.planes.shape[0]
        h = m // 2
        lo, hi, rest = slice(0, 2 * h, 2), slice(1, 2 * h, 2), slice(2 * h, m)
        both = self.conj(stack(_rows(q, hi), _rows(q, hi)), stack(_rows(g, lo), _rows(q, lo)))
        g_new, q_new = xor(_rows(g, hi), _rows(both, slice(0, h))), _rows(both, slice(h, 2 * h))
        return stack(g_new, _rows(g, rest)), stack(q_new, _rows(q, rest))

    def sign_bit(self, x: Share) -> Bits[Share]:
        """Whether x is negative, as one plane; right for |x| < 2^(width-1)."""
        g, q = self.generate(x, self.width)
        top = q.plane(self.width - 1)
        q = _rows(q, slice(0, self.width - 1))
        while g.planes.shape[0] > 1:
            g, q = self.merge(g, q)
        return xor(top, g)

    def positive_part(self, x: Share) -> tuple[Bits[Share], Share]:
        """Whether x is above zero, and x where it is, 0 elsewhere; right as `sign_bit`."""
        positive = self.sign_bit(x.map(np.negative))
        return positive, self.select(positive, x)

    def truncated_positive_part(
        self, z: Summand, *, fraction: int
    ) -> tuple[Share, Bits[Share], Share]:
        """y = z / 2^fraction, whether z is above zero, and y where it is, 0 elsewhere."""
        (y,) = self.truncate_summands(z, fraction=fraction)
        positive, part = self.positive_part(y)
        return y, positive, part

    def bits(self, x: Share) -> Bits[Share]:
        """All 64 bits of x, two's complement. Cost: 6 levels of 32 pairs (Sklansky 1960)."""
        g, q = self.generate(x, 64)
        total, h = q, _rows(q, slice(0, 63))
        at = np.arange(63)
        for level in range(6):
            upper = at[(at >> level) & 1 == 1]
            source = ((upper >> level) << level) - 1
            both = self.conj(_pick(h, upper, upper), stack(_pick(g, source), _pick(h, source)))
            k = len(upper)
            g = _patch(g, upper, xor(_pick(g, upper), _rows(both, slice(0, k))))
            h = _patch(h, upper, _rows(both, slice(k, 2 * k)))
        carries = g.map(lambda planes: np.concatenate([np.zeros_like(planes[:1]), planes]))
        return xor(total, carries)

    def any_above(self, b: Bits[Share]) -> Bits[Share]:
        """Plane j: whether any of the planes j, j+1, … is set. Cost: log2 levels of ANDs."""
        k = b.planes.shape[0]
        none, at = self.invert(b), np.arange(k)
        distance = 1
        while distance < k:
            lower, upper = at[: k - distance], at[distance:]
            none = _patch(none, lower, self.conj(_pick(none, lower), _pick(none, upper)))
            distance *= 2
        return self.invert(none)

    def invert(self, b: Bits[Share]) -> Bits[Share]:
        """NOT. No message."""
        ones = self.constant_bits(_full(b.planes.shape), b.shape)
        return xor(b, ones)

    def equal_zero(self, x: Share) -> Bits[Share]:
        """Whether x is 0, for |x| < 2^(width-1). Cost: the signs of x and -x at once."""
        both = x.map(lambda v: np.stack([v, WORD(0) - v]))
        signs = self.sign_bit(both)
        # The two cannot both be negative, so their exclusive or says that one is.
        n = math.prod(x.shape)
        return self.invert(xor(*split(signs, (n, n), x.shape)))


def xor(a: Bits[Share], b: Bits[Share]) -> Bits[Share]:
    """Exclusive or. No message."""
    return a.map(np.bitwise_xor, b)


def stack(*parts: Bits[Share]) -> Bits[Share]:
    """The planes of all parts, one after the other."""
    return parts[0].map(lambda *planes: np.concatenate(planes), *parts[1:])


def split(b: Bits[Share], sizes: tuple[int, ...], shape: Shape) -> list[Bits[Share]]:
    """Cut the elements of planes into runs of given sizes, each of one shape."""
    parts, at = [], 0
    for size in sizes:
        parts.append(Bits(b.planes.map(_cut(at, size)), shape))
        at += size
    return parts


def _cut(start: int, size: int) -> LocalMap:
    shift, first, count = start % 64, start // 64, words(size)

    def cut(planes: Array) -> Array:
        low = planes[:, first : first + count] >> WORD(shift)
        if shift:
            high = np.zeros_like(low)
            beyond = planes[:, first + 1 : first + 1 + count]
            high[:, : beyond.shape[1]] = beyond << WORD(64 - shift)
            low = low | high
        if size % 64:
            low[:, -1] &= WORD(2 ** (size % 64) - 1)
        return low

    return cut


def _rows(b: Bits[Share], rows: slice) -> Bits[Share]:
    return b.map(lambda planes: planes[rows])


def _pick(b: Bits[Share], *indices: Array) -> Bits[Share]:
    index = np.concatenate(indices)
    return b.map(lambda planes: planes[index])


def _patch(b: Bits[Share], index: Array, values: Bits[Share]) -> Bits[Share]:
    def patched(planes: Array, new: Array) -> Array:
        out = planes.copy()
        out[index] = new
        return out

    return b.map(patched, values)


def _full(shape: Shape) -> Array:
    return np.full(shape, ALL_ONES, WORD)
