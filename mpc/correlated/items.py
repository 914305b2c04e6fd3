"""Items of correlated randomness: what additive sharing needs for each of its steps.

An item has masks, which are uniform, and products, which are functions of masks. Each party holds a
share of all of them, and whoever made them has seen no message of the parties. An item serves one
step, once; a mask alone may serve again, as the mask of the same value (`Triple`).

A description of an item holds shapes, the name of a map, and which values were factors before: it
is public.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from kernels import bits as planes_of
from kernels.bilinear import Bilinear
from kernels.named import named
from mpc.correlated.carries import Level, levels
from mpc.ring import WORD, Array, Shape

TOP = WORD(63)


class Field(NamedTuple):
    """One shared array of an item: its shape and type, and whether its terms add up or XOR."""

    shape: Shape
    xor: bool = False
    dtype: np.dtype[np.unsignedinteger[Any]] = np.dtype(WORD)

    @property
    def nbytes(self) -> int:
        """Bytes of one party's share."""
        return math.prod(self.shape) * self.dtype.itemsize  # of Python's numbers: none wraps


class Mask(NamedTuple):
    """A mask that was dealt with an earlier item, by that item's number and the mask's place.

    Of a value whose axes are in another order now, `axes` is that order, as of `transpose`.
    """

    item: int
    place: int
    axes: tuple[int, ...] = ()

    def field(self, shape: Shape) -> Field:
        """The mask as it was dealt, for a value that has this shape now."""
        before = dict(zip(self.axes, shape, strict=True)) if self.axes else dict(enumerate(shape))
        return Field(tuple(before[axis] for axis in range(len(shape))))

    def moved(self, dealt: Array) -> Array:
        """The mask as it is needed, from the mask as it was dealt."""
        return dealt.transpose(self.axes) if self.axes else dealt


@dataclass(frozen=True)
class Item(ABC):
    """What one step uses up."""

    kind: ClassVar[str]

    @abstractmethod
    def masks(self) -> tuple[Field, ...]:
        """What is drawn."""

    @abstractmethod
    def products(self) -> tuple[Field, ...]:
        """What is made of it."""

    @abstractmethod
    def make(self, masks: Sequence[Array]) -> list[Array]:
        """The products of drawn masks, in the order and form of `products`."""

    def reused(self) -> tuple[tuple[Mask, Field], ...]:
        """Masks of earlier items that `make` needs, after its own."""
        return ()

    @property
    def correction_bytes(self) -> int:
        """What the last party is sent: a correction for each product."""
        return sum(field.nbytes for field in self.products())


@dataclass(frozen=True)
class Triple(Item):
    """a, b and f(a, b) for a map linear in both: a product of the shape of the operands.

    Args:
        f: the map's name.
        x: shape of the first operand.
        y: shape of the second.
        x_mask: the mask that the first operand was opened under before; None for a new one.
        y_mask: likewise of the second.
        square: both operands are one value, and have one mask.
    """

    kind: ClassVar[str] = "triple"
    f: str
    x: Shape
    y: Shape
    x_mask: Mask | None = None
    y_mask: Mask | None = None
    square: bool = False

    @property
    def map(self) -> Bilinear:
        """The map itself."""
        return named(self.f)

    def masks(self) -> tuple[Field, ...]:
        """Those of the operands that were not opened before."""
        new = [Field(self.x)] if self.x_mask is None else []
        return (*new, Field(self.y)) if self.y_mask is None and not self.square else tuple(new)

    def reused(self) -> tuple[tuple[Mask, Field], ...]:
        """Those of the operands that were."""
        of_x = [(self.x_mask, self.x_mask.field(self.x))] if self.x_mask is not None else []
        of_y = [(self.y_mask, self.y_mask.field(self.y))] if self.y_mask is not None else []
        return (*of_x, *of_y)

    def products(self) -> tuple[Field, ...]:
        """f(a, b)."""
        return (Field(self.map.shape(self.x, self.y)),)

    def operands(self, new: Sequence[Array], old: Sequence[Array]) -> tuple[Array, Array]:
        """(a, b) from the masks of `masks` and of `reused`."""
        fresh, kept = iter(new), iter(old)
        a = next(fresh) if self.x_mask is None else self.x_mask.moved(next(kept))
        if self.square:
            return a, a
        return a, next(fresh) if self.y_mask is None else self.y_mask.moved(next(kept))

    def make(self, masks: Sequence[Array]) -> list[Array]:
        """f(a, b)."""
        count = len(self.masks())
        return [self.map(*self.operands(masks[:count], masks[count:]))]


