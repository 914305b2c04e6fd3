"""Element-wise arithmetic mod 2^64: the product, and the fused steps of truncation and selection.

Each function here is one pass over memory; what it computes is written out in `kernels.reference`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from kernels.array import (
    UNSIGNED_DTYPES,
    WORD,
    Array,
    Shape,
    require,
    require_one_memory,
    require_shape,
)
from kernels.bilinear import Bilinear, compiled
from kernels.bits import words
from kernels.machines import machine_of, xp_of

_Truncation: TypeAlias = Callable[[Array, int, Array, Array, Array], None]


def _product_shape(x: Shape, y: Shape) -> Shape:
    try:
        return np.broadcast_shapes(x, y)
    except ValueError:
        raise ValueError(f"multiply: shapes {x} and {y} do not broadcast") from None


def _multiply_add(out: Array, x: Array, y: Array) -> None:
    spread = xp_of(out).broadcast_to
    machine_of(out).multiply_add(out, spread(x, out.shape), spread(y, out.shape))


def _multiply_cross(out: Array, x0: Array, x1: Array, y0: Array, y1: Array) -> None:
    spread = xp_of(out).broadcast_to
    machine_of(out).multiply_cross(out, *(spread(a, out.shape) for a in (x0, x1, y0, y1)))


multiply = compiled("multiply", _product_shape, _multiply_add, _multiply_cross)


def _summed_shape(x: Shape, y: Shape) -> Shape:
    if x[:1] != y[:1]:
        raise ValueError(f"sum of products: {x} and {y} have different numbers of terms")
    return multiply.shape(x[1:], y[1:])


def _summed_add(out: Array, x: Array, y: Array) -> None:
    for j in range(len(x)):
        multiply.add_to(out, x[j, ...], y[j, ...])  # [j, ...] keeps a single number an array


def _summed_cross(out: Array, x0: Array, x1: Array, y0: Array, y1: Array) -> None:
    for j in range(len(x0)):
        multiply.cross_to(out, x0[j, ...], x1[j, ...], y0[j, ...], y1[j, ...])


# Products summed along the first axis: what is added costs nothing on the wire.
summed_products = Bilinear("sum of products", _summed_shape, _summed_add, _summed_cross)


def require_fraction(fraction: int) -> None:
    """Raise ValueError unless a truncation can drop so many bits."""
    if not 1 <= fraction <= 62:
        raise ValueError(f"a truncation drops 1 to 62 bits, not {fraction}")


def truncation_public(c: Array, rho: Array, mu: Array, fraction: int) -> Array:
    """(c >> f) - (2^62 >> f) - rho + ((1 - msb(c)) * mu << (64 - f)), for an opened masked value c.

    All uint64 of one shape; a new array is returned. One pass.
    Raises TypeError for other dtypes, ValueError for other shapes or a fraction outside 1..62.
    """
    require(c, rho, mu)
    return _truncate(machine_of(c).truncation_public, c, rho, mu, fraction)


def truncation_private(c: Array, rho: Array, mu: Array, fraction: int) -> Array:
    """((1 - msb(c)) * mu << (64 - f)) - rho: the share of the evaluator that adds nothing public.

    c and rho are uint64; mu may be any unsigned dtype: only its low f bits matter. One pass.
    Raises TypeError for other dtypes, ValueError for other shapes or a fraction outside 1..62.
    """
    require(c, rho)
    require(mu, dtypes=UNSIGNED_DTYPES)
    require_one_memory(c, mu)
    return _truncate(machine_of(c).truncation_private, c, rho, mu, fraction)


def _truncate(kernel: _Truncation, c: Array, rho: Array, mu: Array, fraction: int) -> Array:
    require_fraction(fraction)
    require_shape("rho", rho, c.shape)
    require_shape("mu", mu, c.shape)
    xp = xp_of(c)
    out: Array = xp.empty(c.shape, WORD)
    kernel(out, fraction, *map(xp.ascontiguousarray, (c, rho, mu)))
    return out


def select_term(c: Array, x: Array, x1: Array, beta: Array, w: Array) -> Array:
    """Return c * x + (1 - 2c) * (beta * x1 + w): an evaluator's part of a selection by bits c.

    x, x1, beta, w are uint64[n]; c is one bit plane, uint64[words(n)]. One pass.
    Raises TypeError for other dtypes, ValueError for sizes that do not fit.
    """
    require(c, x, x1, beta, w)
    if x.ndim != 1:
        raise ValueError(f"select_term takes flat arrays, not shape {x.shape}")
    require_shape("c", c, (words(x.size),))
    for name, a in (("x1", x1), ("beta", beta), ("w", w)):
        require_shape(name, a, x.shape)
    xp = xp_of(x)
    out: Array = xp.empty(x.shape, WORD)
    machine_of(x).select_term(out, *map(xp.ascontiguousarray, (c, x, x1, beta, w)))
    return out
