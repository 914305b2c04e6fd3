"""Element by element: arithmetic, powers, and functions of one argument."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

from kernels.ring import multiply
from mpc.errors import NotOffered
from mpc.shares import Share
from protocols import functions as F
from protocols.nn.tensor import implements
from protocols.secret import FRACTION, SecretArray, SecretBits

Number: TypeAlias = Any  # a SecretArray, or a public number or array
MORE = 8  # fractional bits that a shared-out gradient may have more than usual


def secret_like(x: Number, like: SecretArray[Share]) -> SecretArray[Share]:
    """X as a secret array, shared as a public constant if it is public."""
    return like._secret(x)


def as_number(x: Number | SecretBits[Any]) -> Number:
    """X, where truth values are 0 and 1. Cost for those: `bit_to_ring`."""
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


@implements("add.Tensor", "add.Scalar", lazy=True)
def add(x: Number, y: Number, alpha: float = 1) -> Number:
    """X + alpha·y."""
    a, b = as_number(x), as_number(y)
    return a + _added(a, b, alpha)


@implements("sub.Tensor", "sub.Scalar", lazy=True)
def subtract(x: Number, y: Number, alpha: float = 1) -> Number:
    """X - alpha·y."""
    a, b = as_number(x), as_number(y)
    return a - _added(a, b, alpha)


@implements("rsub.Scalar", "rsub.Tensor", lazy=True)
def subtract_from(x: Number, y: Number, alpha: float = 1) -> Number:
    """Y - alpha·x."""
    return as_number(y) - scaled(as_number(x), alpha)


@implements("mul.Tensor", "mul.Scalar")
def product(x: Number, y: Number) -> Number:
    """x·y. Truth values choose among numbers."""
    bits, other = (x, y) if isinstance(x, SecretBits) else (y, x)
    if isinstance(bits, SecretBits) and isinstance(other, SecretArray):
        shape = np.broadcast_shapes(bits.shape, other.shape)
        return bits.broadcast_to(shape).select(other.broadcast_to(shape))
    return as_number(x) * as_number(y)


@implements("div.Tensor", "div.Scalar")
def quotient(x: Number, y: Number) -> Number:
    """x / y. A divisor with more fractional bits than usual, such as Adam's root, keeps them."""
    x = as_number(x)
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


@implements("neg", lazy=True)
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


@implements("isnan", "isinf")
def never(x: Number) -> Any:
    """False, in public: what is shared is a number."""
    return np.zeros(tuple(x.shape), np.bool_)
