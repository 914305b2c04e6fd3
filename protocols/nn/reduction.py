"""Over axes: sums and running sums, means, variances, largest elements and their places."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from mpc.errors import NotOffered
from mpc.shares import Share
from protocols import functions as F
from protocols.functions import extremes
from protocols.nn.pointwise import Number, as_number
from protocols.nn.shape import move
from protocols.nn.tensor import implements
from protocols.secret import SecretArray

Axes = list[int] | int | None


def axes_of(x: Number, dim: Axes) -> tuple[int, ...]:
    """The axes that a `dim` argument names; all of them for None or an empty list."""
    rank = np.ndim(x) if isinstance(x, np.ndarray) else x.ndim
    given = [dim] if isinstance(dim, int) else dim
    return tuple(d % max(rank, 1) for d in given) if given else tuple(range(rank))


@implements("sum", "sum.dim_IntList")
def total(x: Number, dim: Axes = None, keepdim: bool = False, dtype: Any = None) -> Number:
    """Sum over axes."""
    return as_number(x).sum(axis=axes_of(x, dim), keepdims=keepdim)


@implements("mean", "mean.dim")
def mean(x: Number, dim: Axes = None, keepdim: bool = False, dtype: Any = None) -> Number:
    """Mean over axes."""
    return as_number(x).mean(axis=axes_of(x, dim), keepdims=keepdim)


@implements("var.correction")
def variance(
    x: SecretArray[Share], dim: Axes = None, correction: float | None = 1, keepdim: bool = False
) -> SecretArray[Share]:
    """Variance over axes."""
    axes = axes_of(x, dim)
    count = int(np.prod([x.shape[a] for a in axes]))
    centred = x - x.mean(axes, keepdims=True)
    degrees = count - (1 if correction is None else correction)
    if degrees <= 0:
        raise NotOffered(f"the variance of {count} numbers less {correction}: take more")
    return (centred * centred).sum(axes, keepdims=keepdim) * (1 / degrees)


@implements("std.correction")
def deviation(
    x: SecretArray[Share], dim: Axes = None, correction: float | None = 1, keepdim: bool = False
) -> SecretArray[Share]:
    """Standard deviation over axes."""
    return F.sqrt(variance(x, dim, correction, keepdim))


@implements("cumsum")
def cumsum(x: Number, dim: int, dtype: Any = None) -> Number:
    """Running sums along an axis."""
    return move(lambda v: np.cumsum(v, dim, dtype=v.dtype), as_number(x))


@implements("amax")
def largest(x: SecretArray[Share], dim: Axes = None, keepdim: bool = False) -> SecretArray[Share]:
    """Largest over axes."""
    for axis in sorted(axes_of(x, dim), reverse=True):
        x = F.maximum_along(x, axis)
        x = x.map(partial(np.expand_dims, axis=axis)) if keepdim else x
    return x


@implements("max")
def largest_of_all(x: SecretArray[Share]) -> SecretArray[Share]:
    """Largest of all elements."""
    return F.maximum_along(x.reshape(-1), 0)


@implements("min")
def smallest_of_all(x: SecretArray[Share]) -> Number:
    """Smallest of all elements."""
    return -largest_of_all(-x)


@implements("amin")
def smallest(x: SecretArray[Share], dim: Axes = None, keepdim: bool = False) -> Number:
    """Smallest over axes."""
    return -largest(-x, dim, keepdim)


@implements("max.dim")
def largest_and_place(
    x: SecretArray[Share], dim: int, keepdim: bool = False
) -> tuple[SecretArray[Share], SecretArray[Share]]:
    """Largest along an axis, and its place as a secret integer."""
    value, place = extremes.largest_and_place(x, dim)
    if keepdim:
        value, place = (a.map(lambda v: np.expand_dims(v, dim)) for a in (value, place))
    return value, place


@implements("min.dim")
def smallest_and_place(
    x: SecretArray[Share], dim: int, keepdim: bool = False
) -> tuple[SecretArray[Share], SecretArray[Share]]:
    """Smallest along an axis, and its place as a secret integer."""
    value, place = largest_and_place(-x, dim, keepdim)
    return -value, place


@implements("logsumexp")
def logsumexp(x: SecretArray[Share], dim: Axes, keepdim: bool = False) -> SecretArray[Share]:
    """Logarithm of the sum of exponentials along one axis."""
    axes = axes_of(x, dim)
    if len(axes) != 1:
        raise NotOffered(f"logsumexp over {axes}: one axis at a time")
    log = F.log_softmax(x, axes[0])
    first = (x - log).map(lambda v: v.take([0], axes[0]))
    return first if keepdim else first.map(lambda v: np.squeeze(v, axes[0]))


@implements("argmax")
def argmax(
    x: SecretArray[Share], dim: int | None = None, keepdim: bool = False
) -> SecretArray[Share]:
    """Place of the largest along an axis, as a secret integer."""
    if dim is None:
        return F.argmax(x.reshape(-1), 0)
    place = F.argmax(x, dim)
    return place.map(lambda v: np.expand_dims(v, dim)) if keepdim else place
