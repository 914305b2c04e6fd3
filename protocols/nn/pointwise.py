"""Element-wise operators, comparisons and sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.ring import multiply
from mpc.errors import NotOffered
from mpc.shares import Share
from protocols import functions as F
from protocols.nn.tensor import implements
from protocols.secret import FRACTION, Public, SecretArray, SecretBits

Number = SecretArray[Any] | Public
Axes = list[int] | int | None


def secret_like(x: Number, like: SecretArray[Share]) -> SecretArray[Share]:
    """X as a secret array, shared as a public constant if it is public."""
    return like._secret(x)


def _number(x: Number | SecretBits[Any]) -> Number:
    return x.ring() if isinstance(x, SecretBits) else x


def scaled(x: Number, factor: float) -> Number:
    """X times a public number; nothing is done for 1."""
    return x if factor == 1 else x * factor


@implements("add.Tensor", "add.Scalar")
def add(x: Number, y: Number, alpha: float = 1) -> Number:
    """X + alpha·y."""
    return _number(x) + scaled(_number(y), alpha)


@implements("sub.Tensor", "sub.Scalar")
def subtract(x: Number, y: Number, alpha: float = 1) -> Number:
    """X - alpha·y."""
    return _number(x) - scaled(_number(y), alpha)


@implements("rsub.Scalar", "rsub.Tensor")
def subtract_from(x: Number, y: Number, alpha: float = 1) -> Number:
    """Y - alpha·x."""
    return y - scaled(x, alpha)


@implements("mul.Tensor", "mul.Scalar")
def product(x: Number, y: Number) -> Number:
    """x·y; a product with itself is a square."""
    return _number(x) * _number(y)


@implements("div.Tensor", "div.Scalar")
def quotient(x: Number, y: Number) -> Number:
    """x / y. A divisor with more fractional bits than usual, such as Adam's root, keeps them."""
    if not isinstance(y, SecretArray):
        return x / y
    more = max(y.fraction - FRACTION, 0)
    return F.divide(secret_like(x, y).finer(FRACTION + more).times_power(more), y.times_power(more))


@implements("neg")
def negate(x: Number) -> Number:
    """-x."""
    return -x


@implements("square")
def square(x: Number) -> Number:
    """x²."""
    return x * x


@implements("pow.Tensor_Scalar")
def power(x: SecretArray[Share], exponent: float) -> SecretArray[Share]:
    """x to a public power: whole numbers from 1 to 8, ½, -½ and -1."""
    special = {0.5: F.sqrt, -0.5: F.rsqrt, -1: F.reciprocal}
    if exponent in special:
        return special[exponent](x)
    if exponent not in range(1, 9):
        raise NotOffered(f"power {exponent}: choose a whole number from 1 to 8, 0.5, -0.5 or -1")
    result, base, left = None, x, int(exponent)
    while left:
        if left % 2:
            result = base if result is None else result * base
        left //= 2
        base = base * base if left else base
    return result if result is not None else x


@implements("addcmul")
def add_product(x: Number, a: Number, b: Number, value: float = 1) -> Number:
    """X + value·a·b. A square keeps all its fractional bits: Adam's second moments are too small for fewer."""
    if a is b and isinstance(a, SecretArray) and a.fraction == FRACTION:
        (share,) = a.protocol.bilinear(multiply, (a.share, a.share))
        return scaled(SecretArray(a.protocol, share, 2 * FRACTION), value) + x
    return x + scaled(a * b, value)


@implements("addcdiv")
def add_quotient(x: Number, a: Number, b: Number, value: float = 1) -> Number:
    """X + value·a/b."""
    return x + scaled(quotient(a, b), value)


@implements("lerp.Scalar")
def interpolate(x: Number, end: Number, weight: float) -> Number:
    """X + weight·(end - x)."""
    return x + (end - x) * weight


# Functions of one argument.

for _names, _function in {
    ("abs",): F.absolute,
    ("reciprocal",): F.reciprocal,
    ("rsqrt",): F.rsqrt,
    ("exp",): F.exp,
    ("log",): F.log,
    ("erf",): F.erf,
    ("sign", "sgn"): F.sign,
}.items():
    implements(*_names)(_function)


