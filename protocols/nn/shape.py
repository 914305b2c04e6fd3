"""Operators that move elements about. None of them sends a message."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch

from mpc.errors import NotOffered
from mpc.ring import Array, Shape
from protocols.nn.tensor import Value, implements
from protocols.secret import FRACTION, SecretArray, SecretBits


def move(f: Callable[..., Array], x: Value, *others: Value) -> Value:
    """Apply a map that only moves elements, or sets some to zero, to a secret or a public array."""
    parts = (x, *others)
    if hasattr(x, "moved"):  # the winners of a max-pool: max_pool1d moves them, nobody reads them
        return x.moved(f)
    like = next((p for p in parts if isinstance(p, SecretArray)), None)
    if all(isinstance(p, SecretBits) for p in parts):
        return x.map(f, *others)
    if any(isinstance(p, SecretBits) for p in parts):
        return move(f, *(p.ring() if isinstance(p, SecretBits) else p for p in parts))
    if like is None:
        return f(*parts)
    first, *rest = (like._secret(p) for p in parts)
    return first.map(f, *rest)


@implements("clone", "contiguous", "lift_fresh")
def same(x: Value, memory_format: Any = None) -> Value:
    """The value itself: shares are never changed in place."""
    return x


@implements("_to_copy")
def to_copy(x: Value, dtype: Any = None, **_: Any) -> Value:
    """Another type for the same numbers; a conversion to integers would round and is refused."""
    if dtype is not None and not dtype.is_floating_point and not _whole(x):
        if isinstance(x, np.ndarray):
            return x.astype(np.bool_ if dtype == torch.bool else np.int64)
        raise NotOffered(
            f"conversion of secret reals to {dtype}: compare or round in the clear instead"
        )
    if dtype is None or isinstance(x, np.ndarray):
        return x
    if dtype == torch.bool:
        return x if isinstance(x, SecretBits) else ~x.equals(0)
    number = x.ring() if isinstance(x, SecretBits) else x
    return number.finer(FRACTION) if dtype.is_floating_point and _whole(x) else number


def _whole(x: Value) -> bool:
    if isinstance(x, np.ndarray):
        return bool(x.dtype.kind != "f")
    return isinstance(x, SecretBits) or (isinstance(x, SecretArray) and x.fraction == 0)


@implements("copy_")
def copy(target: Value, source: Value, non_blocking: bool = False) -> Value:
    """The source, in the target's shape."""
    return move(lambda v: np.broadcast_to(v, target.shape), source)


@implements("view", "_unsafe_view", "reshape")
def view(x: Value, size: Sequence[int]) -> Value:
    """Another shape."""
    return move(lambda v: v.reshape(tuple(size)), x)


@implements("t")
def t(x: Value) -> Value:
    """Matrix transpose."""
    return move(np.transpose, x)


@implements("transpose.int")
def transpose(x: Value, a: int, b: int) -> Value:
    """Two axes swapped."""
    return move(lambda v: np.swapaxes(v, a, b), x)


@implements("permute")
def permute(x: Value, dims: Sequence[int]) -> Value:
    """Axes in another order."""
    return move(lambda v: np.transpose(v, tuple(dims)), x)


@implements("expand")
def expand(x: Value, size: Sequence[int], implicit: bool = False) -> Value:
    """Single axes repeated; -1 keeps an axis."""
    shape = (1,) * (len(size) - len(x.shape)) + tuple(x.shape)
    full = tuple(n if s == -1 else s for s, n in zip(size, shape, strict=True))
    return move(lambda v: np.broadcast_to(v, full), x)


@implements("repeat")
def repeat(x: Value, repeats: Sequence[int]) -> Value:
    """Tiled."""
    return move(lambda v: np.tile(v, tuple(repeats)), x)


@implements("unsqueeze")
def unsqueeze(x: Value, dim: int) -> Value:
    """A new axis of one."""
    return move(lambda v: np.expand_dims(v, dim), x)


@implements("squeeze.dim", "squeeze.dims", "squeeze")
def squeeze(x: Value, dim: int | Sequence[int] | None = None) -> Value:
    """Axes of one dropped."""
    rank = len(x.shape)
    given = range(rank) if dim is None else [dim] if isinstance(dim, int) else dim
    axes = tuple(d % rank for d in given if x.shape[d] == 1)
    return move(lambda v: np.squeeze(v, axes), x)


@implements("cat")
def cat(tensors: Sequence[Value], dim: int = 0) -> Value:
    """Joined along an axis; PyTorch's empty placeholders are dropped."""
    kept = [x for x in tensors if tuple(x.shape) != (0,)]
    return move(lambda *parts: np.concatenate(parts, axis=dim), *kept)


