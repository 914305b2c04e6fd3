"""Convolutions and their two gradients: each is one product whose sides are read out of the arrays.

Nothing is unfolded: a side's rows and columns are windows, see `operand.Gather`. A replicated
product is one product of twice the depth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import prod
from typing import Any, TypeAlias

from kernels.array import Array, Shape
from kernels.cuda.launch import Gpu
from kernels.cuda.operand import NONE, ONES, Gather, Side, Target, Terms, alike, steps_of
from kernels.cuda.phases import phases
from kernels.cuda.products import carry_out

FORWARD, INPUT_GRAD, WEIGHT_GRAD = range(3)  # Kind, in src/view.h

Three: TypeAlias = tuple[int, int, int]
Walk: TypeAlias = tuple[Shape, Shape, Shape, int]  # stride, padding, dilation and groups
Layout: TypeAlias = tuple[Shape, Shape]  # sizes, and elements between neighbours


def conv_add(
    gpu: Gpu,
    kind: int,
    stride: Shape,
    padding: Shape,
    dilation: Shape,
    groups: int,
    out: Array,
    x: Array,
    y: Array,
) -> None:
    """In place, out += f(x, y), f the map of a kind: see `kernels.conv`."""
    walk = stride, padding, dilation, groups
    (x,), (y,) = alike(gpu.xp, x), alike(gpu.xp, y)
    if kind == INPUT_GRAD and max(stride, default=1) > 1:
        for view, part, plain, taps in _phases(gpu, out, y.shape, *walk):
            conv_add(gpu, kind, *plain, part, x, y[taps])
            view += part
        return
    a, b, target = sides(kind, *walk, out.shape, ((x, None),), ((y, None),))
    carry_out(gpu, out, target, a, b)


def conv_cross(
    gpu: Gpu,
    kind: int,
    stride: Shape,
    padding: Shape,
    dilation: Shape,
    groups: int,
    out: Array,
    x0: Array,
    x1: Array,
    y0: Array,
    y1: Array,
) -> None:
    """In place, out += f(x0, y0 + y1) + f(x1, y0)."""
    walk = stride, padding, dilation, groups
    (x0, x1), (y0, y1) = alike(gpu.xp, x0, x1), alike(gpu.xp, y0, y1)
    if kind == INPUT_GRAD and max(stride, default=1) > 1:
        for view, part, plain, taps in _phases(gpu, out, y0.shape, *walk):
            conv_cross(gpu, kind, *plain, part, x0, x1, y0[taps], y1[taps])
            view += part
        return
    x, y = ((x0, None), (x1, None)), ((y0, y1), (y0, None))
    a, b, target = sides(kind, *walk, out.shape, x, y)
    carry_out(gpu, out, target, a, b)


def _phases(
    gpu: Gpu, out: Array, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, groups: int
) -> Iterator[tuple[Array, Array, Walk, tuple[Any, ...]]]:
    """For each phase: what it is added to, where it is made, how it walks, and its taps."""
    once = (1,) * len(stride)
    for phase in phases(out.shape[2:], kernel[2:], stride, padding, dilation):
        places: tuple[Any, ...] = (..., *phase.places)
        view = out[places]
        part = gpu.xp.zeros(view.shape, out.dtype)
        yield view, part, (once, phase.padding, phase.dilation, groups), (..., *phase.taps)


def sides(
    kind: int,
    stride: Shape,
    padding: Shape,
    dilation: Shape,
    groups: int,
    out: Shape,
    x: Terms,
    y: Terms,
) -> tuple[Side, Side, Target]:
    """A convolution or a gradient of one as a product; its groups are a batch.

    Args:
        kind: FORWARD, INPUT_GRAD or WEIGHT_GRAD.
        stride: one number for each spatial dimension, as in the next two; of a gradient of the
            input it is one (`phases`).
        padding: at both ends.
        dilation: of the kernel.
        groups: that channels are in.
        out: shape of the result, which is C-contiguous.
        x: terms of the first argument, all laid out alike. Rows of the product are windows in it.
        y: terms of the second, likewise.
    """
    layouts = (x[0][0].shape, steps_of(x[0][0])), (y[0][0].shape, steps_of(y[0][0]))
    walk = stride, padding, dilation, groups
    (a, a_offsets), (b, b_offsets), target = _geometry(kind, walk, out, *layouts)
    return Side(a, x, a_offsets), Side(b, y, b_offsets), target


@lru_cache(maxsize=1024)
def _geometry(
    kind: int, walk: Walk, out: Shape, x: Layout, y: Layout
) -> tuple[tuple[Gather, Shape], tuple[Gather, Shape], Target]:
    """How sides are read, and where each product begins; a network asks the same in each step."""
    stride, padding, dilation, groups = walk
    by, pad, reach = _three(stride, 1), _three(padding, 0), _three(dilation, 1)
    (n, channels), size, (xn, xc), step = _layout(*x)
    (p, q), k, (yp, yq), y_step = _layout(*y)
    c, of, whole = channels // groups, _three(out[2:], 1), prod(out[1:])

    # A window's position is by * t + reach * k - padding.
    if kind == FORWARD:
        a = Gather((n, *of), (c, *k), xn, xc, by, reach, _minus(pad), size, step)
        b, y_group = _plain(p // groups, c, k, yp, yq, y_step), p // groups * yp
    elif kind == INPUT_GRAD:
        a = Gather((n, *of), (c, *k), xn, xc, ONES, _minus(reach), pad, size, step)
        b, y_group = _plain(q, c, k, yq, yp, y_step), c * yp
    else:
        a = Gather((c, *of), (n, *k), xc, xn, reach, by, _minus(pad), size, step)
        b, y_group = _plain(q // groups, n, k, yq, yp, y_step), q // groups * yq
    run = whole if kind == WEIGHT_GRAD else prod(of)  # one of the other's rows in the result
    target = Target(run, whole, 1, run, _groups(groups, b.rows * run))
    return (a, _groups(groups, c * xc)), (b, _groups(groups, y_group)), target


def _plain(rows: int, first: int, rest: Three, row_step: int, step: int, steps: Three) -> Gather:
    """What is there as it is: the rows of one dimension, along all the others."""
    sizes = (rows, *ONES), (first, *rest)
    return Gather(*sizes, row_step, step, NONE, ONES, NONE, rest, steps)


def _layout(shape: Shape, steps: Shape) -> tuple[tuple[int, int], Three, tuple[int, int], Three]:
    """Sizes of the first two dimensions and of the spatial ones, and the steps of each."""
    (first, second, *spatial), (one, two, *rest) = shape, steps
    return (first, second), _three(spatial, 1), (one, two), _three(rest, 0)


def _three(numbers: Sequence[int], missing: int) -> Three:
    """A number for each of three dimensions; the first ones may be missing."""
    first, second, third = (*(missing,) * (3 - len(numbers)), *numbers)
    return first, second, third


def _minus(numbers: Three) -> Three:
    return -numbers[0], -numbers[1], -numbers[2]


def _groups(groups: int, step: int) -> tuple[int, ...]:
    return tuple(g * step for g in range(groups))
