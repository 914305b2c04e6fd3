"""Activations and their gradients. What the forward pass compared is kept for the backward pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpc.errors import NotOffered
from mpc.shares import Share
from protocols import functions as F
from protocols.nn.pointwise import Number, secret_like
from protocols.nn.tensor import implements
from protocols.secret import SecretArray, SecretBits


def _positive(x: SecretArray[Share]) -> SecretBits[Share]:
    """Where x is positive: known already if x came out of a ReLU."""
    if "positive" not in x.memo:
        x.memo["positive"] = ~x.negative()
    kept: SecretBits[Share] = x.memo["positive"]
    return kept


def _gated(bits: SecretBits[Share], grad: Number, like: SecretArray[Share]) -> SecretArray[Share]:
    return bits.select(secret_like(grad, like).broadcast_to(bits.shape))


@implements("relu")
def relu(x: SecretArray[Share]) -> SecretArray[Share]:
    """max(x, 0)."""
    return F.relu(x)


@implements("threshold_backward")
def relu_backward(grad: Number, result: SecretArray[Share], threshold: float) -> SecretArray[Share]:
    """The gradient where the input was positive. Cost: one `select`, no comparison."""
    if threshold != 0:
        raise NotOffered(f"threshold {threshold}: only 0")
    return _gated(_positive(result), grad, result)


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
    return _gated(_positive(x), whole - whole * slope, x) + whole * slope


@implements("_prelu_kernel")
def prelu(x: SecretArray[Share], weight: Number) -> SecretArray[Share]:
    """X, or weight·x where negative."""
    negative = _gated(~_positive(x), x, x)
    return x - negative + negative * weight


@implements("_prelu_kernel_backward")
def prelu_backward(
    grad: Number, x: SecretArray[Share], weight: Number
) -> tuple[SecretArray[Share], SecretArray[Share]]:
    """Gradients for the input and, not yet summed, for the weight."""
    whole, negative = secret_like(grad, x), ~_positive(x)
    below = _gated(negative, whole, x)
    return whole - below + below * weight, below * x


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
def sigmoid_backward(grad: Number, result: SecretArray[Share]) -> SecretArray[Share]:
    """grad·y·(1 - y)."""
    return (result - result * result) * grad


@implements("tanh")
def tanh(x: SecretArray[Share]) -> SecretArray[Share]:
    """Hyperbolic tangent."""
    return F.tanh(x)


@implements("tanh_backward")
def tanh_backward(grad: Number, result: SecretArray[Share]) -> SecretArray[Share]:
    """grad·(1 - y²)."""
    return (1 - result * result) * grad


@implements("silu")
def silu(x: SecretArray[Share]) -> SecretArray[Share]:
    """x·sigmoid(x)."""
    return x * _sigmoid_of(x)


@implements("silu_backward")
def silu_backward(grad: Number, x: SecretArray[Share]) -> SecretArray[Share]:
    """grad·s·(1 + x·(1 - s)) for s = sigmoid(x)."""
    s = _sigmoid_of(x)
    return (s + x * (s - s * s)) * grad


def _sigmoid_of(x: SecretArray[Share]) -> SecretArray[Share]:
    if "sigmoid" not in x.memo:
        x.memo["sigmoid"] = F.sigmoid(x)
    kept: SecretArray[Share] = x.memo["sigmoid"]
    return kept


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
