"""Comparisons, logic, and choices by either: `where`, the larger of two, bounds."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.bits import to_planes
from mpc.errors import NotOffered
from mpc.ring import WORD
from mpc.shares import Share
from protocols import functions as F
from protocols.nn.pointwise import Number, as_number, secret_like
from protocols.nn.tensor import implements
from protocols.secret import FRACTION, SecretArray, SecretBits, constant


def _two(x: Number, y: Number) -> tuple[SecretArray[Any], SecretArray[Any]]:
    like = x if isinstance(x, SecretArray) else y
    a, b = secret_like(x, like), secret_like(y, like)
    shape = np.broadcast_shapes(a.shape, b.shape)
    return a.broadcast_to(shape), b.broadcast_to(shape)


@implements("gt.Scalar", "gt.Tensor")
def greater(x: Number, y: Number) -> SecretBits[Any]:
    """X > y."""
    a, b = _two(x, y)
    return a > b


@implements("lt.Scalar", "lt.Tensor")
def less(x: Number, y: Number) -> SecretBits[Any]:
    """X < y."""
    a, b = _two(x, y)
    return a < b


@implements("ge.Scalar", "ge.Tensor")
def at_least(x: Number, y: Number) -> Number:
    """X >= y."""
    return ~less(x, y)


@implements("le.Scalar", "le.Tensor")
def at_most(x: Number, y: Number) -> Number:
    """X <= y."""
    return ~greater(x, y)


@implements("eq.Scalar", "eq.Tensor")
def equal(x: Number, y: Number) -> SecretBits[Any]:
    """X = y, exactly."""
    a, b = _two(x, y)
    return a.equals(b)


@implements("ne.Scalar", "ne.Tensor")
def unequal(x: Number, y: Number) -> Number:
    """X ≠ y, exactly."""
    return ~equal(x, y)


@implements("logical_not", "bitwise_not")
def logical_not(x: SecretBits[Any]) -> SecretBits[Any]:
    """Not."""
    return ~x


@implements("logical_and", "bitwise_and.Tensor")
def logical_and(x: Any, y: Any) -> SecretBits[Any]:
    """And."""
    a, b = _two_bits(x, y)
    return a & b


@implements("logical_or", "bitwise_or.Tensor")
def logical_or(x: Any, y: Any) -> SecretBits[Any]:
    """Or."""
    a, b = _two_bits(x, y)
    return a | b


@implements("logical_xor", "bitwise_xor.Tensor")
def logical_xor(x: Any, y: Any) -> SecretBits[Any]:
    """Exclusive or."""
    a, b = _two_bits(x, y)
    return a ^ b


def _two_bits(x: Any, y: Any) -> tuple[SecretBits[Any], SecretBits[Any]]:
    protocol = next(v.protocol for v in (x, y) if not isinstance(v, np.ndarray))
    shape = np.broadcast_shapes(x.shape, y.shape)

    def bits(v: Any) -> SecretBits[Any]:
        if isinstance(v, SecretBits):
            return v.broadcast_to(shape)
        if isinstance(v, SecretArray):
            raise NotOffered("logic on secret numbers: compare them first, as in x > 0")
        planes = to_planes(np.broadcast_to(v, shape).astype(WORD), 1)
        return SecretBits(protocol, protocol.constant_bits(planes, shape))

    return bits(x), bits(y)


@implements("where.self")
def where(condition: Any, x: Number | SecretBits[Any], y: Number | SecretBits[Any]) -> Number:
    """X where the condition holds, y elsewhere; the condition may be secret or public."""
    a, b = as_number(x), as_number(y)
    if isinstance(condition, SecretBits):
        shape = np.broadcast_shapes(condition.shape, a.shape, b.shape)
        a, b = (_secret(v, condition.protocol).broadcast_to(shape) for v in (a, b))
        return F.where(condition.broadcast_to(shape), a, b)
    chosen = np.asarray(condition, np.int64)
    return a * chosen + b * (1 - chosen)


@implements("masked_fill.Scalar", "masked_fill.Tensor")
def masked_fill(x: Number | SecretBits[Any], mask: Any, value: Number) -> Number:
    """X, and a value where the mask, which may be secret or public, is true."""
    return where(mask, np.asarray(value) if np.isscalar(value) else value, x)


def _secret(x: Number, protocol: Any) -> SecretArray[Any]:
    if isinstance(x, SecretArray):
        return x
    whole = np.asarray(x).dtype.kind in "iub"
    return constant(protocol, x, 0 if whole else FRACTION)


@implements("maximum", "clamp_min.Tensor")
def maximum(x: SecretArray[Share], y: Number) -> SecretArray[Share]:
    """The larger of two."""
    return F.maximum(*_two(x, y))


@implements("minimum", "clamp_max.Tensor")
def minimum(x: SecretArray[Share], y: Number) -> SecretArray[Share]:
    """The smaller of two."""
    return F.minimum(*_two(x, y))


@implements("clamp")
def clamp(
    x: SecretArray[Share], low: float | None = None, high: float | None = None
) -> SecretArray[Share]:
    """X within public bounds."""
    return F.clamp(x, low, high)


@implements("hardtanh")
def hardtanh(x: SecretArray[Share], low: float = -1, high: float = 1) -> SecretArray[Share]:
    """X within public bounds."""
    return F.clamp(x, low, high)


@implements("clamp_min")
def clamp_min(x: SecretArray[Share], low: float) -> SecretArray[Share]:
    """X, at least low."""
    return F.clamp(x, low)


@implements("clamp_max")
def clamp_max(x: SecretArray[Share], high: float) -> SecretArray[Share]:
    """X, at most high."""
    return F.clamp(x, None, high)
