"""Ands, and choices by a secret bit from one masked opening."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from kernels import bits as planes_of
from kernels import ring
from mpc.party import Buffer
from mpc.ring import WORD, Array, Shape
from mpc.rounds import Step, alone
from mpc.shares import Bits, Rep3
from protocols.rep3.products import Products
from protocols.rep3.sharing import Arrays, flat, shaped


class Choices(Products):
    """The words that choose by a bit."""

    def conj(self, a: Bits[Rep3], b: Bits[Rep3]) -> Bits[Rep3]:
        """AND of bit planes. Cost: 1 round; one bit a party for each AND. Masked as `bilinear`."""
        x, y = a.planes, b.planes
        term = self.streams.zero.xor_to(self.party.xp.zeros(x.shape, WORD))
        planes_of.conj_to(term, x.own, x.next, y.own, y.next)
        (heard,) = self.party.rotate(term)
        return Bits(Rep3(term, heard), a.shape)

    def select(self, b: Bits[Rep3], x: Rep3) -> Rep3:
        """b·x, element by element.

        b·x = c·x + (1 - 2c)·beta·x, with beta and beta·(x2 + x0) shared between the evaluators by
        the helper (`_open_masked`).

        Cost: 2 rounds; four elements and two bits for each value in all, 10.8 bytes a party on
        average.
        """
        first, _, _ = self._turn()
        flat_x = flat(x)
        shapes = [flat_x.shape, flat_x.shape]
        opened = self._open_masked(first, b, lambda beta: self._hints(beta, flat_x), shapes)
        term = self._chosen(first, opened, flat_x)
        chosen = alone(self.party, self._resharing(first, term, flat_x.shape))
        return shaped(chosen, x.shape)

    def bit_to_ring(self, b: Bits[Rep3]) -> Rep3:
        """Bits as ring elements; several planes become a leading axis.

        As `select` of 1, where beta alone is shared.

        Cost: 2 rounds; three elements and two bits for each bit in all, 8.1 bytes a party on
        average.
        """
        first, _, _ = self._turn()
        k, n = b.planes.shape[0], math.prod(b.shape)

        def unpacked(planes: Array) -> Array:
            return np.stack([planes_of.from_planes(planes[j : j + 1], n) for j in range(k)])

        term = None
        if opened := self._open_masked(first, b, lambda beta: [unpacked(beta)], [(k, n)]):
            packed, (beta,) = opened
            c = unpacked(packed)
            term = beta - WORD(2) * c * beta
            if self.party.rank == first:
                term += c
        x = alone(self.party, self._resharing(first, term, (k, n)))
        return shaped(x, b.shape if k == 1 else (k, *b.shape))

    def _hints(self, beta: Array, x: Rep3) -> Arrays:
        """Helper: beta·(x2 + x0) and beta, as ring elements."""
        number = planes_of.from_planes(beta, x.own.size)
        return [number * (x.own + x.next), number]

    def _chosen(self, first: int, opened: tuple[Array, Arrays] | None, x: Rep3) -> Array | None:
        """Evaluators: their term of b·x from c and their parts of the hints. No message."""
        if opened is None:
            return None
        c, (w, beta) = opened
        is_first = self.party.rank == first
        mine, common = (x.own + x.next, x.next) if is_first else (x.next, x.own)
        return ring.select_term(c[0], mine, common, beta, w)

    def _open_masked(
        self, first: int, b: Bits[Rep3], helped: Callable[[Array], Arrays], shapes: list[Shape]
    ) -> tuple[Array, Arrays] | None:
        """The evaluators learn c = b ^ beta, and get shares of what the helper makes of beta.

        The helper draws the bits beta; it learns nothing and gets None. Cost: 1 round; for each bit
        two bits, and one element for each array of `helped`, in all. Safe: c is uniform since beta
        is, and only the helper knows beta; second's parts are masked by k_0, which it lacks, and
        first draws its own from k_0.
        """
        second, helper = (first + 1) % 3, (first + 2) % 3
        own, after = b.planes.own, b.planes.next
        if self.party.rank == helper:
            beta = self.streams.private.random(own.shape)
            parts = [made - self.streams.common(first, made.shape) for made in helped(beta)]
            self.party.exchange({first: [own ^ beta], second: [after ^ beta, *parts]}, {})
            return None
        is_first, bit = self.party.rank == first, Buffer(own.shape)
        expect = [bit] if is_first else [bit, *map(Buffer, shapes)]
        heard, *parts = self.party.exchange({}, {helper: expect})[helper]
        if is_first:
            parts = [self.streams.common(first, shape) for shape in shapes]
        return own ^ after ^ heard, parts

    def _choosing(self, first: int, term: Array, x: Rep3) -> Step[tuple[Rep3, Rep3]]:
        """b and b·x from this party's term of a bit, one plane, masked by a share of zero.

        As `select`, but the bit was not shared again: the evaluators trade their terms beside the
        helper's, and c = b ^ beta. Here beta = beta_0 ^ beta_2, drawn from k_0 and k_2, so that the
        three hold b again without another message: as beta_0, c and beta_2.

        Cost: 2 rounds; four elements and four bits for each value in all. Safe: first lacks k_2,
        second k_0, so beta, and with it c, is uniform to each of them; the terms that they trade
        are masked, and the helper's is what c and the other two add up to.
        """
        second, helper = (first + 1) % 3, (first + 2) % 3
        rank, shape, opened = self.party.rank, x.shape, None
        if rank == helper:
            mine, with_first = (self.streams.common(key, term.shape) for key in (helper, first))
            hints = self._hints(mine ^ with_first, x)
            parts = [made - self.streams.common(first, shape) for made in hints]
            masked = term ^ mine ^ with_first
            yield {first: [masked], second: [masked, *parts]}, {}
            bit = Rep3(mine, with_first)
        else:
            is_first, plane = rank == first, Buffer(term.shape)
            other, key = (second, first) if is_first else (first, helper)
            beta = self.streams.common(key, term.shape)
            drawn = [self.streams.common(first, shape) for _ in range(2)] if is_first else []
            expect = [plane] if is_first else [plane, Buffer(shape), Buffer(shape)]
            heard = yield {other: [term]}, {other: [plane], helper: expect}
            masked, *sent = heard[helper]
            c = term ^ heard[other][0] ^ masked
            opened, bit = (c, drawn or sent), Rep3(beta, c) if is_first else Rep3(c, beta)
        chosen = yield from self._resharing(first, self._chosen(first, opened, x), shape)
        return bit, chosen
