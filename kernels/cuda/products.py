"""Matrix products on a GPU's units for signed bytes: see src/cuda/product.cu.

A side of a product is split once into digits (`digits`), and the digits are multiplied: here, or
large ones by a library (`classes`). The two steps are separate, so that an operand that stays the
same is split once for many products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from math import prod
from typing import TypeAlias

from kernels.array import Array, Shape
from kernels.cuda import classes, windows
from kernels.cuda import words as word_by_word
from kernels.cuda.digits import (
    CHUNK,
    FALLING,
    RISING,
    UNIT,
    Planes,
    ceil,
    kernel_of,
    planes_of,
    row_bytes,
)
from kernels.cuda.launch import Gpu
from kernels.cuda.operand import Gather, Side, Target, Terms, alike, matrix, steps_of

THREADS = 256  # of a block
TILE = 64  # rows and columns of a block that multiplies
STAGE = 2 * TILE * CHUNK  # bytes of its shared memory for each digit and stage
THREE_STAGES = 96 << 10  # bytes of shared memory from which on there are three, and not two
LEAST_CHUNKS = 8  # for each block where several share the depth of one tile
MOST_PLANES = 1 << 30  # bytes of one side's planes in one step
MOST_ROWS = (1 << 32) - 1  # of a result: a kernel divides a row's number in 32 bits

Product: TypeAlias = Callable[[Gpu, Array, Target, Side, Side], None]


def add_product(gpu: Gpu, out: Array, target: Target, a: Planes, b: Planes) -> None:
    """Do out += a b^T from planes: the rows of `a` are the result's, those of `b` its columns."""
    if a.depth != b.depth or a.order != RISING or b.order != RISING:
        raise ValueError(f"sides of {a.depth} and {b.depth} digits a row have no product")
    if max(a.rows.stop, b.rows.stop) > MOST_ROWS:
        raise ValueError(f"a product has at most {MOST_ROWS} rows and columns")
    batch = len(target.offsets)
    if not (batch and a.rows and b.rows):
        return
    size = out.dtype.itemsize
    tiles = -(-len(a.rows) // TILE) * -(-len(b.rows) // TILE) * batch
    splits = max(1, min(gpu.cores * 8 // size // tiles, a.depth // CHUNK // LEAST_CHUNKS))
    shared = splits > 1 or len(set(target.offsets)) < batch
    stages = 3 if gpu.shared_bytes >= THREE_STAGES else 2
    arguments = (
        out,
        gpu.table(target.offsets),
        min(target.inner, MOST_ROWS),
        target.outer_step,
        target.inner_step,
        target.column_step,
        a.digits,
        gpu.table(a.which * (batch // len(a.which))),
        len(a.rows),
        b.digits,
        gpu.table(b.which * (batch // len(b.which))),
        len(b.rows),
        a.depth,
        splits,
        int(shared),
        a.rows.start,
        b.rows.start,
    )
    kernel = f"{kernel_of('product', out.dtype)}_{stages}"
    gpu.launch("product", kernel, (tiles * splits, 1, 1), THREADS, arguments, stages * size * STAGE)


def product(gpu: Gpu, out: Array, target: Target, a: Side, b: Side) -> None:
    """Do out += a b^T, where the rows of `a` are the result's and those of `b` its columns.

    Args:
        gpu: where.
        out: what is added to.
        target: where in it.
        a: one side.
        b: the other, with as many matrices of the same depth. Sides and target have as many offsets
            as the batch has products; a side with one offset is the same for all of them.
    """
    batch = len(target.offsets)
    if len(a.terms) != len(b.terms) or a.depth != b.depth:
        raise ValueError(f"sides of depth {a.depth} and {b.depth} have no product")
    if {len(a.offsets), len(b.offsets)} - {1, batch}:
        raise ValueError(f"a batch of {batch}, and sides of {len(a.offsets)} and {len(b.offsets)}")
    if not a.depth:
        return
    library = classes.suits(gpu, target, a, b)
    add = classes.add_product if library else add_product
    for products in _products(batch, a, b):
        here = replace(target, offsets=target.offsets[products])
        right: Planes | None = None
        for rows in _rows(a):
            left = planes_of(gpu, a, rows, products if len(a.offsets) > 1 else slice(None))
            for columns in _rows(b):
                if right is None or right.rows != columns:
                    right = None  # its memory is free before more is asked for
                    matrices = products if len(b.offsets) > 1 else slice(None)
                    right = planes_of(
                        gpu, b, columns, matrices, order=FALLING if library else RISING
                    )
                add(gpu, out, here, left, right)


def choose(m: int, n: int, depth: int, batch: int = 1) -> Product:
    """What carries out a batch of m x n sums of `depth` products of words."""
    return word_by_word.product if word_by_word.suits(m, n, depth, batch) else product


def carry_out(gpu: Gpu, out: Array, target: Target, a: Side, b: Side) -> None:
    """A product by whichever way is shorter."""
    if windows.suits(gpu, target, a, b):
        windows.product(gpu, out, target, a, b)
        return
    way = choose(a.rows, b.rows, a.depth * len(a.terms), len(target.offsets))
    way(gpu, out, target, a, b)


def _products(batch: int, *sides: Side) -> list[slice]:
    """Runs of a batch so short that planes of one run stay below MOST_PLANES, if rows allow."""
    each = max(ceil(s.rows, UNIT) * row_bytes(s) if len(set(s.offsets)) > 1 else 1 for s in sides)
    together = max(1, MOST_PLANES // max(1, each))
    return [slice(i, i + together) for i in range(0, batch, together)]


def _rows(side: Side) -> list[range]:
    """Runs of a side's rows so short that planes of one matrix stay below MOST_PLANES."""
    together = max(TILE, MOST_PLANES // row_bytes(side) // TILE * TILE)
    rows = range(side.rows)
    return [rows[i : i + together] for i in range(0, side.rows, together)]


def matmul_add(gpu: Gpu, out: Array, x: Array, y: Array) -> None:
    """Do out += x @ y; all have the same batch, `out` is C-contiguous."""
    (x,), (y,) = alike(gpu.xp, x), alike(gpu.xp, y)
    _matmul(gpu, out, ((x, None),), ((y, None),))


def matmul_cross(gpu: Gpu, out: Array, x0: Array, x1: Array, y0: Array, y1: Array) -> None:
    """Do out += x0 @ (y0 + y1) + x1 @ y0, which is one product of twice the depth."""
    (x0, x1), (y0, y1) = alike(gpu.xp, x0, x1), alike(gpu.xp, y0, y1)
    _matmul(gpu, out, ((x0, None), (x1, None)), ((y0, y1), (y0, None)))


def _matmul(gpu: Gpu, out: Array, x: Terms, y: Terms) -> None:
    depth = x[0][0].shape[-1]
    if not out.size or not depth:
        return
    steps = steps_of(x[0][0]), steps_of(y[0][0])
    one, other, target, turned = _geometry(out.shape, depth, *steps)
    if turned:
        x, y = y, x
    carry_out(gpu, out, target, Side(one[0], x, one[1]), Side(other[0], y, other[1]))


@lru_cache(maxsize=1024)
def _geometry(
    out: Shape, depth: int, x_steps: Shape, y_steps: Shape
) -> tuple[tuple[Gather, Shape], tuple[Gather, Shape], Target, bool]:
    """How sides are read and where their products begin; and whether y is the first of the two."""
    *batch, m, n = out
    *x_batch, x_row, x_column = x_steps
    *y_batch, y_row, y_column = y_steps
    x_step, y_step, many = _merged(batch, x_batch), _merged(batch, y_batch), prod(batch)
    one, other = matrix(m, depth, x_row, x_column), matrix(n, depth, y_column, y_row)
    if y_step == 0 and x_step is not None:  # one y for all: the batch is more rows of x
        rows = _stack(many, m, depth, x_step, x_row, x_column)
        return (rows, (0,)), (other, (0,)), Target(many * m, 0, n, 1), False
    if x_step == 0 and y_step is not None:  # one x for all: more columns of y, and all transposed
        columns = _stack(many, n, depth, y_step, y_column, y_row)
        return (columns, (0,)), (one, (0,)), Target(n, m * n, 1, n), True
    target = Target(m, 0, n, 1, tuple(range(0, many * m * n, m * n)))
    return (one, _offsets(batch, x_batch)), (other, _offsets(batch, y_batch)), target, False


def _merged(shape: Sequence[int], steps: Sequence[int]) -> int | None:
    """The step of all these dimensions taken as one, or None where they are not evenly spaced."""
    step, size = 0, 1
    for n, s in zip(reversed(shape), reversed(steps), strict=True):
        if n > 1:
            if size > 1 and s != step * size:
                return None
            step, size = step if size > 1 else s, size * n
    return step


def _stack(count: int, rows: int, columns: int, step: int, row: int, column: int) -> Gather:
    """Matrices `step` apart, one under the other."""
    if count == 1 or step == rows * row:
        return matrix(count * rows, columns, row, column)
    return Gather(
        (count, 1, 1, rows),
        (columns, 1, 1, 1),
        step,
        column,
        by_row=(0, 0, 1),
        limit=(1, 1, rows),
        step=(0, 0, row),
    )


def _offsets(shape: Sequence[int], steps: Sequence[int]) -> tuple[int, ...]:
    offsets = [0]
    for n, step in zip(shape, steps, strict=True):
        offsets = [offset + i * step for offset in offsets for i in range(n)]
    return tuple(offsets)
