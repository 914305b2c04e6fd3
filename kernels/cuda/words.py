"""Products word by word, on a GPU's cores: see src/cuda/words.cu."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from kernels.array import Array
from kernels.cuda.launch import Gpu
from kernels.cuda.operand import Gather, Side, Target

THREADS, STEPS, SHARED = 256, 16, 24 << 10  # of a block; steps of the summed index at a time
TILE, THIN = (64, 64), (8, 128)
BLOCKS = 4  # for each core: as many as run beside each other hide each other's waits
SPAN = 128  # steps that a block has at least, where several share a sum
MOST_Z = (1 << 16) - 1  # blocks in the third direction
FEW_ROWS, FEW_STEPS, FEW_PRODUCTS = 16, 32, 1 << 28  # see `suits`; measured on an H100


def product(gpu: Gpu, out: Array, target: Target, a: Side, b: Side) -> None:
    """Add the rows of `a` times those of `b` to `out`, each pair of rows one sum of products.

    Args:
        gpu: where.
        out: added to, exactly mod 2^64 or 2^32, by its dtype.
        target: where element (i, j), the sum of row i of a and row j of b, is in it.
        a: one side.
        b: the other, with as many terms of the same depth. Sides have as many offsets as the
            target, or one that is the same for all products.
    """
    batch, depth = len(target.offsets), a.depth
    if (len(a.terms), depth) != (len(b.terms), b.depth):
        raise ValueError(f"sides of depth {depth} and {b.depth} have no product")
    if {len(a.offsets), len(b.offsets)} - {1, batch}:
        raise ValueError(f"a batch of {batch}, and sides of {len(a.offsets)} and {len(b.offsets)}")
    if not (a.rows and b.rows and depth and batch):
        return
    rows, columns = (target.inner, target.outer_step, target.inner_step), (1, target.column_step, 0)
    thin = min(a.rows, b.rows) <= THIN[0]
    if b.rows < a.rows if thin else _nearest(*rows) < target.column_step:
        # A thin tile's rows are the fewer; another's columns are those that lie closer in `out`.
        a, b, rows, columns = b, a, columns, rows
    down, across = THIN if thin else TILE
    tiles = -(-a.rows // down) * -(-b.rows // across)
    total = len(a.terms) * -(-depth // STEPS) * STEPS
    span = _span(gpu, tiles * batch, total)
    splits = -(-total // span)
    offsets = zip(*(_each(s.offsets, batch) for s in (a, b)), target.offsets, strict=True)
    gpu.launch(
        "words",
        f"words_{'thin_' if thin else ''}u{8 * out.dtype.itemsize}",
        (tiles, 1, min(batch * splits, MOST_Z)),
        THREADS,
        (
            out,
            *_pointers(a),
            *_pointers(b),
            gpu.table((*_words(a.gather, rows), *_words(b.gather, columns))),
            gpu.table(tuple(n for each in offsets for n in each)),
            a.rows,
            b.rows,
            depth,
            total,
            span,
            batch,
            int(splits > 1 or len(set(target.offsets)) < batch),
        ),
        SHARED,
    )


def suits(m: int, n: int, depth: int, batch: int = 1) -> bool:
    """Whether a batch of m x n sums of `depth` products had better be made so than from digits.

    A thin result would leave tiles of the matrix units mostly empty, and to split words into digits
    costs more than it saves where they are used a few times only.
    """
    return min(m, n) < FEW_ROWS or depth < FEW_STEPS or batch * m * n * depth < FEW_PRODUCTS


def _each(offsets: tuple[int, ...], batch: int) -> tuple[int, ...]:
    return offsets if len(offsets) == batch else offsets * batch


def _nearest(inner: int, outer_step: int, inner_step: int) -> int:
    return inner_step if inner > 1 else outer_step


def _span(gpu: Gpu, blocks: int, total: int) -> int:
    """How much of a sum a block has: all of it, where there are blocks enough without sharing."""
    splits = max(1, min(BLOCKS * gpu.cores // blocks, total // SPAN))
    return -(-total // (splits * STEPS)) * STEPS


def _pointers(side: Side) -> tuple[Any, ...]:
    """Two terms, each an array and what is added to it; 0 for what there is not."""
    each = [*side.terms, (0, None)][:2]
    return tuple(0 if x is None else x for term in each for x in term)


@lru_cache(maxsize=4096)
def _words(g: Gather, along: tuple[int, int, int]) -> tuple[int, ...]:
    """A side as the kernel has it."""
    used = range(3)
    for d in used:
        most = abs(g.by_row[d]) * (g.row[d + 1] - 1) + abs(g.by_column[d]) * (g.column[d + 1] - 1)
        if max(most + abs(g.origin[d]), g.limit[d]) >= 1 << 31:
            raise ValueError(f"positions of {g} do not fit into 32 bits")
    first = next((d for d in used if (g.row[d + 1], g.column[d + 1], g.origin[d]) != (1, 1, 0)), 3)
    by_rows = _step(g, g.row, g.row_step, g.by_row) < _step(g, g.column, g.column_step, g.by_column)
    return (*g.words, first, int(by_rows), *along)


def _step(g: Gather, sizes: tuple[int, ...], step: int, by: tuple[int, ...]) -> float:
    """Elements between neighbours of an index; if there is one index only, they are far."""
    for d in (2, 1, 0):
        if sizes[d + 1] > 1:
            return abs(by[d]) * g.step[d]
    return step if sizes[0] > 1 else float("inf")
