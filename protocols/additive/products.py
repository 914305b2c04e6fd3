"""Products from triples of their own shape, and truncation from one masked opening."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np

from kernels import ring
from kernels.array import may_be_written
from kernels.bilinear import Bilinear
from kernels.steady import name_of, steady
from mpc.correlated.items import Masked, Triple
from mpc.correlated.seeded import Source, new_masks
from mpc.party import Party
from mpc.ring import BITS, WORD, Array
from mpc.shares import Additive, Summand
from protocols.additive.factors import Factor, Factors, same_place
from protocols.additive.sharing import Sharing

OFFSET = WORD(1 << 62)  # makes |z| < 2^62 non-negative before it is masked


class Products(Sharing):
    """The words that multiply and scale."""

    def __init__(self, party: Party, *, width: int = BITS, source: Source | None = None) -> None:
        """See `Sharing`."""
        super().__init__(party, width=width, source=source)
        # A value that is a factor again is not opened again: the weights of a model at inference,
        # or, on the way back through a model, what was a factor on the way there.
        self._factors = Factors()

    def bilinear(self, f: Bilinear, *pairs: tuple[Additive, Additive]) -> tuple[Additive, ...]:
        """f(x, y) for each pair, f linear in both.

        Cost: 1 round; each party sends each peer an element for each element of the factors that
        were none before; no round if all were. Dealt: a triple of the factors' shapes.
        """
        return tuple(Additive(z.own) for z in self.product(f, *pairs))

    def product(self, f: Bilinear, *pairs: tuple[Additive, Additive]) -> tuple[Summand, ...]:
        """As `bilinear`, as terms.

        With a, b and f(a, b) dealt and d = x - a, e = y - b opened, f(x, y) is f(d, b) + f(a, e) +
        f(a, b), and f(d, e) at the first party. Safe: a and b are uniform to all other parties
        together, and a mask belongs to one value: what is opened under it is opened once, and
        serves every product of that value.
        """
        for x, y in pairs:
            f.shape(x.shape, y.shape)  # refused before anything is used up
        new = Factors()  # those of this call: they are remembered once they are opened
        masked: list[tuple[Array, Factor]] = []
        taken = []
        for x, y in pairs:
            square = same_place(x.own, y.own)
            at = [self._factors.find(v.own) or new.find(v.own) for v in (x, y)]
            names = [None if factor is None else factor.mask for factor in at]
            item = Triple(f.name, x.shape, y.shape, names[0], None if square else names[1], square)
            dealt = self.source.take(item)
            a, b = item.operands(dealt.masks, self._old_masks(item, x.own, y.own, *at))
            named = zip((x, y), at, (a, b), new_masks(item, dealt.number), strict=True)
            # What was not known before the item was asked for has a mask of its own in it, also
            # where y is x with its axes exchanged. A square has one factor.
            for value, known, own, name in list(named)[: 1 if square else 2]:
                if known is None:
                    term = np.subtract(value.own, own, out=self.party.xp.empty(value.shape, WORD))
                    kept = {} if name_of(value.own) is None else {"mask": own}
                    masked.append((value.own, Factor(name, term, kept)))
                    new.keep(*masked[-1])
            taken.append((x.own, y.own, a, b, dealt.products[0]))
        if masked:
            opened = self._opened(*(factor.opened for _, factor in masked))
            for (own, factor), total in zip(masked, opened, strict=True):
                self._factors.keep(own, replace(factor, opened=total))
        return tuple(self._term(f, *parts) for parts in taken)

    def _term(self, f: Bilinear, x: Array, y: Array, a: Array, b: Array, product: Array) -> Summand:
        """This party's term of f(x, y) from what was opened and dealt. No message."""
        of_x, of_y = (cast("Factor", self._factors.find(v)) for v in (x, y))
        d, e, rest = of_x.opened, of_y.opened, b
        term = product if may_be_written(product) else product.copy()
        # One pass for f(d, b) + f(a, e), and f(d, e): `cross_to` adds f(d, e + rest) + f(a, e).
        if not self._is_first:
            rest = of_y.mask.moved(self._kept(y, of_y, "rest", lambda: self._less(b, of_y)))
        for factor in of_x, of_y:
            if factor.kept:
                steady(factor.opened, *factor.kept.values())
        f.cross_to(term, d, a, e, rest)
        return Summand(term)

    def _less(self, b: Array, factor: Factor) -> Array:
        """A mask's share less what was opened under it, as it was dealt: laid out as both are."""
        dealt: Array = self.party.xp.empty(factor.mask.field(b.shape).shape, WORD)
        np.subtract(b, factor.opened, out=factor.mask.moved(dealt))
        return dealt

    def _old_masks(
        self, item: Triple, x: Array, y: Array, of_x: Factor | None, of_y: Factor | None
    ) -> list[Array]:
        """This party's shares of the masks that an item names again."""
        names = iter(item.reused())
        met = ((x, of_x), (y, None if item.square else of_y))
        return [
            self._kept(own, factor, "mask", partial(self.source.mask, *next(names)))
            for own, factor in met
            if factor is not None
        ]

    @staticmethod
    def _kept(own: Array, factor: Factor, name: str, make: Callable[[], Array]) -> Array:
        """What products of a value read; of a steady value it is made once."""
        if name_of(own) is None:
            return make()
        if name not in factor.kept:
            factor.kept[name] = make()
        return factor.kept[name]

    def truncate(self, *shares: Additive, fraction: int) -> tuple[Additive, ...]:
        """x / 2^fraction, rounded down or one ulp more.

        With r uniform it is rounded up with the chance of the part cut off.

        c = x + 2^62 + r is opened; x + 2^62 < 2^63, so c wraps exactly when r has its top bit set
        and c has not, which the dealt top bit of r corrects. If the result is opened, its rounding
        tells about the bits that were cut off, as any stochastic rounding does.

        Cost: 1 round; each party sends each peer one element for each value. Dealt: r, its high
        bits and its top bit. Safe: r is uniform to all other parties together, and used once.
        """
        ring.require_fraction(fraction)  # before anything is used up
        taken = [self.source.take(Masked(x.own.size, fraction=fraction)) for x in shares]
        masked = [
            self._masked(x.own, dealt.masks[0]) for x, dealt in zip(shares, taken, strict=True)
        ]
        opened = self._opened(*masked) if masked else []
        return tuple(
            Additive(self._cut(c, dealt.products[0], dealt.products[1], fraction).reshape(x.shape))
            for x, c, dealt in zip(shares, opened, taken, strict=True)
        )

    def truncate_summands(self, *summands: Summand, fraction: int) -> tuple[Additive, ...]:
        """As `truncate`: a term of a product is a share."""
        return self.truncate(*(Additive(z.own) for z in summands), fraction=fraction)

    def _masked(self, own: Array, r: Array) -> Array:
        """This party's term of x + 2^62 + r, flat: masked by its part of r, which is used up."""
        np.add(r, own.reshape(-1), out=r)
        return np.add(r, OFFSET, out=r) if self._is_first else r

    def _cut(self, c: Array, high: Array, top: Array, fraction: int) -> Array:
        """This party's term of (c - 2^62 - r) / 2^fraction from its shares of r's bits."""
        if self._is_first:
            return ring.truncation_public(c, high, top.astype(WORD), fraction)
        return ring.truncation_private(c, high, top, fraction)
