"""Edges and resolutions: padding, upsampling, pixels and channels. None of them sends a message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from mpc.errors import NotOffered
from mpc.ring import Array
from protocols.nn.cell import Value
from protocols.nn.shape import move, pulled_back
from protocols.nn.tensor import implements


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
        return pulled_back(padded(padding, len(x.shape)), tuple(x.shape), grad)


for _dims in (1, 2, 3):
    _register_padding("reflection", "reflect", _dims)
    _register_padding("replication", "edge", _dims)


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
