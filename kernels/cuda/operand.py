"""The two sides of a product as kernels read them: see src/cuda/gather.h."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeAlias

from kernels.array import Array, Shape

NONE = (0, 0, 0)
ONES = (1, 1, 1)
Terms: TypeAlias = tuple[tuple[Array, Array | None], ...]


@dataclass(frozen=True)
class Gather:
    """A matrix read out of an array; each tuple has a number for each of three dimensions.

    Args:
        row: sizes of the four parts of a row's index, the first slowest.
        column: the same of a column's.
        row_step: elements between neighbours in part 0 of a row's index.
        column_step: the same for columns.
        by_row: how far a position moves with a row's part.
        by_column: and with a column's.
        origin: of positions.
        limit: how many positions there are; beyond them the matrix is zero.
        step: elements between neighbouring positions.
    """

    row: tuple[int, int, int, int]
    column: tuple[int, int, int, int]
    row_step: int
    column_step: int
    by_row: Shape = NONE
    by_column: Shape = NONE
    origin: Shape = NONE
    limit: Shape = ONES
    step: Shape = NONE
    words: tuple[int, ...] = field(init=False, compare=False, repr=False)
    rows: int = field(init=False, compare=False, repr=False)
    depth: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Write it down as the kernel has it, once, and count its rows and columns."""
        steps = (self.row_step, self.column_step)
        dims = (self.by_row, self.by_column, self.origin, self.limit, self.step)
        words = (*self.row, *self.column, *steps, *(n for of in dims for n in of))
        object.__setattr__(self, "words", words)
        object.__setattr__(self, "rows", prod(self.row))
        object.__setattr__(self, "depth", prod(self.column))

    def __hash__(self) -> int:
        """Of all that it is: plans of launches are kept by it."""
        return hash(self.words)


def matrix(rows: int, columns: int, row_step: int, column_step: int) -> Gather:
    """A plain strided matrix."""
    return Gather((rows, 1, 1, 1), (columns, 1, 1, 1), row_step, column_step)


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a product: its matrices, one after the other along the summed index.

    A replicated product is one product of twice the depth: [x0 | x1] with [y0 + y1 | y0].

    Args:
        gather: how each matrix is read; its columns are the summed index, at both sides.
        terms: for each matrix the array that it is read from, and one to be added or None. All are
            laid out alike, and of one ring dtype.
        offsets: where in these arrays each product of a batch begins, in elements.
    """

    gather: Gather
    terms: Terms
    offsets: tuple[int, ...] = (0,)

    @property
    def rows(self) -> int:
        """Of each matrix."""
        return self.gather.rows

    @property
    def depth(self) -> int:
        """The columns of each matrix."""
        return self.gather.depth


@dataclass(frozen=True)
class Target:
    """Where element (i, j) of a product is added: row i = a * inner + b at a * outer_step + b.

    Args:
        inner: rows that follow each other.
        outer_step: elements from one such run of rows to the next.
        inner_step: elements from a row of a run to the next.
        column_step: elements from one column to the next.
        offsets: where each product of a batch begins.
    """

    inner: int
    outer_step: int
    inner_step: int
    column_step: int
    offsets: tuple[int, ...] = (0,)


def steps_of(a: Array) -> Shape:
    """Elements between neighbours; 0 where there are none, whatever the array says."""
    pairs = zip(a.shape, a.strides, strict=True)
    return tuple(step // a.itemsize if size > 1 else 0 for size, step in pairs)


def alike(xp: Any, *arrays: Array) -> tuple[Array, ...]:
    """Arrays as kernels read them: laid out alike, forwards, in whole elements. Others are copied.

    What all of them only repeat is copied once.
    """
    if all(a.flags.c_contiguous for a in arrays):
        return arrays
    steps = [steps_of(a) for a in arrays]
    whole = not any(s % a.itemsize for a in arrays for s in a.strides)
    if whole and steps.count(steps[0]) == len(steps) and min(steps[0], default=0) >= 0:
        return arrays
    once = tuple(slice(None) if any(s) else slice(1) for s in zip(*steps, strict=True))
    return tuple(xp.broadcast_to(xp.ascontiguousarray(a[once]), a.shape) for a in arrays)
