"""Element-wise operators, comparisons and sums."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from kernels.bits import to_planes
from kernels.ring import multiply
from mpc.errors import NotOffered
from mpc.ring import WORD
from mpc.shares import Share
from protocols import functions as F
from protocols.functions import extremes
from protocols.nn.tensor import implements
from protocols.secret import FRACTION, SecretArray, SecretBits, constant

Number: TypeAlias = Any  # a SecretArray, or a public number or array
Axes = list[int] | int | None
MORE = 8  # fractional bits that a shared-out gradient may have more than usual


def secret_like(x: Number, like: SecretArray[Share]) -> SecretArray[Share]:
    """X as a secret array, shared as a public constant if it is public."""
    return like._secret(x)


def _number(x: Number | SecretBits[Any]) -> Number:
    return x.ring() if isinstance(x, SecretBits) else x


def scaled(x: Number, factor: float) -> Number:
    """X times a public number; nothing is done for 1."""
    return x if factor == 1 else x * factor


def _added(x: Number, y: Number, factor: float) -> Number:
    """What of factor·y is added to x: at the scale of x if y has more fractional bits."""
    if factor == 1 or not (isinstance(x, SecretArray) and isinstance(y, SecretArray)):
        return scaled(y, factor)
    fraction = x.fraction if y.fraction > x.fraction >= FRACTION else None
    return y.bilinear(multiply, factor, fraction=fraction)


@implements("add.Tensor", "add.Scalar")
def add(x: Number, y: Number, alpha: float = 1) -> Number:
    """X + alpha·y."""
    a, b = _number(x), _number(y)
    return a + _added(a, b, alpha)


@implements("sub.Tensor", "sub.Scalar")
def subtract(x: Number, y: Number, alpha: float = 1) -> Number:
    """X - alpha·y."""
    a, b = _number(x), _number(y)
    return a - _added(a, b, alpha)


@implements("rsub.Scalar", "rsub.Tensor")
def subtract_from(x: Number, y: Number, alpha: float = 1) -> Number:
    """Y - alpha·x."""
    return _number(y) - scaled(_number(x), alpha)


@implements("mul.Tensor", "mul.Scalar")
def product(x: Number, y: Number) -> Number:
    """x·y. Truth values choose among numbers."""
    bits, other = (x, y) if isinstance(x, SecretBits) else (y, x)
    if isinstance(bits, SecretBits) and isinstance(other, SecretArray):
        shape = np.broadcast_shapes(bits.shape, other.shape)
        return bits.broadcast_to(shape).select(other.broadcast_to(shape))
    return _number(x) * _number(y)


@implements("div.Tensor", "div.Scalar")
def quotient(x: Number, y: Number) -> Number:
    """x / y. A divisor with more fractional bits than usual, such as Adam's root, keeps them."""
    x = _number(x)
    if not isinstance(y, SecretArray):
        return _copies_over(x, y) if isinstance(x, SecretArray) and np.ndim(y) == 0 else x / y
    more = max(y.fraction - FRACTION, 0)
    return F.divide(secret_like(x, y).at(FRACTION + more).times_power(more), y.times_power(more))


def shared_out(grad: Number, counts: Any, copies: float | None = None) -> Number:
    """Each gradient over the number of inputs that it goes to, with as many bits more.

    One ulp of error here would be the same at all of them, and the weight gradient before this
    layer adds them up. If the number is a power of two, this is exact and sends nothing.
    """
    if not isinstance(grad, SecretArray):
        return grad / counts
    bits = min(math.ceil(math.log2(np.max(counts) if copies is None else copies)), MORE)
    return grad.bilinear(multiply, 1 / counts, fraction=max(grad.fraction, FRACTION + bits))


def _copies_over(x: SecretArray[Share], y: float) -> SecretArray[Share]:
    """x / y. Where x is expanded, as in the gradient of a mean, copies are divided once.

    See `shared_out` for the fractional bits of the result.
    """
    strides = x.share.terms[0].strides
    copied = [n > 1 and s == 0 for n, s in zip(x.shape, strides, strict=True)]
    if not any(copied) or not (x.fraction and x.size and y):
        return x / y
    distinct = x[tuple(slice(0, 1) if c else slice(None) for c in copied)]
    result: SecretArray[Share] = shared_out(distinct, y, x.size / max(distinct.size, 1))
    return result.broadcast_to(x.shape)


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
    """X + value·a·b. A square keeps all its bits: Adam's second moments need them."""
    if a is b and isinstance(a, SecretArray) and a.fraction >= FRACTION:
        return scaled(a.bilinear(multiply, a, fraction=2 * FRACTION), value) + x
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
}.items():
    implements(*_names)(_function)


@implements("sign", "sgn")
def sign(x: SecretArray[Share]) -> SecretArray[Share]:
    """-1, 0 or 1, as x has it: whole or at a scale."""
    return F.sign(x).finer(x.fraction)


@implements("sqrt")
def square_root(x: SecretArray[Share]) -> SecretArray[Share]:
    """√x. If x has twice the fractional bits, as Adam's second moment, its root has half more."""
    if x.fraction != 2 * FRACTION:
        return F.sqrt(x)
    return F.sqrt(x.times_power(FRACTION)).times_power(-FRACTION // 2)


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


def _two(x: Number, y: Number) -> tuple[SecretArray[Any], SecretArray[Any]]:
    like = x if isinstance(x, SecretArray) else y
    a, b = secret_like(x, like), secret_like(y, like)
    shape = np.broadcast_shapes(a.shape, b.shape)
    return a.broadcast_to(shape), b.broadcast_to(shape)


# Comparisons.


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


@implements("where.self")
def where(condition: Any, x: Number | SecretBits[Any], y: Number | SecretBits[Any]) -> Number:
    """X where the condition holds, y elsewhere; the condition may be secret or public."""
    a, b = _number(x), _number(y)
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


@implements("isnan", "isinf")
def never(x: Number) -> Any:
    """False, in public: what is shared is a number."""
    return np.zeros(tuple(x.shape), np.bool_)


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
    if degrees <= 0:
        raise NotOffered(f"the variance of {count} numbers less {correction}: take more")
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
