"""Signs: the carries of an addition whose addends whole parties know.

x = t + s, where one party knows t (`lone`) and the other two know s. The carry out of a block of
four bits is a sum of products, one factor a product of some of the block's t's, the other a
function of its s's (`kernels.bits.block_products`, `block_carries`). So the lone party shares the
fifteen products of its bits, the other two multiply them by what they know, without a message, and
the first two levels of a carry tree and its generate bits cost two rounds in all. From there on it
is the tree of Ladner and Fischer (1980) over sixteen blocks. ABY3 (CCS 2018, section 5.3) shares t
itself and needs an AND for each bit first, and two more levels.

With a = lone, the party after it holds x_(a+1) and x_(a+2), the party before it x_(a+2) and x_a.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kernels import bits as planes_of
from mpc.party import Buffer
from mpc.ring import BITS, WORD, Array, Shape
from mpc.rounds import Step, alone, together
from mpc.shares import Bits, Rep3, Summand
from protocols.bits import xor
from protocols.rep3.choices import Choices
from protocols.rep3.products import OFFSET
from protocols.rep3.sharing import flat, shaped

CHUNK = 1 << 20  # elements worked on at once: what 30 bytes of masks each come to stays bounded
Spread = tuple[Array | None, Rep3]
Carries = tuple[Bits[Rep3], Bits[Rep3], Bits[Rep3]]


class Signs(Choices):
    """The words that compare."""

    def sign_bit(self, x: Rep3) -> Bits[Rep3]:
        """Whether x is negative, as one plane; right for |x| < 2^(width - 1).

        Cost: 6 rounds and 15.5 bytes a party on average for each element at width 64; 5 rounds and
        7.3 bytes at width 32. More than CHUNK elements take the rounds of as many chunks.
        """
        made = [self._sign(part) for part in _chunks(flat(x))]
        return _joined([b.planes for b in made], x.shape)

    def _sign(self, x: Rep3) -> Bits[Rep3]:
        first, _, _ = self._turn()
        g, q, top = self._carries_of(first, x, negate=False)
        while g.planes.shape[0] > 1:
            g, q = self.merge(g, q)
        return xor(top, g)

    def positive_part(self, x: Rep3) -> tuple[Bits[Rep3], Rep3]:
        """Whether x is above zero, and max(x, 0); right for |x| < 2^(width - 1).

        The last level of the carry tree and the opening of the choice are one round.

        Cost: 7 rounds and 26.2 bytes a party on average for each element at width 64; 6 rounds and
        18.0 bytes at width 32.
        """
        made = [self._positive_part(part) for part in _chunks(flat(x))]
        positive = _joined([bit for bit, _ in made], x.shape)
        return positive, shaped(_concatenated([part for _, part in made]), x.shape)

    def _positive_part(self, x: Rep3) -> tuple[Rep3, Rep3]:
        first, _, _ = self._turn()
        term = self._sign_term(*self._carries_of(first, x, negate=True))
        first, _, _ = self._turn()
        return alone(self.party, self._choosing(first, term, x))

    def truncated_positive_part(
        self, z: Summand, *, fraction: int
    ) -> tuple[Rep3, Bits[Rep3], Rep3]:
        """y = z / 2^fraction, whether z is above zero, and y where it is, 0 elsewhere.

        The opening that truncates gives c = z + 2^62 + r to the evaluators, and the helper knows r:
        -z = (2^62 - c) + r is a sum as signs are found of. r's products are shared beside the
        opening, the first carries beside the re-share. The sign is that of z, so it is looked for
        in `fraction` bits more than the comparisons have.

        Cost: 7 rounds and 45.6 bytes a party on average for each value at width 64 (fraction <=
        16).
        """
        terms = z.own.reshape(-1)
        starts = range(0, max(terms.size, 1), CHUNK)
        made = [self._truncated(Summand(terms[at : at + CHUNK]), fraction) for at in starts]
        ys, bits, parts = zip(*made, strict=True)
        whole, positive = (shaped(_concatenated(p), z.shape) for p in (ys, parts))
        return whole, _joined(bits, z.shape), positive

    def _truncated(self, z: Summand, fraction: int) -> tuple[Rep3, Rep3, Rep3]:
        first, _, helper = self._turn()
        terms, shape = [self._masked(z)], z.shape
        masks, low = self._masks(first, terms), min(self.width + fraction, BITS) - 1
        (opened, cut), spread = together(
            self.party,
            self._opening(first, terms, masks, fraction),
            self._spreading(helper, masks[0] if masks else None, low, shape),
        )
        known = OFFSET - opened[0] if opened else None
        (y,), carries = together(
            self.party,
            self._resharing(first, cut, [shape]),
            self._carrying(helper, spread, known, low, shape),
        )
        term = self._sign_term(*carries)
        first, _, _ = self._turn()
        bit, part = alone(self.party, self._choosing(first, term, y))
        return y, bit, part

    # The circuit.

    def _carries_of(self, first: int, x: Rep3, *, negate: bool) -> Carries:
        """Carries of x = (x0 + x1) + x2, or of -x: first knows one addend, the others the other."""
        t = s = None
        if self.party.rank == first:
            t = x.own + x.next
        else:
            s = x.next if self.party.rank == (first + 1) % 3 else x.own
        if negate:
            t, s = (None if v is None else WORD(0) - v for v in (t, s))
        low, shape = self.width - 1, x.shape
        spread = alone(self.party, self._spreading(first, t, low, shape))
        return alone(self.party, self._carrying(first, spread, s, low, shape))

    def _spreading(self, lone: int, t: Array | None, low: int, shape: Shape) -> Step[Spread]:
        """Lone's products of the low bits of t, shared by the others; its bit above, shared by all.

        Room is left for the bit of s above. Cost: 1 round; lone sends 15 bits for each block of
        four, and one. Safe: each is masked by k_a, which the party after, who gets it, lacks; the
        party before draws the masks.
        """
        n, rank, after = math.prod(shape), self.party.rank, (lone + 1) % 3
        words, plane = (planes_of.product_words(low, n),), (1, planes_of.words(n))
        if rank == after:
            products, top = (yield {}, {lone: [Buffer(words), Buffer(plane)]})[lone]
            return products, Rep3(top, np.zeros(plane, WORD))
        products, mask = self.streams.common(lone, words), self.streams.common(lone, plane)
        if t is None:
            yield {}, {}
            return products, Rep3(np.zeros(plane, WORD), mask)
        top = mask.copy()
        planes_of.block_products(products, top, t, low)
        yield {after: [products, top]}, {}
        return None, Rep3(mask, top)

    def _carrying(
        self, lone: int, spread: Spread, s: Array | None, low: int, shape: Shape
    ) -> Step[Carries]:
        """Generate and propagate of each block, and the bit of t + s above them without its carry.

        Cost: 1 round; two bits for each block, less one, from each of the two who know s. Safe: as
        `_resharing`.
        """
        n, blocks = math.prod(shape), -(-low // planes_of.BLOCK)
        rows, width, after = 2 * blocks - 1, planes_of.words(n), (lone + 1) % 3
        (products, above), terms = spread, None
        if products is not None and s is not None:
            is_after, term = self.party.rank == after, np.zeros((rows, width), WORD)
            carry, through = term[:blocks], term[blocks:]
            highest = above.next if is_after else above.own
            planes_of.block_carries(carry, through, highest, products, s, low, whole=is_after)
            terms = [term]
        (shared,) = yield from self._resharing(after, terms, [(rows, width)], bits=True)
        lowest = np.zeros((1, width), WORD)  # the lowest block has no carry to pass on
        g = shared.map(lambda v: v[:blocks])
        q = shared.map(lambda v: np.concatenate([lowest, v[blocks:]]))
        return Bits(g, shape), Bits(q, shape), Bits(above, shape)

    def _sign_term(self, g: Bits[Rep3], q: Bits[Rep3], top: Bits[Rep3]) -> Array:
        """This party's term of the sign, masked: the last level of the tree is left unshared."""
        while g.planes.shape[0] > 2:
            g, q = self.merge(g, q)
        term = self.streams.zero.xor_to(np.zeros(top.planes.shape, WORD))
        if g.planes.shape[0] == 1:
            term ^= g.planes.own
        else:
            none = np.zeros((0, term.shape[1]), WORD)
            x, y = g.planes, q.planes
            planes_of.carry_step(x.own, x.next, y.own, y.next, term, none)
        term ^= top.planes.own
        return term

    # The tree, and addends for all bits.

    def addends(self, x: Rep3, width: int) -> tuple[Bits[Rep3], Bits[Rep3]]:
        """t = x0 + x1, which first knows, and s = x2, which second and helper hold.

        Cost: 1 round; first sends `width` bits for each value to second, masked by k_0, which
        second lacks.
        """
        first, second, _ = self._turn()
        n, rank = math.prod(x.shape), self.party.rank
        shape = (width, planes_of.words(n))
        nothing = np.zeros(shape, WORD)
        if rank == first:
            mask = self.streams.common(first, shape)
            masked = planes_of.to_planes(x.own.reshape(-1) + x.next.reshape(-1), width) ^ mask
            self.party.exchange({second: [masked]}, {})
            t, s = Rep3(mask, masked), Rep3(nothing, nothing)
        elif rank == second:
            (masked,) = self.party.exchange({}, {first: [Buffer(shape)]})[first]
            t, s = Rep3(masked, nothing), Rep3(nothing, planes_of.to_planes(x.next, width))
        else:
            mask = self.streams.common(first, shape)
            self.party.exchange({}, {})
            t, s = Rep3(nothing, mask), Rep3(planes_of.to_planes(x.own, width), nothing)
        return Bits(t, x.shape), Bits(s, x.shape)

    def merge(self, g: Bits[Rep3], q: Bits[Rep3]) -> tuple[Bits[Rep3], Bits[Rep3]]:
        """One level of the carry tree in one pass over the planes.

        Cost: 1 round; 2·(m // 2) - 1 bits a party, since the lowest pair needs no propagate. Masked
        as `conj`.
        """
        m = g.planes.shape[0]
        h, width = m // 2, g.planes.shape[1]
        if h == 0:  # one pair has no neighbour
            return g, q
        message = self.streams.zero.xor_to(np.zeros((2 * h - 1, width), WORD))
        planes_of.carry_step(
            g.planes.own, g.planes.next, q.planes.own, q.planes.next, message[:h], message[h:]
        )
        (heard,) = self.party.rotate(message)

        def level(merged: Array, old_g: Array, old_q: Array) -> tuple[Array, Array]:
            rest = slice(2 * h, m)
            lowest = np.zeros((1, width), WORD)  # never used
            return (
                np.concatenate([merged[:h], old_g[rest]]),
                np.concatenate([lowest, merged[h:], old_q[rest]]),
            )

        own_g, own_q = level(message, g.planes.own, q.planes.own)
        next_g, next_q = level(heard, g.planes.next, q.planes.next)
        return Bits(Rep3(own_g, next_g), g.shape), Bits(Rep3(own_q, next_q), g.shape)


def _chunks(x: Rep3) -> list[Rep3]:
    """Runs of CHUNK elements of a flat share; one, if it is empty."""
    starts = range(0, max(len(x.own), 1), CHUNK)
    return [x.map(lambda v, at=at: v[at : at + CHUNK]) for at in starts]


def _concatenated(parts: Sequence[Rep3]) -> Rep3:
    return parts[0] if len(parts) == 1 else parts[0].map(lambda *v: np.concatenate(v), *parts[1:])


def _joined(planes: Sequence[Rep3], shape: Shape) -> Bits[Rep3]:
    """One plane from those of the chunks, which end between words."""
    if len(planes) == 1:
        return Bits(planes[0], shape)
    joined = planes[0].map(lambda *v: np.concatenate(v, axis=1), *planes[1:])
    return Bits(joined, shape)