@implements("sqrt")
def square_root(x: SecretArray[Share]) -> SecretArray[Share]:
    """√x. The root of a number with twice the fractional bits, such as Adam's second moment, has half more."""
    if x.fraction != 2 * FRACTION:
        return F.sqrt(x)
    return F.sqrt(x.times_power(FRACTION)).times_power(-FRACTION // 2)


@implements("maximum")
def maximum(x: SecretArray[Share], y: Number) -> SecretArray[Share]:
    """The larger of two."""
    return F.maximum(*_two(x, y))


@implements("minimum")
def minimum(x: SecretArray[Share], y: Number) -> SecretArray[Share]:
    """The smaller of two."""
    return F.minimum(*_two(x, y))


@implements("clamp", "hardtanh")
def clamp(
    x: SecretArray[Share], low: float | None = None, high: float | None = None
) -> SecretArray[Share]:
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


def _two(x: Number, y: Number) -> tuple[SecretArray[Any], SecretArray[Any]]:
    like = x if isinstance(x, SecretArray) else y
    a, b = secret_like(x, like), secret_like(y, like)
    shape = np.broadcast_shapes(a.shape, b.shape)
    return a.broadcast_to(shape), b.broadcast_to(shape)


# Comparisons.


@implements("gt.Scalar", "gt.Tensor")
def greater(x: Number, y: Number) -> SecretBits[Any]:
    """X > y."""
    return (lambda a, b: a > b)(*_two(x, y))


@implements("lt.Scalar", "lt.Tensor")
def less(x: Number, y: Number) -> SecretBits[Any]:
    """X < y."""
    return (lambda a, b: a < b)(*_two(x, y))


@implements("ge.Scalar", "ge.Tensor")
def at_least(x: Number, y: Number) -> SecretBits[Any]:
    """X >= y."""
    return ~less(x, y)


@implements("le.Scalar", "le.Tensor")
def at_most(x: Number, y: Number) -> SecretBits[Any]:
    """X <= y."""
    return ~greater(x, y)


@implements("eq.Scalar", "eq.Tensor")
def equal(x: Number, y: Number) -> SecretBits[Any]:
    """X = y, exactly."""
    return (lambda a, b: a.equals(b))(*_two(x, y))


@implements("ne.Scalar", "ne.Tensor")
def unequal(x: Number, y: Number) -> SecretBits[Any]:
    """X ≠ y, exactly."""
    return ~equal(x, y)


@implements("where.self")
def where(condition: Any, x: Number, y: Number) -> Number:
    """X where the condition holds, y elsewhere; the condition may be secret or public."""
    if isinstance(condition, SecretBits):
        a, b = _two(x, y)
        return F.where(condition, a.broadcast_to(condition.shape), b.broadcast_to(condition.shape))
    chosen = np.asarray(condition, np.int64)
    return x * chosen + y * (1 - chosen)


@implements("logical_not", "bitwise_not")
def logical_not(x: SecretBits[Any]) -> SecretBits[Any]:
    """Not."""
    return ~x


# Sums.


def axes_of(x: Number, dim: Axes) -> tuple[int, ...]:
    """The axes that a `dim` argument names; all of them for None or an empty list."""
    rank = np.ndim(x) if isinstance(x, np.ndarray) else x.ndim
    given = [dim] if isinstance(dim, int) else dim
    return tuple(d % max(rank, 1) for d in given) if given else tuple(range(rank))


@implements("sum", "sum.dim_IntList")
def total(x: Number, dim: Axes = None, keepdim: bool = False, dtype: Any = None) -> Number:
    """Sum over axes."""
    return _number(x).sum(axis=axes_of(x, dim), keepdims=keepdim)


@implements("mean", "mean.dim")
def mean(x: Number, dim: Axes = None, keepdim: bool = False, dtype: Any = None) -> Number:
    """Mean over axes."""
    return _number(x).mean(axis=axes_of(x, dim), keepdims=keepdim)


@implements("var.correction")
def variance(
    x: SecretArray[Share], dim: Axes = None, correction: float | None = 1, keepdim: bool = False
) -> SecretArray[Share]:
    """Variance over axes."""
    axes = axes_of(x, dim)
    count = int(np.prod([x.shape[a] for a in axes]))
    centred = x - x.mean(axes, keepdims=True)
    degrees = count - (1 if correction is None else correction)
    return (centred * centred).sum(axes, keepdims=keepdim) * (1 / degrees)


@implements("std.correction")
def deviation(
    x: SecretArray[Share], dim: Axes = None, correction: float | None = 1, keepdim: bool = False
) -> SecretArray[Share]:
    """Standard deviation over axes."""
    return F.sqrt(variance(x, dim, correction, keepdim))


@implements("amax")
def largest(x: SecretArray[Share], dim: Axes = None, keepdim: bool = False) -> SecretArray[Share]:
    """Largest over axes."""
    for axis in sorted(axes_of(x, dim), reverse=True):
        x = F.maximum_along(x, axis)
        x = x.map(lambda v, a=axis: np.expand_dims(v, a)) if keepdim else x
    return x


@implements("argmax")
def argmax(
    x: SecretArray[Share], dim: int | None = None, keepdim: bool = False
) -> SecretArray[Share]:
    """Place of the largest along an axis, as a secret integer."""
    if dim is None:
        return F.argmax(x.reshape(-1), 0)
    place = F.argmax(x, dim)
    return place.map(lambda v: np.expand_dims(v, dim)) if keepdim else place
