"""Views and moves of whole tensors. None of them sends a message."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kernels.machines import xp_of
from mpc.ring import Array, Shape
from protocols.nn.cell import Value
from protocols.nn.tensor import implements
from protocols.secret import SecretArray, SecretBits


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


def pulled_back(f: Callable[[Array], Array], shape: Shape, grad: Value) -> Value:
    """The transpose of a map f that only moves elements: each goes back, added up."""
    places = f(np.arange(math.prod(shape)).reshape(shape)).reshape(-1)

    def back(v: Array) -> Array:
        out: Array = xp_of(v).zeros(math.prod(shape), v.dtype)
        np.add.at(out, places, v.reshape(-1))
        return out.reshape(shape)

    return move(back, grad)


@implements("clone", "contiguous", "lift_fresh", lazy=True)
def same(x: Value, memory_format: Any = None) -> Value:
    """The value itself: shares are never changed in place."""
    return x


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


@implements("roll")
def roll(x: Value, shifts: Sequence[int], dims: Sequence[int] = ()) -> Value:
    """Elements moved around along axes."""
    return move(lambda v: np.roll(v, tuple(shifts), tuple(dims) or None), x)


@implements("flip")
def flip(x: Value, dims: Sequence[int]) -> Value:
    """Axes reversed."""
    return move(lambda v: np.flip(v, tuple(dims)), x)
