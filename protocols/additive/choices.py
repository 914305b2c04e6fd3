"""Ands, and choices by a secret bit."""

from __future__ import annotations

import math

import numpy as np

from kernels import bits as planes_of
from kernels import ring
from kernels.array import may_be_written
from mpc.correlated.items import Addend, Choice, Conjunction, DoubleBits
from mpc.ring import WORD, Array
from mpc.shares import Additive, Bits
from protocols.additive.products import Products
from protocols.bits import xor


class Choices(Products):
    """The words that choose by a bit."""

    def conj(self, a: Bits[Additive], b: Bits[Additive]) -> Bits[Additive]:
        """AND of bit planes.

        Cost: 1 round; two bits to each peer for each AND. Dealt: a triple of bits, in planes.
        """
        dealt = self.source.take(Conjunction(a.planes.shape))
        (alpha, beta), (term,) = dealt.masks, dealt.products
        d, e = self._opened_bits(a.planes.own ^ alpha, b.planes.own ^ beta)
        term = term if may_be_written(term) else term.copy()
        # (d & beta) ^ (alpha & e), and d & e at the first party, in one pass.
        planes_of.conj_to(term, d, alpha, e, beta if self._is_first else beta ^ e)
        return Bits(Additive(term), a.shape)

    def select(self, b: Bits[Additive], x: Additive) -> Additive:
        """b·x, element by element.

        With B = b ^ beta and X = x - alpha opened, b·x = B·x + (1 - 2B)·(beta·X + beta·alpha).

        Cost: 1 round; one element and one bit to each peer for each value. Dealt: alpha, beta, and
        beta and alpha·beta as ring elements. Safe: alpha and beta are uniform, and used once.
        """
        own = x.own.reshape(-1)
        dealt = self.source.take(Choice(own.size))
        (alpha, mask), (beta, both) = dealt.masks, dealt.products
        masked = np.subtract(own, alpha, out=alpha)
        opened, (bit,) = self._opened_beside(masked, b.planes.own ^ mask)
        return Additive(ring.select_term(bit, own, opened, beta, both).reshape(x.shape))

    def bit_to_ring(self, b: Bits[Additive]) -> Additive:
        """Bits as ring elements; several planes become a leading axis.

        With B = b ^ beta opened, b = B + (1 - 2B)·beta.

        Cost: 1 round; one bit to each peer for each bit. Dealt: beta as bits and as ring elements.
        """
        planes, n = b.planes.own, math.prod(b.shape)
        if not len(planes):
            return Additive(self.party.xp.zeros((0, *b.shape), WORD))
        dealt = self.source.take(DoubleBits(len(planes), n))
        (opened,) = self._opened_bits(planes ^ dealt.masks[0])
        ones, nothing = self.party.xp.ones(n, WORD), self.party.xp.zeros(n, WORD)
        mine = ones if self._is_first else nothing
        rows = [
            ring.select_term(bit, mine, ones, beta, nothing)
            for bit, beta in zip(opened, dealt.products[0], strict=True)
        ]
        whole = rows[0] if len(rows) == 1 else np.stack(rows)
        return Additive(whole.reshape(b.shape if len(rows) == 1 else (len(rows), *b.shape)))

    def addends(self, x: Additive, width: int) -> tuple[Bits[Additive], Bits[Additive]]:
        """-r, whose bits are dealt, and c = x + r, which is opened.

        Cost: 1 round; one element to each peer for each value.
        """
        negative, known = self._split(x, width)
        return negative, self.constant_bits(known, x.shape)

    def generate(self, x: Additive, width: int) -> tuple[Bits[Additive], Bits[Additive]]:
        """See `BitProtocol.generate`: with one addend public, no AND is needed. Cost: `addends`."""
        negative, known = self._split(x, width)
        both = negative.map(lambda planes: planes[: width - 1] & known[: width - 1])
        return both, xor(negative, self.constant_bits(known, x.shape))

    def _split(self, x: Additive, width: int) -> tuple[Bits[Additive], Array]:
        """The low bits of -r, shared, and of c = x + r, known to all. 1 round."""
        dealt = self.source.take(Addend(x.own.size, width))
        r = dealt.masks[0]
        (c,) = self._opened(np.add(r, x.own.reshape(-1), out=r))
        return Bits(Additive(dealt.products[0]), x.shape), planes_of.to_planes(c, width)
