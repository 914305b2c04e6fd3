"""Batch, group and layer norm: all three standardise rows of a matrix and then scale and shift."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from kernels.ring import multiply
from mpc.ring import Shape
from mpc.shares import Share
from protocols import functions as F
from protocols.nn.cell import Cell
from protocols.nn.linear import row_products
from protocols.nn.pointwise import Number, secret_like
from protocols.nn.shape import move
from protocols.nn.tensor import implements
from protocols.secret import FRACTION, PendingProduct, SecretArray, pending_product

Secret = SecretArray[Any]
Gradients = tuple[Secret | None, Secret | None, Secret | None]


def standardise(rows: SecretArray[Share], eps: float) -> tuple[Secret, Secret, Secret, Secret]:
    """Rows [r, m] with mean 0 and variance 1.

    Also the mean, the variance and 1/√(variance + eps), each [r, 1].

    Error: that of `rsqrt`, relative. A small eps is rounded to the step, 2^-16.
    """
    mean = rows.mean(1, keepdims=True)
    centred = rows - mean
    variance = row_products(centred, centred) * (1 / rows.shape[1])
    inverse = F.rsqrt(variance + max(eps, 2.0**-16))
    return centred * inverse, mean, variance, inverse


def standardise_backward(grad: Secret, standard: Secret, inverse: Secret) -> Secret:
    """inverse·(g - mean(g) - y·mean(g·y)) for rows g = grad, y = standard.

    The means are kept at twice the fraction: one ulp of error in them would be the same for a whole
    row, and the weight gradient before this layer adds it up over all its positions.
    """
    along = row_products(grad, standard, 2 * FRACTION) * (1 / grad.shape[1])
    mean = grad.finer(2 * FRACTION).mean(1, keepdims=True)
    rest = grad - mean - standard * along
    return rest.bilinear(multiply, inverse, fraction=FRACTION)


def _channels(x: Any) -> Any:
    """[n, c, *s] to [c, n·s]."""
    return move(lambda v: v.swapaxes(0, 1).reshape(v.shape[1], -1), x)


def _unchannels(rows: Any, shape: Shape) -> Any:
    n, c, *s = shape
    return move(lambda v: v.reshape(c, n, *s).swapaxes(0, 1), rows)


def _per_channel(v: Any, rank: int) -> Any:
    return move(lambda a: a.reshape(-1, *(1 for _ in range(rank - 2))), v)


@implements("native_batch_norm", cells=(3, 4), lazy=True)
def batch_norm(
    x: SecretArray[Share],
    weight: Number | None,
    bias: Number | None,
    running_mean: Cell | None,
    running_var: Cell | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Any, Any, Any]:
    """Batch norm. In training the running statistics, which stay secret, move by the momentum.

    Returns the result and what the gradient needs: the mean and 1/√(variance + eps) of each
    channel.
    """
    rank = x.ndim
    if training or running_mean is None or running_var is None:
        rows = _channels(x.settled())
        standard, mean, variance, inverse = standardise(rows, eps)
        if running_mean is not None and running_var is not None:
            count = rows.shape[1]
            unbiased = variance * (count / max(count - 1, 1))
            flat_mean, flat_var = mean.reshape(-1), unbiased.reshape(-1)
            running_mean.value = running_mean.value * (1 - momentum) + flat_mean * momentum
            running_var.value = running_var.value * (1 - momentum) + flat_var * momentum
        y = _unchannels(standard, x.shape)
        inverse = inverse.reshape(-1)
        inverse.memo["standard"] = standard
        y = y if weight is None else y * _per_channel(weight, rank)
    else:
        mean, variance = running_mean.value, secret_like(running_var.value, x)
        if "inverse" not in variance.memo:  # the same for every batch until the statistics change
            variance.memo["inverse"] = F.rsqrt(variance + max(eps, 2.0**-16))
        inverse = variance.memo["inverse"]
        y = _from_statistics(x, mean, inverse, weight)
    y = y if bias is None else y + _per_channel(bias, rank)
    return y, move(lambda v: v.reshape(-1), mean), inverse


def _from_statistics(
    x: SecretArray[Share], mean: SecretArray[Share], inverse: SecretArray[Share], weight: Any
) -> SecretArray[Share]:
    """(x - mean)·inverse·weight; what does not depend on x is found once.

    Right after a layer with weights the scale goes into them, and costs nothing any more; not where
    a gradient is wanted, which would need the layer's own result, too.

    Error: that of the scale, relative; in the weights also 2^-20 of each, times the inputs that it
    meets, added up.
    """
    scale = inverse
    if weight is not None:
        scale = inverse.remembered("scale", weight, lambda: inverse * weight)
    folded = None
    if isinstance(x, PendingProduct) and not torch.is_grad_enabled():
        folded = x.times_channels(scale)
    if folded is not None:
        shift = scale.remembered("shift", mean, lambda: scale * mean)
        y: SecretArray[Share] = folded - _per_channel(shift, x.ndim)
        return y
    centred = x - _per_channel(mean, x.ndim)
    return pending_product(multiply, centred, _per_channel(scale, x.ndim))


@implements("native_batch_norm_backward")
def batch_norm_backward(
    grad: Number,
    x: SecretArray[Share],
    weight: Number | None,
    running_mean: Number | None,
    running_var: Number | None,
    mean: Number,
    inverse: SecretArray[Share],
    training: bool,
    eps: float,
    wanted: Sequence[bool],
) -> Gradients:
    """Gradients for input, weight and bias."""
    whole = _channels(secret_like(grad, x))
    column = inverse.reshape(-1, 1)
    standard = inverse.memo.get("standard")
    if standard is None:
        centred = _channels(x) - move(lambda v: v.reshape(-1, 1), mean)
        standard = centred * column
    for_weight = row_products(whole, standard).reshape(-1) if wanted[1] else None
    for_bias = whole.sum(1) if wanted[2] else None
    if not wanted[0]:
        return None, for_weight, for_bias
    scaled = whole if weight is None else whole * move(lambda v: v.reshape(-1, 1), weight)
    rows = standardise_backward(scaled, standard, column) if training else scaled * column
    return _unchannels(rows, x.shape), for_weight, for_bias


@implements("native_group_norm")
def group_norm(
    x: SecretArray[Share],
    weight: Number | None,
    bias: Number | None,
    n: int,
    c: int,
    spatial: int,
    groups: int,
    eps: float,
) -> tuple[Any, Any, Any]:
    """Group norm; also the mean and 1/√(variance + eps) of each group."""
    rows = x.reshape(n * groups, -1)
    standard, mean, _, inverse = standardise(rows, eps)
    y = standard.reshape(*x.shape)
    y = y if weight is None else y * _per_channel(weight, x.ndim)
    y = y if bias is None else y + _per_channel(bias, x.ndim)
    inverse = inverse.reshape(n, groups)
    inverse.memo["standard"] = standard
    return y, mean.reshape(n, groups), inverse


@implements("native_group_norm_backward")
def group_norm_backward(
    grad: Number,
    x: SecretArray[Share],
    mean: Number,
    inverse: SecretArray[Share],
    weight: Number | None,
    n: int,
    c: int,
    spatial: int,
    groups: int,
    wanted: Sequence[bool],
) -> Gradients:
    """Gradients for input, weight and bias."""
    whole, standard = secret_like(grad, x), inverse.memo["standard"]
    for_weight = for_bias = for_x = None
    if wanted[1]:
        for_weight = row_products(_channels(whole), _channels(standard.reshape(*x.shape))).reshape(
            -1
        )
    if wanted[2]:
        for_bias = _channels(whole).sum(1)
    if wanted[0]:
        scaled = whole if weight is None else whole * _per_channel(weight, x.ndim)
        rows = scaled.reshape(n * groups, -1)
        for_x = standardise_backward(rows, standard, inverse.reshape(-1, 1)).reshape(*x.shape)
    return for_x, for_weight, for_bias


@implements("native_layer_norm")
def layer_norm(
    x: SecretArray[Share],
    normalized: Sequence[int],
    weight: Number | None,
    bias: Number | None,
    eps: float,
) -> tuple[Any, Any, Any]:
    """Layer norm; also the mean and 1/√(variance + eps) of each row."""
    rank: int = len(normalized)
    standard, mean, _, inverse = standardise(x.reshape(-1, math.prod(normalized)), eps)
    y = standard.reshape(*x.shape)
    y = y if weight is None else y * weight
    y = y if bias is None else y + bias
    shape = (*x.shape[: x.ndim - rank], *(1 for _ in normalized))
    inverse = inverse.reshape(*shape)
    inverse.memo["standard"] = standard
    return y, mean.reshape(*shape), inverse


@implements("native_layer_norm_backward")
def layer_norm_backward(
    grad: Number,
    x: SecretArray[Share],
    normalized: Sequence[int],
    mean: Number,
    inverse: SecretArray[Share],
    weight: Number | None,
    bias: Number | None,
    wanted: Sequence[bool],
) -> Gradients:
    """Gradients for input, weight and bias."""
    width = math.prod(normalized)
    whole, standard = secret_like(grad, x).reshape(-1, width), inverse.memo["standard"]
    for_weight = for_bias = for_x = None
    if wanted[1]:
        columns = row_products(whole.transpose(1, 0), standard.transpose(1, 0))
        for_weight = columns.reshape(*normalized)
    if wanted[2]:
        for_bias = whole.sum(0).reshape(*normalized)
    if wanted[0]:
        scaled = whole if weight is None else whole * move(lambda v: v.reshape(1, -1), weight)
        for_x = standardise_backward(scaled, standard, inverse.reshape(-1, 1)).reshape(*x.shape)
    return for_x, for_weight, for_bias
