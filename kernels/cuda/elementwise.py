"""Element-wise steps on a card, one launch each: see `kernels.ring`."""

from __future__ import annotations

from kernels.array import Array, Shape
from kernels.cuda.launch import Gpu
from kernels.cuda.operand import alike

MOST_DIMS = 6  # as in src/cuda/elementwise.cu
Steps = tuple[tuple[int, int, int], ...]  # size, and both operands' steps, of each dimension


def multiply_add(gpu: Gpu, out: Array, x: Array, y: Array) -> None:
    """In place, out += x * y; x and y have the shape of out, in any layout."""
    _multiply(gpu, "add", out, (x,), (y,))


def multiply_cross(gpu: Gpu, out: Array, x0: Array, x1: Array, y0: Array, y1: Array) -> None:
    """In place, out += x0 * (y0 + y1) + x1 * y0."""
    _multiply(gpu, "cross", out, alike(gpu.xp, x0, x1), alike(gpu.xp, y0, y1))


def _multiply(gpu: Gpu, form: str, out: Array, x: tuple[Array, ...], y: tuple[Array, ...]) -> None:
    suffix = f"u{8 * out.itemsize}"
    steps = merged(out.shape, x[0].strides, y[0].strides, out.itemsize)
    if len(steps) > MOST_DIMS:
        x, y = (tuple(map(gpu.xp.ascontiguousarray, of)) for of in (x, y))
        steps = merged(out.shape, x[0].strides, y[0].strides, out.itemsize)
    if len(steps) < 2 and all(step in (0, 1) for _, *of in steps for step in of):
        (_, sx, sy) = steps[0] if steps else (1, 1, 1)
        gpu.each("elementwise", f"multiply_{form}_{suffix}", out, *x, sx, *y, sy, n=out.size)
    else:
        layout = gpu.table(_layout(steps))
        gpu.each("elementwise", f"multiply_any_{form}_{suffix}", out, *x, *y, layout, n=out.size)


def merged(shape: Shape, x: Shape, y: Shape, itemsize: int) -> Steps:
    """The dimensions of a product, in elements; those that are one walk in both operands as one."""
    found: list[tuple[int, int, int]] = []
    for size, sx, sy in zip(shape, x, y, strict=True):
        if size == 1:
            continue
        here = (size, sx // itemsize, sy // itemsize)
        if found and found[-1][1] == size * here[1] and found[-1][2] == size * here[2]:
            here = (found.pop()[0] * size, *here[1:])
        found.append(here)
    return tuple(found)


def _layout(steps: Steps) -> tuple[int, ...]:
    """As the kernel has it: sizes, then each operand's steps."""
    whole = ((1, 0, 0),) * (MOST_DIMS - len(steps)) + steps
    return tuple(n for of in zip(*whole, strict=True) for n in of)


def truncation_public(gpu: Gpu, out: Array, fraction: int, c: Array, rho: Array, mu: Array) -> None:
    """See `kernels.ring.truncation_public`."""
    gpu.each("elementwise", "truncation_public_u64", out, c, rho, mu, fraction, n=out.size)


def truncation_private(
    gpu: Gpu, out: Array, fraction: int, c: Array, rho: Array, mu: Array
) -> None:
    """See `kernels.ring.truncation_private`."""
    name = f"truncation_private_u{8 * mu.itemsize}"
    gpu.each("elementwise", name, out, c, rho, mu, fraction, n=out.size)


def select_term(gpu: Gpu, out: Array, c: Array, x: Array, x1: Array, beta: Array, w: Array) -> None:
    """See `kernels.ring.select_term`."""
    gpu.each("elementwise", "select_term_u64", out, c, x, x1, beta, w, n=out.size)
