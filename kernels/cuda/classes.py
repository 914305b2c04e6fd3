"""Large products by a library's products of bytes, one for each weight class.

Both sides are split into balanced digits, x = sum of x_i 2^(8 i) with |x_i| <= 128. Class c, which
counts from bit 8 c on, is the sum of X_i Y_j over i + j = c: one product of bytes, of
[X_0 ... X_c] and [Y_c; ...; Y_0], over c + 1 times the depth. Rows hold their digits one after the
other, X's from the lowest on and Y's from the highest on, so that both operands of every class are
runs of the same columns, and nothing is copied for it.
"""

from __future__ import annotations

from kernels.array import Array
from kernels.cuda.digits import (
    FALLING,
    RISING,
    THREADS,
    UNIT,
    Planes,
    depth_of,
    kernel_of,
)
from kernels.cuda.launch import Gpu
from kernels.cuda.operand import Side, Target

# Products of two digits, none above 2^14, whose sum stays below 2^31: no sum of a class may wrap,
# since no library says what it does with one that would.
MOST_TERMS = (2**31 - 1) // 2**14
MOST_SUMS = 1 << 29  # bytes of all classes' sums in one step
MOST_BLOCKS = (1 << 16) - 1  # in the second direction
LEAST_ROWS, LEAST_STEPS, LEAST_PRODUCTS = 256, 512, 1 << 33  # see `suits`; measured on an H100


def suits(gpu: Gpu, target: Target, a: Side, b: Side) -> bool:
    """Whether a product had better be made so.

    A library's products are faster than ours, but all classes' sums are written and read again: so
    there have to be many products in each. It has to be there, and a sum has to fit.
    """
    depth, size = depth_of(a), a.terms[0][0].dtype.itemsize
    return (
        gpu.gemm is not None
        and len(target.offsets) == 1
        and size * depth <= MOST_TERMS
        and min(a.rows, b.rows) >= LEAST_ROWS
        and depth >= LEAST_STEPS
        and a.rows * b.rows * depth >= LEAST_PRODUCTS
    )


def add_product(gpu: Gpu, out: Array, target: Target, a: Planes, b: Planes) -> None:
    """As `products.add_product`, of one matrix each, the digits of `b` falling.

    Memory: 4 bytes for each digit of a word and each element of the result, up to MOST_SUMS.
    """
    if a.depth != b.depth or a.order != RISING or b.order != FALLING:
        raise ValueError(f"sides of {a.depth} and {b.depth} digits a row have no product")
    assert gpu.gemm is not None  # `suits` said so
    if not (a.rows and b.rows):
        return
    size = out.dtype.itemsize
    # Neighbours in a row of sums shall be neighbours in the result.
    nearest = target.inner_step if target.inner > 1 else target.outer_step
    turned = len(a.rows) > 1 and nearest < target.column_step
    first, second = (b, a) if turned else (a, b)
    upper, lower = (_by_row(gpu, planes, size) for planes in (first, second))
    pitch = len(lower)
    run = max(UNIT, MOST_SUMS // (4 * size * pitch) // UNIT * UNIT)
    for start in range(0, len(first.rows), run):
        part = upper[start : start + run]
        sums: Array = gpu.xp.empty((size, len(part), pitch), gpu.xp.int32)
        for c in range(size):
            gpu.gemm(sums[c], _class(part, first, c, size), _class(lower, second, c, size))
        rows, columns = min(run, len(first.rows) - start), len(second.rows)
        begin = (
            (a.rows.start, b.rows.start + start) if turned else (a.rows.start + start, b.rows.start)
        )
        gpu.launch(
            "classes",
            kernel_of("combine", out.dtype),
            (-(-columns // THREADS), min(rows, MOST_BLOCKS), 1),
            THREADS,
            (
                out.reshape(-1)[target.offsets[0] :],
                sums,
                rows,
                columns,
                pitch,
                len(part) * pitch,
                target.inner,
                target.outer_step,
                target.inner_step,
                target.column_step,
                *begin,
                int(turned),
            ),
        )


def _by_row(gpu: Gpu, planes: Planes, size: int) -> Array:
    """A matrix of signed bytes, a row's digits one after the other; too many rows at the end."""
    rows: Array = planes.digits.view(gpu.xp.int8).reshape(-1, size * planes.depth)
    return rows


def _class(rows: Array, planes: Planes, c: int, size: int) -> Array:
    """Digits 0 to c, in the order in which they are there."""
    return (
        rows[:, (size - 1 - c) * planes.depth :]
        if planes.order == FALLING
        else rows[:, : (c + 1) * planes.depth]
    )