@implements("stack")
def stack(tensors: Sequence[Value], dim: int = 0) -> Value:
    """Joined along a new axis."""
    return move(lambda *parts: np.stack(parts, axis=dim), *tensors)


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
        out = np.zeros(tuple(sizes), v.dtype)
        out[_span(out, dim, start, end, step)] = v
        return out

    return move(back, grad)


@implements("select.int")
def select(x: Value, dim: int, index: int) -> Value:
    """One place along an axis."""
    return move(lambda v: np.asarray(np.take(v, index, axis=dim)), x)


@implements("select_backward")
def select_backward(grad: Value, sizes: Sequence[int], dim: int, index: int) -> Value:
    """Zero at the other places."""

    def back(v: Array) -> Array:
        out = np.zeros(tuple(sizes), v.dtype)
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


@implements("gather")
def gather(x: Value, dim: int, places: Array, sparse_grad: bool = False) -> Value:
    """One element for each public place along an axis."""
    _places([places])
    axis = dim % max(len(x.shape), 1)
    inside = tuple(
        slice(None) if a == axis else slice(0, n) for a, n in enumerate(np.shape(places))
    )
    return move(lambda v: np.take_along_axis(v[inside], places, axis), x)


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


@implements("index_select")
def index_select(x: Value, dim: int, places: Array) -> Value:
    """Elements at public places along an axis."""
    return move(lambda v: np.take(v, places, axis=dim), x)


@implements("cumsum")
def cumsum(x: Value, dim: int, dtype: Any = None) -> Value:
    """Running sums along an axis."""
    number = x.ring() if isinstance(x, SecretBits) else x
    return move(lambda v: np.cumsum(v, dim, dtype=v.dtype), number)


@implements("roll")
def roll(x: Value, shifts: Sequence[int], dims: Sequence[int] = ()) -> Value:
    """Elements moved around along axes."""
    return move(lambda v: np.roll(v, tuple(shifts), tuple(dims) or None), x)


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


def _pulled_back(f: Callable[[Array], Array], shape: Shape, grad: Value) -> Value:
    """The transpose of a map f that only moves elements: each goes back, added up."""
    places = f(np.arange(math.prod(shape)).reshape(shape)).reshape(-1)

    def back(v: Array) -> Array:
        out = np.zeros(math.prod(shape), v.dtype)
        np.add.at(out, places, v.reshape(-1))
        return out.reshape(shape)

    return move(back, grad)


@implements("diagonal_backward")
def diagonal_backward(
    grad: Value, sizes: Sequence[int], offset: int, dim1: int, dim2: int
) -> Value:
    """Zero beside the diagonal."""
    return _pulled_back(lambda v: np.diagonal(v, offset, dim1, dim2), tuple(sizes), grad)


