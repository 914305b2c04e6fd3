"""Activations and their gradients. What the forward pass compared is kept for the backward pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpc.errors import NotOffered
from mpc.shares import Share
from protocols import functions as F
from protocols.nn.pointwise import Number, secret_like
from protocols.nn.tensor import implements
from protocols.secret import Rectified, SecretArray, SecretBits


def _gated(bits: SecretBits[Share], grad: Number, like: SecretArray[Share]) -> SecretArray[Share]:
    return bits.select(secret_like(grad, like).broadcast_to(bits.shape))


@implements("relu", lazy=True)
def relu(x: SecretArray[Share]) -> SecretArray[Share]:
    """max(x, 0), computed when it is looked at; a max-pool goes before it."""
    return Rectified(x)


@implements("threshold_backward", lazy=True)
def relu_backward(grad: Number, result: SecretArray[Share], threshold: float) -> SecretArray[Share]:
    """The gradient where the input was above. Cost: one `select`; no comparison after a ReLU.

    Nothing where a max-pool has done so: elsewhere than at its winners the gradient is zero anyway.
    """
    if isinstance(grad, SecretArray) and grad.memo.get("gated by") is result and not threshold:
        return grad
    return _gated(result > threshold, grad, result)


@implements("threshold")
def threshold(x: SecretArray[Share], threshold: float, value: float) -> SecretArray[Share]:
    """X where it is above the threshold, a public value elsewhere."""
    return (x > threshold).select(x - value) + value


@implements("leaky_relu")
def leaky_relu(x: SecretArray[Share], slope: float = 0.01) -> SecretArray[Share]:
    """X, or slope·x where negative."""
    return F.leaky_relu(x, slope)


@implements("leaky_relu_backward")
def leaky_relu_backward(
    grad: Number, x: SecretArray[Share], slope: float, is_result: bool
) -> SecretArray[Share]:
    """The gradient, times slope where the input was negative."""
    whole = secret_like(grad, x)
    low = whole * slope
    return _gated(x.positive(), whole - low, x) + low


@implements("_prelu_kernel")
def prelu(x: SecretArray[Share], weight: Number) -> Number:
    """X, or weight·x where negative."""
    negative = _gated(~x.positive(), x, x)
    return x - negative + negative * weight


@implements("_prelu_kernel_backward")
def prelu_backward(
    grad: Number, x: SecretArray[Share], weight: Number
) -> tuple[SecretArray[Share], SecretArray[Share]]:
    """Gradients for the input and, not yet summed, for the weight."""
    whole, negative = secret_like(grad, x), ~x.positive()
    below = _gated(negative, whole, x)
    return whole - below + below * weight, below * x


@implements("softplus")
def softplus(x: SecretArray[Share], beta: float = 1, threshold: float = 20) -> SecretArray[Share]:
    """Logarithm of 1 + e^x, beyond PyTorch's threshold too."""
    _refuse_beta(beta)
    return F.softplus(x)


@implements("softplus_backward")
def softplus_backward(grad: Number, x: SecretArray[Share], beta: float, threshold: float) -> Number:
    """grad·sigmoid(x)."""
    _refuse_beta(beta)
    return F.sigmoid(x) * grad


def _refuse_beta(beta: float) -> None:
    if beta != 1:
        raise NotOffered(f"softplus with beta {beta}: scale its argument and its result instead")


@implements("log_sigmoid_forward")
def log_sigmoid(x: SecretArray[Share]) -> tuple[SecretArray[Share], Any]:
    """Logarithm of the sigmoid, and an empty buffer as PyTorch has it."""
    return -F.softplus(-x), np.zeros(0)


@implements("log_sigmoid_backward")
def log_sigmoid_backward(grad: Number, x: SecretArray[Share], buffer: Any) -> Number:
    """grad·sigmoid(-x)."""
    return F.sigmoid(-x) * grad


@implements("hardsigmoid")
def hardsigmoid(x: SecretArray[Share]) -> SecretArray[Share]:
    """x/6 + ½, between 0 and 1."""
    return F.clamp(x + 3, 0, 6) * (1 / 6)


@implements("hardsigmoid_backward")
def hardsigmoid_backward(grad: Number, x: SecretArray[Share]) -> SecretArray[Share]:
    """grad/6 between -3 and 3."""
    return _gated((x > -3) & (x < 3), grad * (1 / 6), x)


@implements("hardswish")
def hardswish(x: SecretArray[Share]) -> Number:
    """x·hardsigmoid(x)."""
    return x * hardsigmoid(x)


