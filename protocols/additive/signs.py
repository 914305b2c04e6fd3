"""Signs: the carry of a sum of something public and a mask whose bits were dealt.

For c = x + r, opened, -x = -c + r. The carry out of a block of four bits of that sum is a sum of
products, one factor a product of some of the block's bits of r, the other public
(`kernels.bits.block_carries`). The first are dealt, so all blocks' carries cost no message; what is
left is a tree of sixteen blocks, which takes two rounds (`mpc.correlated.carries`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from kernels import bits as planes_of
from kernels import ring
from mpc.correlated.items import Carries, Item, Masked
from mpc.correlated.seeded import Dealt
from mpc.ring import BITS, WORD, Array
from mpc.shares import Additive, Bits, Summand
from protocols.additive.choices import Choices
from protocols.additive.products import OFFSET

Part = Callable[..., list[Array]]  # of a chunk, a `Masked` that was dealt, and a tree if it has one


class Signs(Choices):
    """The words that compare."""

    def sign_bit(self, x: Additive) -> Bits[Additive]:
        """Whether x is negative, as one plane; right for |x| < 2^(width - 1).

        c = r - x is opened, and x = -c + r.

        Cost: 3 rounds, and for each element 8 bytes and 34 bits to each peer at width 64; 8 bytes
        and 16 bits at width 32. The rounds are those of 5 to 16 blocks; a tree of 2 to 4 blocks
        takes one less, a single block two. More than `chunk` elements take the rounds of as many
        chunks, here and in the two words below, each with items of its own.
        """
        low = self.width - 1

        def part(own: Array, dealt: Dealt, tree: Dealt | None = None) -> list[Array]:
            r = dealt.masks[0]
            (c,) = self._opened(np.subtract(r, own, out=r))
            products, top = dealt.products
            return [self._sign(np.negative(c), low, products, top, tree)]

        (sign,) = self._in_chunks(Masked(x.own.size, low=low), part, x.own)
        return Bits(Additive(sign), x.shape)

    def positive_part(self, x: Additive) -> tuple[Bits[Additive], Additive]:
        """Whether x is above zero, and max(x, 0); right for |x| < 2^(width - 1).

        c = x + r is opened, and -x = -c + r. For a dealt bit beta and B = b ^ beta opened, b·x =
        B·x + (1 - 2B)·(beta·c - beta·r): c serves as the opening of the choice, too.

        Cost: 4 rounds, and for each element 8 bytes and 35 bits to each peer at width 64; 8 bytes
        and 17 bits at width 32. Safe: r and beta are uniform, and used once.
        """
        low = self.width - 1

        def part(own: Array, dealt: Dealt, tree: Dealt | None = None) -> list[Array]:
            (r, mask), (products, top, beta, both) = dealt.masks, dealt.products
            (c,) = self._opened(np.add(r, own, out=r))
            sign = self._sign(np.negative(c), low, products, top, tree)
            bit, (known,) = self._bit(sign, mask)
            return [bit, ring.select_term(known, own, c, beta, both)]

        item = Masked(x.own.size, low=low, choose=True)
        bit, chosen = self._in_chunks(item, part, x.own)
        return Bits(Additive(bit), x.shape), Additive(chosen.reshape(x.shape))

    def truncated_positive_part(
        self, z: Summand, *, fraction: int
    ) -> tuple[Additive, Bits[Additive], Additive]:
        """y = z / 2^fraction, whether z is above zero, and y where it is, 0 elsewhere.

        c = z + 2^62 + r is opened; -z = (2^62 - c) + r, and y is public but for dealt bits of r
        (`truncate`), whose products with the bit beta are dealt, too. The sign is that of z, so it
        is looked for in `fraction` bits more than the comparisons have.

        Cost: 4 rounds, and for each value 8 bytes and 35 bits to each peer at width 64; 8 bytes and
        26 bits at width 32 and 16 bits of fraction. Safe: as `truncate` and `positive_part`.
        """
        ring.require_fraction(fraction)  # before anything is used up
        low = min(self.width + fraction, BITS) - 1

        def part(own: Array, dealt: Dealt, tree: Dealt | None = None) -> list[Array]:
            r, mask = dealt.masks
            high, above, products, top, beta, beta_high, beta_above = dealt.products
            (c,) = self._opened(self._masked(own, r))
            y = self._cut(c, high, above, fraction)
            sign = self._sign(OFFSET - c, low, products, top, tree)
            bit, (known,) = self._bit(sign, mask)
            # beta·y, from what is public of y and what was dealt of the rest.
            rest = ring.truncation_private(c, beta_high, beta_above, fraction)
            public = (c >> WORD(fraction)) - (OFFSET >> WORD(fraction))
            return [y, bit, ring.select_term(known, y, public, beta, rest)]

        item = Masked(z.own.size, fraction, low, choose=True)
        y, bit, chosen = self._in_chunks(item, part, z.own)
        return (
            Additive(y.reshape(z.shape)),
            Bits(Additive(bit), z.shape),
            Additive(chosen.reshape(z.shape)),
        )

    def _sign(
        self, known: Array, low: int, products: Array, top: Array, tree: Dealt | None
    ) -> Array:
        """This party's share of bit `low` of known + r, one plane, from the dealt bits of r.

        Cost: a round for each level of the tree. Safe: each factor is masked by a bit of its own.
        """
        blocks, width, zeros = _blocks(low), top.shape[1], self.party.xp.zeros
        g: Array = zeros((blocks, width), WORD)
        through: Array = zeros((blocks - 1, width), WORD)
        above = top.copy() if self._is_first else zeros(top.shape, WORD)
        planes_of.block_carries(g, through, above, products, known, low, whole=self._is_first)
        above = above if self._is_first else top  # what is public is added once
        if tree is None:
            return above ^ g
        p = np.concatenate([zeros((1, width), WORD), through])  # nothing passes the lowest on
        masks, made = iter(tree.masks), iter(tree.products)
        for level in Carries(blocks, known.size).levels:
            cut = list(zip(level.groups, level.cut(g), level.cut(p), strict=True))
            own = [next(masks) for _ in cut]
            factors = [
                merge.opened(gs, ps) ^ mask
                for ((merge, _), gs, ps), mask in zip(cut, own, strict=True)
            ]
            opened = self._opened_bits(*factors)
            merged = [
                merge.merged(gs, what, mask, next(made), first=self._is_first)
                for ((merge, _), gs, _), what, mask in zip(cut, opened, own, strict=True)
            ]
            g = level.joined([new for new, _ in merged], g)
            p = level.joined([new for _, new in merged], p)
        return above ^ g

    def _bit(self, sign: Array, mask: Array) -> tuple[Array, Array]:
        """This party's share of a bit, and the bit as all learn it, under the mask. 1 round."""
        (known,) = self._opened_bits(sign ^ mask)
        return (mask ^ known if self._is_first else mask), known

    def _in_chunks(self, item: Masked, part: Part, own: Array) -> list[Array]:
        """`part` of a flat array, or of its chunks, with results joined along the last axis.

        What all chunks will use up is there before the first of them sends anything.
        """
        flat = own.reshape(-1)
        chunks = [flat[at : at + self.chunk] for at in range(0, flat.size, self.chunk)] or [flat]
        needs = [_items(replace(item, n=chunk.size)) for chunk in chunks]
        self.source.require([each for items in needs for each in items])
        made = [
            part(chunk, *map(self.source.take, items))
            for chunk, items in zip(chunks, needs, strict=True)
        ]
        if len(made) == 1:
            return made[0]
        return [np.concatenate(parts, axis=-1) for parts in zip(*made, strict=True)]


def _items(item: Masked) -> list[Item]:
    """The item, and the masks for a carry tree, unless there is one block alone."""
    blocks = _blocks(item.low)
    return [item, Carries(blocks, item.n)] if blocks > 1 else [item]


def _blocks(low: int) -> int:
    return -(-low // planes_of.BLOCK)
