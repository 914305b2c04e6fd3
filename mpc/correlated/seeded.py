"""Sources of items: one seed a party for all masks, and corrections for the last party.

Every mask is the sum of what all parties draw from seeds of their own, so nothing is sent for it. A
product is what all parties but the last draw, plus the last party's share, which is the correction:
it makes the sum right. Whoever knows all the seeds can make it: a dealer, who sees no message. Each
item has a number of its own in all the streams, so nothing is drawn twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kernels import prg
from kernels.machines import HOST, Memory
from mpc.correlated.items import Field, Item, Mask, Triple
from mpc.errors import OutOfStep
from mpc.prg import derive
from mpc.ring import Array

PURPOSE = "correlated randomness"
_PRODUCTS = 1 << 16  # places of products in an item, above those of masks


def _drawn(key: bytes, number: int, place: int, field: Field, memory: Memory = HOST) -> Array:
    """A field's words for one party. The nonce is the item's number and the place: used once."""
    out: Array = memory.xp.empty(field.shape, field.dtype)
    prg.fill(out, key, number.to_bytes(8, "little") + place.to_bytes(4, "little"))
    return out


@dataclass(frozen=True, eq=False, repr=False)
class Dealt:
    """One party's share of an item, and its number, by which its masks may be named later."""

    number: int
    masks: list[Array]
    products: list[Array]

    def __repr__(self) -> str:
        """The number and how many arrays; never what is in them."""
        return f"Dealt({self.number}: {len(self.masks)} masks, {len(self.products)} products)"


class Source(ABC):
    """Where a party's correlated randomness comes from.

    A source made by oblivious transfer or homomorphic encryption has the same methods, and
    needs nobody else: it may exchange messages in `take`.
    """

    name: ClassVar[str]
    assumption: ClassVar[str]  # who is trusted, and not to do what

    @abstractmethod
    def take(self, item: Item) -> Dealt:
        """This party's share of an item that was never served before.

        All parties ask for the same items in the same order, each before the first message of the
        step that uses it.

        Raises:
            PreprocessingSpent: there is no such item left.
        """

    def require(self, items: Sequence[Item]) -> None:  # noqa: B027  who makes them has them
        """See whether these will be there, in this order; nothing is used up.

        For a step that takes items between its messages.

        Raises:
            PreprocessingSpent: they are not all left.
        """

    @abstractmethod
    def mask(self, mask: Mask, field: Field) -> Array:
        """This party's share of a mask that it was served before."""

    def close(self) -> None:  # noqa: B027  most sources hold nothing
        """No more is taken."""


class SeededSource(Source):
    """A source that draws this party's masks; `_corrections` says where the rest comes from.

    Args:
        seed: this party's, given by whoever makes the corrections.
        is_last: whether this party is the one that is sent corrections.
        memory: where this party keeps its shares; corrections, made anywhere, are put there.
    """

    def __init__(self, seed: bytes, *, is_last: bool, memory: Memory = HOST) -> None:
        """Derive the key; the count starts at zero."""
        self._key, self._is_last, self._memory = derive(seed, PURPOSE), is_last, memory
        self._number = 0
        self.served: Counter[str] = Counter()

    def take(self, item: Item) -> Dealt:
        """See `Source.take`."""
        number = self._next(item)
        if self._is_last:
            products = [self._memory.put(made) for made in self._corrections(number, item)]
        else:
            products = [
                self._drawn(number, _PRODUCTS + place, field)
                for place, field in enumerate(item.products())
            ]
        masks = [self._drawn(number, i, field) for i, field in enumerate(item.masks())]
        self.served[item.kind] += 1
        return Dealt(number, masks, products)

    def mask(self, mask: Mask, field: Field) -> Array:
        """See `Source.mask`."""
        return self._drawn(mask.item, mask.place, field)

    def _drawn(self, number: int, place: int, field: Field) -> Array:
        return _drawn(self._key, number, place, field, self._memory)

    def _next(self, item: Item) -> int:
        """The number of the item that is served now; it is used up."""
        self._number += 1
        return self._number - 1

    @abstractmethod
    def _corrections(self, number: int, item: Item) -> list[Array]:
        """The last party's shares of an item's products."""


class Maker:
    """Makes corrections from the seeds of all parties, on the host.

    Args:
        seeds: of all parties, by rank.
    """

    def __init__(self, seeds: Sequence[bytes]) -> None:
        """Derive the keys."""
        self._keys = [derive(seed, PURPOSE) for seed in seeds]

    def corrections(self, number: int, item: Item) -> list[Array]:
        """The last party's shares of an item's products.

        Raises:
            OutOfStep: the item names a mask of one that does not come before it.
        """
        masks = [self._total(number, i, field) for i, field in enumerate(item.masks())]
        for mask, field in item.reused():
            if mask.item >= number:
                raise OutOfStep(f"item {number} names a mask of item {mask.item}")
            masks.append(self._total(mask.item, mask.place, field))
        made = item.make(masks)
        for place, (value, field) in enumerate(zip(made, item.products(), strict=True)):
            take = np.bitwise_xor if field.xor else np.subtract
            for key in self._keys[:-1]:
                take(value, _drawn(key, number, _PRODUCTS + place, field), out=value)
        return made

    def _total(self, number: int, place: int, field: Field) -> Array:
        total = _drawn(self._keys[0], number, place, field)
        for key in self._keys[1:]:
            join = np.bitwise_xor if field.xor else np.add
            join(total, _drawn(key, number, place, field), out=total)
        return total


def new_masks(item: Triple, number: int) -> tuple[Mask, Mask]:
    """By which names the operands of a triple can be told later that they were opened under."""
    fresh = iter(range(2))
    x = item.x_mask or Mask(number, next(fresh))
    if item.square:
        return x, x
    return x, item.y_mask or Mask(number, next(fresh))
