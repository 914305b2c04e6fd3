"""Matrix products mod 2^64 or 2^32, batched as in NumPy."""

from __future__ import annotations

import numpy as np

from kernels.array import Array, Shape
from kernels.bilinear import compiled
from kernels.machines import machine_of, xp_of


def _shape(x: Shape, y: Shape) -> Shape:
    if len(x) < 2 or len(y) < 2:
        raise ValueError(f"matmul takes matrices or batches of them, not {x} and {y}")
    if x[-1] != y[-2]:
        raise ValueError(f"matmul: {x} has {x[-1]} columns, {y} has {y[-2]} rows")
    try:
        batch = np.broadcast_shapes(x[:-2], y[:-2])
    except ValueError:
        raise ValueError(f"matmul: batches of {x} and {y} do not broadcast") from None
    return (*batch, x[-2], y[-1])


def _spread(a: Array, batch: Shape) -> Array:
    if a.shape[:-2] == batch:
        return a
    spread: Array = xp_of(a).broadcast_to(a, (*batch, *a.shape[-2:]))
    return spread


def _add(out: Array, x: Array, y: Array) -> None:
    batch = out.shape[:-2]
    machine_of(out).matmul_add(out, _spread(x, batch), _spread(y, batch))


def _cross(out: Array, x0: Array, x1: Array, y0: Array, y1: Array) -> None:
    batch = out.shape[:-2]
    machine_of(out).matmul_cross(out, *(_spread(a, batch) for a in (x0, x1, y0, y1)))


matmul = compiled("matmul", _shape, _add, _cross)