@implements("pixel_shuffle")
def pixel_shuffle(x: Value, factor: int) -> Value:
    """Channels to pixels."""
    *lead, c, h, w = x.shape
    k = len(lead)
    split = (*lead, c // factor**2, factor, factor, h, w)
    order = (*range(k), k, k + 3, k + 1, k + 4, k + 2)
    shape = (*lead, c // factor**2, h * factor, w * factor)
    return move(lambda v: v.reshape(split).transpose(order).reshape(shape), x)


@implements("pixel_unshuffle")
def pixel_unshuffle(x: Value, factor: int) -> Value:
    """Pixels to channels."""
    *lead, c, h, w = x.shape
    k = len(lead)
    split = (*lead, c, h // factor, factor, w // factor, factor)
    order = (*range(k), k, k + 2, k + 4, k + 1, k + 3)
    shape = (*lead, c * factor**2, h // factor, w // factor)
    return move(lambda v: v.reshape(split).transpose(order).reshape(shape), x)


def _edges(padding: Sequence[int], rank: int) -> list[tuple[int, int]]:
    widths = [(0, 0)] * rank
    for i in range(len(padding) // 2):
        widths[-1 - i] = (padding[2 * i], padding[2 * i + 1])
    return widths


def _register_padding(kind: str, mode: Literal["reflect", "edge"], dims: int) -> None:
    def padded(padding: Sequence[int], rank: int) -> Callable[[Array], Array]:
        return lambda v: np.pad(v, _edges(padding, rank), mode)

    @implements(f"{kind}_pad{dims}d")
    def grow(x: Value, padding: Sequence[int]) -> Value:
        """Padded by the values at the edge."""
        return move(padded(padding, len(x.shape)), x)

    @implements(f"{kind}_pad{dims}d_backward")
    def grow_backward(grad: Value, x: Value, padding: Sequence[int]) -> Value:
        """Sums over the copies."""
        return _pulled_back(padded(padding, len(x.shape)), tuple(x.shape), grad)


for _dims in (1, 2, 3):
    _register_padding("reflection", "reflect", _dims)
    _register_padding("replication", "edge", _dims)


@implements("flip")
def flip(x: Value, dims: Sequence[int]) -> Value:
    """Axes reversed."""
    return move(lambda v: np.flip(v, tuple(dims)), x)


@implements("constant_pad_nd")
def pad(x: Value, padding: Sequence[int], value: float = 0) -> Value:
    """Padded (or cropped, where negative) by a public value, last axis first."""
    widths = _edges(padding, len(x.shape))
    crop = tuple(slice(max(-a, 0), -max(-b, 0) or None) for a, b in widths)
    grow = [(max(a, 0), max(b, 0)) for a, b in widths]
    padded = move(lambda v: np.pad(v[crop], grow), x)
    if not value:
        return padded
    inside = np.pad(
        np.zeros(np.empty(tuple(x.shape), np.bool_)[crop].shape), grow, constant_values=1
    )
    return padded + inside * value


@implements("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d")
def upsample_nearest(x: Value, size: Sequence[int], *scales: float | None) -> Value:
    """Nearest neighbours, for whole factors."""
    factors = [s // n for s, n in zip(size, x.shape[2:], strict=True)]
    if any(f * n != s for f, n, s in zip(factors, x.shape[2:], size, strict=True)):
        raise NotOffered(f"upsampling of {tuple(x.shape[2:])} to {tuple(size)}: use a whole factor")

    def grown(v: Array) -> Array:
        for axis, factor in enumerate(factors, start=2):
            v = np.repeat(v, factor, axis=axis)
        return v

    return move(grown, x)


@implements(
    "upsample_nearest1d_backward", "upsample_nearest2d_backward", "upsample_nearest3d_backward"
)
def upsample_nearest_backward(
    grad: Value, size: Sequence[int], input_size: Sequence[int], *scales: float | None
) -> Value:
    """Sums over the copies."""
    n, c, *spatial = input_size
    shape, axes = [n, c], []
    for length, full in zip(spatial, size, strict=True):
        axes.append(len(shape) + 1)
        shape += [length, full // length]
    return move(lambda v: v.reshape(shape).sum(tuple(axes), dtype=v.dtype), grad)


# Public arrays in the shape of a secret one.


def _filled(x: Value, value: float, dtype: Any) -> Array:
    whole = _whole(x) if dtype is None else not dtype.is_floating_point
    return np.full(tuple(x.shape), value, np.int64 if whole else np.float64)


@implements("zeros_like", "empty_like")
def zeros_like(x: Value, dtype: Any = None, **_: Any) -> Array:
    """Zeros; public until a secret is written into them."""
    return _filled(x, 0, dtype)


@implements("ones_like")
def ones_like(x: Value, dtype: Any = None, **_: Any) -> Array:
    """Ones; public."""
    return _filled(x, 1, dtype)


@implements("full_like")
def full_like(x: Value, value: float, dtype: Any = None, **_: Any) -> Array:
    """One public value."""
    return _filled(x, value, dtype)


@implements("new_zeros", "new_empty")
def new_zeros(x: Value, size: Sequence[int], dtype: Any = None, **_: Any) -> Array:
    """Zeros of another shape; public."""
    return _zeros(x, size, dtype)


def _zeros(x: Value, size: Sequence[int], dtype: Any) -> Array:
    whole = _whole(x) if dtype is None else not dtype.is_floating_point
    return np.zeros(tuple(size), np.int64 if whole else np.float64)


@implements("new_ones")
def new_ones(x: Value, size: Sequence[int], dtype: Any = None, **_: Any) -> Array:
    """Ones of another shape; public."""
    return np.ones_like(_zeros(x, size, dtype))


@implements("new_full")
def new_full(x: Value, size: Sequence[int], value: float, dtype: Any = None, **_: Any) -> Array:
    """One public value in another shape."""
    return np.full_like(_zeros(x, size, dtype), value)


@implements("new_empty_strided")
def new_strided(
    x: Value, size: Sequence[int], stride: Sequence[int], dtype: Any = None, **_: Any
) -> Array:
    """Zeros of another shape; secret values have no strides."""
    return _zeros(x, size, dtype)


@implements("zero_")
def zero(x: Value) -> Array:
    """Zeros; public until a secret is written into them."""
    return _filled(x, 0, None)


@implements("fill_.Scalar")
def fill(x: Value, value: float) -> Array:
    """One public value."""
    return _filled(x, value, None)
