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
from typing import cast

import numpy as np

from kernels import bits as planes_of
from mpc.party import Buffer
from mpc.ring import BITS, WORD, Array, Shape
from mpc.rounds import Step, alone, together
from mpc.shares import Bits, Rep3, Summand
from protocols.rep3.choices import Choices
from protocols.rep3.products import OFFSET
from protocols.rep3.sharing import flat, shaped

Spread = tuple[Array | None, Rep3]
Carries = tuple[Rep3, Rep3, Rep3]


class Signs(Choices):
    """The words that compare."""

    def sign_bit(self, x: Rep3) -> Bits[Rep3]:
        """Whether x is negative, as one plane; right for |x| < 2^(width - 1).

        Cost: 6 rounds and 15.5 bytes a party on average for each element at width 64; 5 rounds and
        7.3 bytes at width 32. More elements than `chunk` take the rounds of as many chunks, here
        and in the two words below.
        """

        def step(first: int, part: Rep3) -> Step[tuple[Rep3]]:
            g, q, top = yield from self._carries_of(first, part, negate=False)
            while g.shape[0] > 1:
                g, q = yield from self._merging(g, q)
            return (top.map(np.bitwise_xor, g),)

        ((sign,),) = self._in_parts(step, flat(x), chunk=self.chunk)
        return Bits(sign, x.shape)

    def positive_part(self, x: Rep3) -> tuple[Bits[Rep3], Rep3]:
        """Whether x is above zero, and max(x, 0); right for |x| < 2^(width - 1).

        The last level of the carry tree and the opening of the choice are one round.

        Cost: 7 rounds and 26.2 bytes a party on average for each element at width 64; 6 rounds and
        18.0 bytes at width 32.
        """

        def step(first: int, part: Rep3) -> Step[tuple[Rep3, Rep3]]:
            carries = yield from self._carries_of(first, part, negate=True)
            term = yield from self._sign_term(*carries)
            return (yield from self._choosing((first + 1) % 3, term, part))

        ((positive, part),) = self._in_parts(step, flat(x), chunk=self.chunk)
        return Bits(positive, x.shape), shaped(part, x.shape)

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
        low = min(self.width + fraction, BITS) - 1

        def step(first: int, part: Summand) -> Step[tuple[Rep3, Rep3, Rep3]]:
            term, r, shape = self._masked(part), self._mask(first, part), part.shape
            helper = (first + 2) % 3
            (c, cut), spread = yield from together(
                self._opening(first, term, r, fraction), self._spreading(helper, r, low, shape)
            )
            known = None if c is None else OFFSET - c
            y, carries = yield from together(
                self._resharing(first, cut, shape),
                self._carrying(helper, spread, known, low, shape),
            )
            term = yield from self._sign_term(*carries)
            bit, chosen = yield from self._choosing((first + 1) % 3, term, y)
            return y, bit, chosen

        ((y, bit, chosen),) = self._in_parts(step, z.map(lambda v: v.reshape(-1)), chunk=self.chunk)
        return shaped(y, z.shape), Bits(bit, z.shape), shaped(chosen, z.shape)

    # The circuit.

    def _carries_of(self, first: int, x: Rep3, *, negate: bool) -> Step[Carries]:
        """Carries of x = (x0 + x1) + x2, or of -x: first knows one addend, the others the other."""
        t = s = None
        if self.party.rank == first:
            t = x.own + x.next
        else:
            s = x.next if self.party.rank == (first + 1) % 3 else x.own
        if negate:
            t, s = (None if v is None else WORD(0) - v for v in (t, s))
        low, shape = self.width - 1, x.shape
        spread = yield from self._spreading(first, t, low, shape)
        return (yield from self._carrying(first, spread, s, low, shape))

    def _spreading(self, lone: int, t: Array | None, low: int, shape: Shape) -> Step[Spread]:
        """Lone's products of the low bits of t, shared by the others; its bit above, shared by all.

        Room is left for the bit of s above. Cost: 1 round; lone sends 15 bits for each block of
        four, and one. Safe: each is masked by k_a, which the party after, who gets it, lacks; the
        party before draws the masks.
        """
        n, rank, after = math.prod(shape), self.party.rank, (lone + 1) % 3
        words, width = planes_of.product_words(low, n), planes_of.words(n)

        def parts(both: Array) -> tuple[Array, Array]:
            return both[:words], both[words:].reshape(1, width)

        if rank == after:
            heard = yield {}, {lone: [Buffer((words + width,))]}
            products, top = parts(heard[lone][0])
            return products, Rep3(top, self.party.xp.zeros((1, width), WORD))
        message = self.streams.common(lone, (words + width,))
        products, top = parts(message)
        mask = top.copy()
        if rank != lone:
            yield {}, {}
            return products, Rep3(self.party.xp.zeros((1, width), WORD), mask)
        planes_of.block_products(products, top, cast("Array", t), low)
        yield {after: [message]}, {}
        return None, Rep3(mask, top.copy())

    def _carrying(
        self, lone: int, spread: Spread, s: Array | None, low: int, shape: Shape
    ) -> Step[Carries]:
        """Generate and propagate of each block, and the bit of t + s above them without its carry.

        Cost: 1 round; two bits for each block, less one, from each of the two who know s. Safe: as
        `_resharing`.
        """
        n, blocks = math.prod(shape), -(-low // planes_of.BLOCK)
        rows, width, after = 2 * blocks - 1, planes_of.words(n), (lone + 1) % 3
        (products, above), term = spread, None
        if products is not None and s is not None:
            is_after, term = self.party.rank == after, self.party.xp.zeros((rows, width), WORD)
            carry, through = term[:blocks], term[blocks:]
            highest = above.next if is_after else above.own
            planes_of.block_carries(carry, through, highest, products, s, low, whole=is_after)
        shared = yield from self._resharing(after, term, (rows, width), bits=True)
        lowest = self.party.xp.zeros((1, width), WORD)  # the lowest block has no carry to pass on
        g = shared.map(lambda v: v[:blocks])
        q = shared.map(lambda v: np.concatenate([lowest, v[blocks:]]))
        return g, q, above

    def _sign_term(self, g: Rep3, q: Rep3, top: Rep3) -> Step[Array]:
        """This party's term of the sign, masked: the last level of the tree is left unshared."""
        while g.shape[0] > 2:
            g, q = yield from self._merging(g, q)
        term = self.streams.zero.xor_to(self.party.xp.zeros(top.shape, WORD))
        if g.shape[0] == 1:
            term ^= g.own
        else:
            none = self.party.xp.zeros((0, term.shape[1]), WORD)
            planes_of.carry_step(g.own, g.next, q.own, q.next, term, none)
        term ^= top.own
        return term

    # The tree, and addends for all bits.

    def merge(self, g: Bits[Rep3], q: Bits[Rep3]) -> tuple[Bits[Rep3], Bits[Rep3]]:
        """One level of the carry tree in one pass over the planes.

        Cost: 1 round; 2·(m // 2) - 1 bits a party, since the lowest pair needs no propagate. Masked
        as `conj`.
        """
        if g.planes.shape[0] < 2:  # one pair has no neighbour
            return g, q
        merged_g, merged_q = alone(self.party, self._merging(g.planes, q.planes))
        return Bits(merged_g, g.shape), Bits(merged_q, g.shape)

    def _merging(self, g: Rep3, q: Rep3) -> Step[tuple[Rep3, Rep3]]:
        m, width = g.shape
        h, rest = m // 2, slice(m - m % 2, m)
        message = self.streams.zero.xor_to(self.party.xp.zeros((2 * h - 1, width), WORD))
        planes_of.carry_step(g.own, g.next, q.own, q.next, message[:h], message[h:])
        heard = yield {self._before: [message]}, {self._after: [Buffer(message.shape)]}
        merged, lowest = Rep3(message, heard[self._after][0]), self.party.xp.zeros((1, width), WORD)
        new_g = merged.map(lambda new, old: np.concatenate([new[:h], old[rest]]), g)
        new_q = merged.map(lambda new, old: np.concatenate([lowest, new[h:], old[rest]]), q)
        return new_g, new_q  # the lowest propagate is never used

    def addends(self, x: Rep3, width: int) -> tuple[Bits[Rep3], Bits[Rep3]]:
        """t = x0 + x1, which first knows, and s = x2, which second and helper hold.

        Cost: 1 round; first sends `width` bits for each value to second, masked by k_0, which
        second lacks.
        """
        first, second, _ = self._turn()
        n, rank = math.prod(x.shape), self.party.rank
        shape = (width, planes_of.words(n))
        nothing = self.party.xp.zeros(shape, WORD)
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
