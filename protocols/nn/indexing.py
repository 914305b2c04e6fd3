"""Elements picked, put and masked by place. Only `scatter` to a secret place sends messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels.machines import as_array, beside, xp_of
from mpc.errors import NotOffered
from mpc.ring import Array
from protocols.nn.cell import Value
from protocols.nn.shape import move, pulled_back
from protocols.nn.tensor import implements
from protocols.secret import SecretArray, SecretBits


def _span(x: Value, dim: int, start: int | None, end: int | None, step: int) -> tuple[slice, ...]:
    index = [slice(None)] * len(x.shape)
    index[dim] = slice(start, end, step)
    return tuple(index)


@implements("slice.Tensor")
def slice_(
    x: Value, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Value:
    """A range along an axis."""
    index = _span(x, dim, start, end, step)
    return move(lambda v: v[index], x)


@implements("slice_backward")
def slice_backward(
    grad: Value, sizes: Sequence[int], dim: int, start: int, end: int, step: int
) -> Value:
    """Zero outside the range."""

    def back(v: Array) -> Array:
        out: Array = xp_of(v).zeros(tuple(sizes), v.dtype)
        out[_span(out, dim, start, end, step)] = v
        return out

    return move(back, grad)


@implements("select.int")
def select(x: Value, dim: int, index: int) -> Value:
    """One place along an axis."""
    return move(lambda v: as_array(np.take(v, index, axis=dim)), x)


@implements("select_backward")
def select_backward(grad: Value, sizes: Sequence[int], dim: int, index: int) -> Value:
    """Zero at the other places."""

    def back(v: Array) -> Array:
        out: Array = xp_of(v).zeros(tuple(sizes), v.dtype)
        out[_span(out, dim, index, index + 1 or None, 1)] = np.expand_dims(v, dim)
        return out

    return move(back, grad)


@implements("split.Tensor")
def split(x: Value, size: int, dim: int = 0) -> list[Value]:
    """Runs of equal length along an axis."""
    return [slice_(x, dim, at, at + size) for at in range(0, x.shape[dim], size)]


@implements("split_with_sizes")
def split_with_sizes(x: Value, sizes: Sequence[int], dim: int = 0) -> list[Value]:
    """Runs of given lengths along an axis."""
    ends = np.cumsum(sizes)
    return [slice_(x, dim, int(e - s), int(e)) for s, e in zip(sizes, ends, strict=True)]


@implements("unbind.int")
def unbind(x: Value, dim: int = 0) -> list[Value]:
    """The places along an axis."""
    return [select(x, dim, i) for i in range(x.shape[dim])]


@implements("index.Tensor")
def index(x: Value, indices: Sequence[Any]) -> Value:
    """Elements at public places."""
    at = _places(indices)
    return move(lambda v: v[at], x)


def _places(indices: Sequence[Any]) -> tuple[Any, ...]:
    if any(isinstance(i, (SecretArray, SecretBits)) for i in indices):
        raise NotOffered("elements at secret places: multiply by a one-hot secret instead")
    return tuple(slice(None) if i is None else np.asarray(i) for i in indices)


@implements("index_put", "_index_put_impl", "_unsafe_index_put")
def index_put(
    x: Value, indices: Sequence[Any], values: Value, accumulate: bool = False, unsafe: bool = False
) -> Value:
    """Values put, or added, at public places."""
    at = _places(indices)

    def put(v: Array, new: Array) -> Array:
        out = v.copy()
        if accumulate:
            np.add.at(out, at, new)
        else:
            out[at] = new
        return out

    return move(put, x, values)


@implements("index_add")
def index_add(x: Value, dim: int, places: Array, source: Value, alpha: float = 1) -> Value:
    """Slices added at public places along an axis."""

    def added(v: Array, new: Array) -> Array:
        out = np.moveaxis(v, dim, 0).copy()
        np.add.at(out, places, np.moveaxis(new, dim, 0))
        return np.moveaxis(out, 0, dim)

    return move(added, x, source if alpha == 1 else source * alpha)


@implements("index_select")
def index_select(x: Value, dim: int, places: Array) -> Value:
    """Elements at public places along an axis."""
    return move(lambda v: np.take(v, places, axis=dim), x)


@implements("gather")
def gather(x: Value, dim: int, places: Array, sparse_grad: bool = False) -> Value:
    """One element for each public place along an axis."""
    _places([places])
    axis = dim % max(len(x.shape), 1)
    inside = tuple(
        slice(None) if a == axis else slice(0, n) for a, n in enumerate(np.shape(places))
    )
    return move(lambda v: np.take_along_axis(v[inside], beside(places, v), axis), x)


@implements("scatter_add")
def scatter_add(x: Value, dim: int, places: Array, source: Value) -> Value:
    """Elements added at public places along an axis."""
    _places([places])
    shape = np.shape(places)
    at: list[Array] = list(np.indices(shape))
    at[dim % len(shape)] = places

    def added(v: Array, new: Array) -> Array:
        out = v.copy()
        np.add.at(out, tuple(at), new[tuple(slice(0, n) for n in shape)])
        return out

    return move(added, x, source)


@implements("scatter.src")
def scatter(x: Value, dim: int, places: Value, source: Value) -> Value:
    """One element for each secret place along an axis, as the gradient of a largest has it.

    Cost: `equals` of each place with every index, and one product.
    """
    if not isinstance(places, SecretArray) or places.shape[dim] != 1 or not _zero(x):
        raise NotOffered("scatter: only of one element along the axis, at a secret place, onto 0")
    shape = [1] * places.ndim
    shape[dim] = x.shape[dim]
    indices = np.arange(x.shape[dim]).reshape(shape)
    wide = places.broadcast_to(x.shape) - np.broadcast_to(indices, x.shape)
    return wide.equals(0).ring() * source


def _zero(x: Value) -> bool:
    return isinstance(x, np.ndarray) and not bool(x.any())


@implements("tril")
def tril(x: Value, diagonal: int = 0) -> Value:
    """Zero above a diagonal."""
    return move(lambda v: np.tril(v, diagonal), x)


@implements("triu")
def triu(x: Value, diagonal: int = 0) -> Value:
    """Zero below a diagonal."""
    return move(lambda v: np.triu(v, diagonal), x)


@implements("diagonal")
def diagonal(x: Value, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Value:
    """A diagonal of two axes, as a last axis."""
    return move(lambda v: np.diagonal(v, offset, dim1, dim2), x)


@implements("diagonal_backward")
def diagonal_backward(
    grad: Value, sizes: Sequence[int], offset: int, dim1: int, dim2: int
) -> Value:
    """Zero beside the diagonal."""
    return pulled_back(lambda v: np.diagonal(v, offset, dim1, dim2), tuple(sizes), grad)