@implements("hardswish_backward")
def hardswish_backward(grad: Number, x: SecretArray[Share]) -> Number:
    """Grad from 3 on, grad·(x/3 + ½) between -3 and 3."""
    above = x >= 3
    inner = _gated((x > -3) ^ above, x * (1 / 3) + 0.5, x)
    return (inner + above.ring()) * grad


@implements("elu")
def elu(
    x: SecretArray[Share], alpha: float = 1, scale: float = 1, input_scale: float = 1
) -> SecretArray[Share]:
    """Scale·x where positive, scale·alpha·(e^(input_scale·x) - 1) elsewhere."""
    low = x - x.positive().select(x)
    below = (F.exp(low if input_scale == 1 else low * input_scale) - 1) * (alpha * scale)
    return (x - low) * scale + below


@implements("elu_backward")
def elu_backward(
    grad: Number,
    alpha: float,
    scale: float,
    input_scale: float,
    is_result: bool,
    x: SecretArray[Share],
) -> Number:
    """The gradient times scale, or times the slope of the exponential where negative."""
    if is_result:
        raise NotOffered("the gradient of elu in place: use it out of place")
    low = x - x.positive().select(x)
    slope = F.exp(low if input_scale == 1 else low * input_scale) * (alpha * scale * input_scale)
    return (slope + (scale - alpha * scale * input_scale) * x.positive().ring()) * grad


@implements("hardtanh_backward")
def hardtanh_backward(grad: Number, x: SecretArray[Share], low: float, high: float) -> Any:
    """The gradient where the input was inside the bounds."""
    inside = (x > low) & (x < high)
    return _gated(inside, grad, x)


@implements("sigmoid")
def sigmoid(x: SecretArray[Share]) -> SecretArray[Share]:
    """1 / (1 + e^-x)."""
    return F.sigmoid(x)


@implements("sigmoid_backward")
def sigmoid_backward(grad: Number, result: SecretArray[Share]) -> Number:
    """grad·y·(1 - y)."""
    return (result - result * result) * grad


@implements("tanh")
def tanh(x: SecretArray[Share]) -> SecretArray[Share]:
    """Hyperbolic tangent."""
    return F.tanh(x)


@implements("tanh_backward")
def tanh_backward(grad: Number, result: SecretArray[Share]) -> Number:
    """grad·(1 - y²)."""
    return (1 - result * result) * grad


@implements("silu")
def silu(x: SecretArray[Share]) -> SecretArray[Share]:
    """x·sigmoid(x)."""
    return F.silu(x)


@implements("silu_backward")
def silu_backward(grad: Number, x: SecretArray[Share]) -> Number:
    """Gradient of x·sigmoid(x)."""
    return F.silu_slope(x) * grad


@implements("gelu")
def gelu(x: SecretArray[Share], approximate: str = "none") -> SecretArray[Share]:
    """x·Φ(x), also where PyTorch would approximate it by tanh."""
    return F.gelu(x)


@implements("gelu_backward")
def gelu_backward(grad: Number, x: SecretArray[Share], approximate: str = "none") -> Any:
    """Gradient of x·Φ(x)."""
    return F.gelu_slope(x) * grad


@implements("_softmax")
def softmax(x: SecretArray[Share], dim: int, half_to_float: bool) -> SecretArray[Share]:
    """Softmax along an axis."""
    return F.softmax(x, dim)


@implements("_softmax_backward_data")
def softmax_backward(grad: Number, y: SecretArray[Share], dim: int, dtype: Any) -> Any:
    """y·(grad - Σ grad·y)."""
    weighted = y * grad
    return weighted - y * weighted.sum(dim, keepdims=True)


@implements("_log_softmax")
def log_softmax(x: SecretArray[Share], dim: int, half_to_float: bool) -> SecretArray[Share]:
    """Logarithm of softmax along an axis; remembers the softmax for the gradient."""
    log, soft = F.log_softmax_and_softmax(x, dim)
    log.memo["softmax"] = soft
    return log


@implements("_log_softmax_backward_data")
def log_softmax_backward(grad: Number, y: SecretArray[Share], dim: int, dtype: Any) -> Any:
    """Grad - softmax·Σ grad."""
    soft = y.memo["softmax"] if "softmax" in y.memo else F.exp(y)
    total = (
        grad.sum(dim, keepdims=True)
        if isinstance(grad, SecretArray)
        else np.sum(grad, dim, keepdims=True)
    )
    return grad - soft * total
