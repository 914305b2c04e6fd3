"""A carry tree that merges four neighbours a level, and what it opens and multiplies.

Blocks of bits have (generate, propagate) pairs. Four neighbours become one:

    G = g3 ^ p3·g2 ^ p3·p2·g1 ^ p3·p2·p1·g0        P = p3·p2·p1·p0

Each factor is opened under a mask. A product of factors is a sum over the subsets of its masks: the
product of that subset's masks, which is dealt, times the opened factors outside it. So a level is
one round, whatever the number of factors, at a bit for each factor (Damgård, Nielsen, Nielsen,
Ranellucci, CRYPTO 2017, section 3.2, for the idea; ABY2.0, USENIX Security 2021, section 3.1.2, for
ANDs of many inputs).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import cast

import numpy as np

from mpc.ring import WORD, Array

FAN_IN = 4
Term = tuple[int, ...]


@dataclass(frozen=True)
class Merge:
    """How `size` neighbours become one; `through` says whether the propagate is still needed.

    Factors are numbered: p_1 … p_(size - 1), then g_0 … g_(size - 2), then p_0 if `through`.
    """

    size: int
    through: bool

    @property
    def factors(self) -> int:
        """How many planes are opened for each group."""
        return 2 * (self.size - 1) + self.through

    @property
    def terms(self) -> list[Term]:
        """The products, each as its factors: size - 1 that add up to G, and P if `through`."""
        s = self.size
        above = [tuple(range(j, s - 1)) for j in range(s - 1)]  # p_(j+1) … p_(s-1)
        terms = [(*above[j], s - 1 + j) for j in range(s - 1)]
        return [*terms, (*above[0], 2 * (s - 1))] if self.through else terms

    @property
    def products(self) -> list[Term]:
        """The products of masks that are dealt, in order."""
        return list(_products(self))

    def opened(self, g: Array, p: Array) -> Array:
        """The factors of all groups from planes [groups, size, W]: [factors, groups, W]."""
        rows = [p[:, i] for i in range(1, self.size)] + [g[:, i] for i in range(self.size - 1)]
        return np.stack([*rows, p[:, 0]] if self.through else rows)

    def multiplied(self, masks: Array) -> Array:
        """The products of masks [factors, groups, W] that are dealt: [products, groups, W]."""
        made = [np.bitwise_and.reduce(masks[list(subset)]) for subset in self.products]
        return np.stack(made) if made else np.empty((0, *masks.shape[1:]), WORD)

    def merged(
        self, g: Array, opened: Array, masks: Array, products: Array, *, first: bool
    ) -> tuple[Array, Array]:
        """This party's share of (G, P) for each group, [groups, W]; one party is the first.

        `g` holds its shares of the planes, `opened` what all learned, `masks` and `products` its
        shares of the masks and of their products. Without `through`, P is zero.
        """
        of: dict[Term, Array] = {(i,): mask for i, mask in enumerate(masks)}
        of |= dict(zip(self.products, products, strict=True))
        known: dict[Term, Array] = {}

        def public(factors: Term) -> Array:
            if len(factors) == 1:
                return cast("Array", opened[factors[0]])
            if factors not in known:
                known[factors] = public(factors[:-1]) & opened[factors[-1]]
            return known[factors]

        def share(term: Term) -> Array:
            total: Array = of[term].copy()
            for count in range(1, len(term)):
                for subset in combinations(term, count):
                    rest = tuple(i for i in term if i not in subset)
                    total ^= public(rest) & of[subset]
            if first:
                total ^= public(term)
            return total

        shares = [share(term) for term in self.terms]
        carry = g[:, -1].copy()
        for made in shares[: self.size - 1]:
            carry ^= made
        return carry, shares[-1] if self.through else np.zeros_like(carry)


@cache
def _products(merge: Merge) -> tuple[Term, ...]:
    found = {
        subset
        for term in merge.terms
        for count in range(2, len(term) + 1)
        for subset in combinations(term, count)
    }
    return tuple(sorted(found, key=lambda term: (len(term), term)))


@dataclass(frozen=True)
class Level:
    """One round of the tree: `fours` groups of four, and above them one of `rest`, if any."""

    fours: int
    rest: int
    through: bool

    @property
    def groups(self) -> list[tuple[Merge, int]]:
        """Each kind of merge and how many groups it has."""
        kinds = [(Merge(FAN_IN, self.through), self.fours), (Merge(self.rest, self.through), 1)]
        return [(merge, n) for merge, n in kinds if n and merge.size > 1]

    def cut(self, planes: Array) -> list[Array]:
        """Planes [blocks, W] as one array [groups, size, W] for each kind."""
        whole, width = self.fours * FAN_IN, planes.shape[1]
        parts = [planes[:whole].reshape(self.fours, FAN_IN, width)] if self.fours else []
        return [*parts, planes[None, whole:]] if self.rest > 1 else parts

    def joined(self, parts: Sequence[Array], planes: Array) -> Array:
        """The planes of the next level: merged ones, and a single last one as it was."""
        single = [planes[-1:]] if self.rest == 1 else []
        return np.concatenate([*parts, *single])


@cache
def levels(blocks: int) -> tuple[Level, ...]:
    """The rounds that bring this many blocks down to one: about half of log2(blocks)."""
    made = []
    while blocks > 1:
        fours, rest = divmod(blocks, FAN_IN)
        blocks = fours + (rest > 0)
        made.append(Level(fours, rest, through=blocks > 1))
    return tuple(made)