@dataclass(frozen=True)
class Masked(Item):
    """r for an opening c = x + r of n values, and what is then known of x without a message.

    Args:
        n: how many values.
        fraction: bits that are cut off c; r >> f and r's top bit serve that. 0 for none.
        low: bits of a sum with r whose carry is looked for; products of the bits of r serve that.
            0 for none.
        choose: a random bit beta and its product with x's mask, for x where a sign says so.
    """

    kind: ClassVar[str] = "masked"
    n: int
    fraction: int = 0
    low: int = 0
    choose: bool = False

    def masks(self) -> tuple[Field, ...]:
        """r, and beta as one plane."""
        beta = (_planes(1, self.n),) if self.choose else ()
        return (Field((self.n,)), *beta)

    def products(self) -> tuple[Field, ...]:
        """Of r: its high bits and top bit; the products of its bits, and the bit above.

        Of beta: as a ring element, and times the first two, or times -r if nothing is cut off.
        """
        whole = Field((self.n,))
        top = Field((self.n,), dtype=np.dtype(np.uint16 if self.fraction <= 16 else WORD))
        cut = [whole, top] if self.fraction else []
        signs = []
        if self.low:
            words = planes_of.product_words(self.low, self.n)
            signs = [Field((words,), xor=True), _planes(1, self.n)]
        chosen = [whole, *(cut or [whole])] if self.choose else []
        return (*cut, *signs, *chosen)

    def make(self, masks: Sequence[Array]) -> list[Array]:
        """See `products`."""
        r, made = masks[0], []
        cut: list[Array] = [r >> WORD(self.fraction), r >> TOP] if self.fraction else []
        made += cut
        if self.low:
            products, top = (np.zeros(field.shape, WORD) for field in self._sign_fields())
            planes_of.block_products(products, top, r, self.low)
            made += [products, top]
        if self.choose:
            beta = planes_of.from_planes(masks[1], self.n)
            made += [beta, *(beta * v for v in cut or [WORD(0) - r])]
        return [v.astype(field.dtype) for v, field in zip(made, self.products(), strict=True)]

    def _sign_fields(self) -> tuple[Field, ...]:
        at = 2 if self.fraction else 0
        return self.products()[at : at + 2]


@dataclass(frozen=True)
class Carries(Item):
    """Masks of a carry tree over blocks of bits, and their products, for n values."""

    kind: ClassVar[str] = "carries"
    blocks: int
    n: int

    @property
    def levels(self) -> tuple[Level, ...]:
        """The rounds of the tree."""
        return levels(self.blocks)

    def masks(self) -> tuple[Field, ...]:
        """For each level and kind of merge: [factors, groups, W]."""
        return tuple(
            Field((merge.factors, count, planes_of.words(self.n)), xor=True)
            for level in self.levels
            for merge, count in level.groups
        )

    def products(self) -> tuple[Field, ...]:
        """For each level and kind of merge: [products, groups, W]."""
        return tuple(
            Field((len(merge.products), count, planes_of.words(self.n)), xor=True)
            for level in self.levels
            for merge, count in level.groups
        )

    def make(self, masks: Sequence[Array]) -> list[Array]:
        """The products of masks."""
        kinds = [merge for level in self.levels for merge, _ in level.groups]
        return [merge.multiplied(v) for merge, v in zip(kinds, masks, strict=True)]


@dataclass(frozen=True)
class Conjunction(Item):
    """alpha, beta and alpha & beta, for ANDs of planes of this shape (Beaver, CRYPTO 1991)."""

    kind: ClassVar[str] = "conjunction"
    shape: Shape

    def masks(self) -> tuple[Field, ...]:
        """Alpha and beta."""
        return (Field(self.shape, xor=True), Field(self.shape, xor=True))

    def products(self) -> tuple[Field, ...]:
        """Their AND."""
        return (Field(self.shape, xor=True),)

    def make(self, masks: Sequence[Array]) -> list[Array]:
        """Their AND."""
        return [masks[0] & masks[1]]


@dataclass(frozen=True)
class Addend(Item):
    """r for an opening c = x + r of n values, and the bits of -r: x is the sum of c and -r."""

    kind: ClassVar[str] = "addend"
    n: int
    width: int

    def masks(self) -> tuple[Field, ...]:
        """r."""
        return (Field((self.n,)),)

    def products(self) -> tuple[Field, ...]:
        """The low bits of -r, in planes."""
        return (_planes(self.width, self.n),)

    def make(self, masks: Sequence[Array]) -> list[Array]:
        """See `products`."""
        return [planes_of.to_planes(WORD(0) - masks[0], self.width)]


@dataclass(frozen=True)
class Choice(Item):
    """Alpha for n values and beta for n bits; beta and alpha·beta as ring elements."""

    kind: ClassVar[str] = "choice"
    n: int

    def masks(self) -> tuple[Field, ...]:
        """Alpha, and beta as one plane."""
        return (Field((self.n,)), _planes(1, self.n))

    def products(self) -> tuple[Field, ...]:
        """Beta, and alpha·beta."""
        return (Field((self.n,)), Field((self.n,)))

    def make(self, masks: Sequence[Array]) -> list[Array]:
        """See `products`."""
        beta = planes_of.from_planes(masks[1], self.n)
        return [beta, masks[0] * beta]


@dataclass(frozen=True)
class DoubleBits(Item):
    """Bits shared twice, under XOR and as ring elements (daBits: Rotaru and Wood, 2019/207)."""

    kind: ClassVar[str] = "daBits"
    planes: int
    n: int

    def masks(self) -> tuple[Field, ...]:
        """The bits, in planes."""
        return (_planes(self.planes, self.n),)

    def products(self) -> tuple[Field, ...]:
        """The bits, as ring elements."""
        return (Field((self.planes, self.n)),)

    def make(self, masks: Sequence[Array]) -> list[Array]:
        """See `products`."""
        rows = [planes_of.from_planes(row[None], self.n) for row in masks[0]]
        return [np.stack(rows) if rows else np.empty((0, self.n), WORD)]


def _planes(count: int, n: int) -> Field:
    return Field((count, planes_of.words(n)), xor=True)
