"""Numbers of another type, and public arrays in the shape of a secret one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mpc.errors import NotOffered
from mpc.ring import Array
from protocols.nn.cell import Value
from protocols.nn.tensor import implements
from protocols.secret import FRACTION, SecretArray, SecretBits


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


# Public arrays.


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
