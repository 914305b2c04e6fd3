"""Operators that move elements about. None of them sends a message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mpc.errors import NotOffered
from mpc.ring import Array
from protocols.nn.tensor import Value, implements
from protocols.secret import SecretArray, SecretBits


def move(f: Callable[..., Array], x: Value, *others: Value) -> Value:
    """Apply a map that only moves elements, or sets some to zero, to a secret or a public array."""
    parts = (x, *others)
    if hasattr(
        x, "moved"
    ):  # the winners of a max-pool: nobody reads their places, but max_pool1d moves them
        return x.moved(f)
    like = next((p for p in parts if isinstance(p, SecretArray)), None)
    if any(isinstance(p, SecretBits) for p in parts):
        return move(f, *(p.ring() if isinstance(p, SecretBits) else p for p in parts))
    if like is None:
        return f(*parts)
    first, *rest = (like._secret(p) for p in parts)
    return first.map(f, *rest)


@implements("detach", "alias", "clone", "contiguous", "lift_fresh")
def same(x: Value, memory_format: Any = None) -> Value:
    """The value itself: shares are never changed in place."""
    return x


@implements("_to_copy")
def to_copy(x: Value, dtype: Any = None, **_: Any) -> Value:
    """Another type for the same numbers; a conversion to integers would round and is refused."""
    if dtype is not None and not dtype.is_floating_point and not _whole(x):
        raise NotOffered(
            f"conversion of secret reals to {dtype}: compare or round in the clear instead"
        )
    if (
        dtype is not None
        and dtype.is_floating_point
        and _whole(x)
        and not isinstance(x, np.ndarray)
    ):
        ring = x.ring() if isinstance(x, SecretBits) else x
        return ring.finer(16)
    return x


def _whole(x: Value) -> bool:
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
    if any(isinstance(i, (SecretArray, SecretBits)) for i in indices):
        raise NotOffered("elements at secret places: multiply by a one-hot secret instead")
    at = tuple(slice(None) if i is None else np.asarray(i) for i in indices)
    return move(lambda v: v[at], x)


@implements("index_select")
def index_select(x: Value, dim: int, places: Array) -> Value:
    """Elements at public places along an axis."""
    return move(lambda v: np.take(v, places, axis=dim), x)


@implements("flip")
def flip(x: Value, dims: Sequence[int]) -> Value:
    """Axes reversed."""
    return move(lambda v: np.flip(v, tuple(dims)), x)


@implements("constant_pad_nd")
def pad(x: Value, padding: Sequence[int], value: float = 0) -> Value:
    """Padded (or cropped, where negative) by a public value, last axis first."""
    widths = [(0, 0)] * len(x.shape)
    for i in range(len(padding) // 2):
        widths[-1 - i] = (padding[2 * i], padding[2 * i + 1])
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
    kind = np.int64 if dtype is not None and not dtype.is_floating_point else np.float64
    return np.full(tuple(x.shape), value, kind)


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
    return _filled(np.empty(tuple(size)), 0, dtype)


@implements("zero_")
def zero(x: Value) -> Array:
    """Zeros; public until a secret is written into them."""
    return _filled(x, 0, None)


@implements("fill_.Scalar")
def fill(x: Value, value: float) -> Array:
    """One public value."""
    return _filled(x, value, None)
