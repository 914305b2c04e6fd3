"""Sides of products as digits, for a GPU's units for signed bytes: see src/cuda/digits.cu."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from kernels.array import Array, Shape
from kernels.cuda.kept import Kept, key_of
from kernels.cuda.launch import Gpu
from kernels.cuda.operand import Gather, Side

THREADS = 256  # of a block
CHUNK = 32  # digits of the summed index: what a row has of each is a multiple
RUN = 16  # digits stored at once, where each matrix of a side begins
UNIT = 16  # rows that matrices are filled up to, with whatever was there
SPLIT_ELEMENTS = 4096  # of a block
SPLIT_WORDS = 4480 * 4  # bytes of its shared memory for each 4 digits: the elements, and padding
SPLIT_WALK = 25 * 8 + 4 * (256 + 16) * 8  # and for a `Gather`, and how a matrix is walked through
RISING, FALLING, BY_CHUNK = range(3)  # orders of digits, in src/cuda/digits.cu
MOST_STEPS = 1 << 32  # of the fastest part of an index, where there is none


@dataclass(frozen=True, eq=False)
class Planes:
    """Rows of a side, split into digits.

    Args:
        digits: bytes [matrix][row][digit][summed index], or by chunks, [matrix][row][chunk][digit]
            [CHUNK]; rows are filled up to a UNIT.
        which: the matrix that each product of a batch takes.
        rows: the rows of the side that are here.
        depth: of a row, for each digit of a word: a multiple of CHUNK.
        order: RISING, FALLING where the highest digit comes first, or BY_CHUNK.
    """

    digits: Array
    which: tuple[int, ...]
    rows: range
    depth: int
    order: int = RISING


KEPT: Kept[Planes] = Kept()


def ceil(n: int, unit: int) -> int:
    """The next multiple."""
    return -(-n // unit) * unit


def depth_of(side: Side) -> int:
    """Of a row of a side's digits: its terms one after the other, filled up with zeros."""
    return ceil(len(side.terms) * ceil(side.depth, RUN), CHUNK)


def row_bytes(side: Side) -> int:
    """All digits of a row."""
    return side.terms[0][0].dtype.itemsize * depth_of(side)


def _rows_lie_closer(gather: Gather) -> bool:
    """Whether lanes that read a matrix go along its rows' index, or along the summed one."""

    def fastest(sizes: tuple[int, ...], steps: tuple[int, ...]) -> tuple[int, int]:
        """The step of the fastest part of an index that has one, and how long it is."""
        for size, step in zip(reversed(sizes), reversed(steps), strict=True):
            if size > 1:
                return abs(step), -size
        return MOST_STEPS, 0

    def steps(first: int, by: Shape) -> tuple[int, ...]:
        return (first, *(b * s for b, s in zip(by, gather.step, strict=True)))

    rows = fastest(gather.row, steps(gather.row_step, gather.by_row))
    columns = fastest(gather.column, steps(gather.column_step, gather.by_column))
    return rows < columns


def planes_of(
    gpu: Gpu,
    side: Side,
    rows: range | None = None,
    products: slice = slice(None),
    *,
    order: int = RISING,
) -> Planes:
    """The digits of a side, or only of some of its rows and of a batch's products.

    Those of steady arrays (`kernels.steady`) are split once and kept. An operand that had to be
    copied first (`operand.alike`) is a new array each time, and so are its digits.
    """
    rows = range(side.rows) if rows is None else rows
    offsets = side.offsets[products]
    key = key_of(gpu, side, rows, offsets, order=order)
    if key is None:
        return _split(gpu, side, rows, offsets, order=order)
    found = KEPT.find(key)
    if found is None:
        found = _split(gpu, side, rows, offsets, order=order)
        KEPT.keep(key, found, found.digits.nbytes)
    return found


def _split(gpu: Gpu, side: Side, rows: range, offsets: tuple[int, ...], *, order: int) -> Planes:
    dtype = side.terms[0][0].dtype
    plan = _plan(side.gather, len(side.terms), rows, offsets, dtype.itemsize)
    digits: Array = gpu.xp.empty(plan.nbytes, gpu.xp.uint8)
    found = Planes(digits, plan.which, rows, plan.depth, order)
    if not digits.size:
        return found
    gather, matrices = gpu.table(side.gather.words), gpu.table(plan.matrices)
    for (base, plus), (blocks, numbers) in zip(side.terms, plan.launches, strict=True):
        arguments = (
            digits,
            base,
            0 if plus is None else plus,
            gather,
            matrices,
            *numbers,
            order,
        )
        gpu.launch(
            "digits", kernel_of("split", dtype), (blocks, 1, 1), THREADS, arguments, plan.shared
        )
    return found


class _Plan(NamedTuple):
    """How a side is split: all but the arrays. `launches` has blocks and numbers of each term."""

    nbytes: int
    matrices: tuple[int, ...]
    which: tuple[int, ...]
    depth: int
    shared: int
    launches: tuple[tuple[int, tuple[int, ...]], ...]


@lru_cache(maxsize=4096)
def _plan(gather: Gather, terms: int, rows: range, offsets: tuple[int, ...], size: int) -> _Plan:
    matrices = {offset: i for i, offset in enumerate(dict.fromkeys(offsets))}
    term_depth, padded, launches = ceil(gather.depth, RUN), ceil(len(rows), UNIT), []
    depth = ceil(terms * term_depth, CHUNK)
    along_rows = int(_rows_lie_closer(gather))
    for i in range(terms):
        first = i * term_depth
        columns = depth - first if i == terms - 1 else term_depth
        shift = min(max((columns - 1).bit_length(), 4), 7)
        tiles = -(-columns >> shift) * -(-len(rows) // (SPLIT_ELEMENTS >> shift))
        numbers = rows.start, len(rows), gather.depth, depth, first, columns, shift, along_rows
        launches.append((tiles * len(matrices), (*numbers, padded)))
    return _Plan(
        nbytes=len(matrices) * padded * depth * size,
        matrices=tuple(matrices),
        which=tuple(matrices[offset] for offset in offsets),
        depth=depth,
        shared=SPLIT_WALK + SPLIT_WORDS * size // 4,
        launches=tuple(launches),
    )


def kernel_of(name: str, dtype: Any) -> str:
    """A kernel for words of a ring."""
    return f"{name}_u{8 * dtype.itemsize}"
