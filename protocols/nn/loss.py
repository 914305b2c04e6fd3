"""Losses that PyTorch does not take apart by itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpc.errors import NotOffered
from mpc.shares import Share
from protocols import functions as F
from protocols.nn.pointwise import Number, secret_like
from protocols.nn.shape import move
from protocols.nn.tensor import implements
from protocols.secret import SecretArray

NONE, MEAN = 0, 1  # PyTorch's numbers for `reduction`; 2 is the sum


def reduced(loss: SecretArray[Share], reduction: int) -> SecretArray[Share]:
    """Nothing, mean or sum over all elements."""
    if reduction == NONE:
        return loss
    return loss.mean() if reduction == MEAN else loss.sum()


def one_hot(labels: Number, classes: int, like: SecretArray[Share]) -> Number:
    """Class labels [n, *s] as 0 and 1 in a new axis 1; secret ones are compared once.

    Cost for secret labels: `equals`, and a bit to a number, for each label and class. A label that
    names no class gives zeros.
    """
    places = np.arange(classes).reshape(1, classes, *(1 for _ in labels.shape[1:]))
    spread = move(lambda v: np.expand_dims(v, 1), labels)
    if not isinstance(labels, SecretArray):
        return (spread == places).astype(np.int64)
    if "one hot" not in labels.memo:
        shape = np.broadcast_shapes(spread.shape, places.shape)
        wide = spread.broadcast_to(shape) - np.broadcast_to(places, shape)
        labels.memo["one hot"] = wide.equals(0).ring()
    return labels.memo["one hot"]


@implements("nll_loss_forward", "nll_loss2d_forward")
def nll_loss(
    x: SecretArray[Share],
    target: Number,
    weight: Number | None,
    reduction: int,
    ignore_index: int,
) -> tuple[SecretArray[Share], Any]:
    """-x at the labels' places; in cross-entropy, x is a log-softmax. Also how many labels."""
    _refuse_weights(weight, target, ignore_index)
    axis = 0 if x.ndim == 1 else 1
    _refuse_strangers(target, x.shape[axis])
    wide, labels = (
        (move(lambda v: v[None], x), move(lambda v: v[None], target)) if not axis else (x, target)
    )
    taken = -(wide * one_hot(labels, wide.shape[1], wide)).sum(1)
    count = int(np.prod(labels.shape))
    return reduced(taken, reduction), np.asarray(float(count))


@implements("nll_loss_backward", "nll_loss2d_backward")
def nll_loss_backward(
    grad: Number,
    x: SecretArray[Share],
    target: Number,
    weight: Number | None,
    reduction: int,
    ignore_index: int,
    total_weight: Any,
) -> Number:
    """-grad at the labels' places, over the number of labels for a mean."""
    axis = 0 if x.ndim == 1 else 1
    labels = target if axis else move(lambda v: v[None], target)
    marks = one_hot(labels, x.shape[axis], x)
    scale = -1 / float(np.asarray(total_weight)) if reduction == MEAN else -1
    spread = move(lambda v: np.expand_dims(v, 1), grad) if reduction == NONE else grad
    result = secret_like(marks, x) * (spread * scale)
    return result if axis else result.reshape(*x.shape)


def _refuse_weights(weight: Number | None, target: Number, ignore_index: int) -> None:
    if weight is not None:
        raise NotOffered(
            "class weights in a loss over class labels: use one-hot targets times the weights"
        )
    if isinstance(target, SecretArray) and ignore_index >= 0:
        raise NotOffered("ignore_index with secret labels: weigh one-hot targets instead")
    if isinstance(target, np.ndarray) and np.any(target == ignore_index):
        raise NotOffered("ignored labels: leave those studies out of the batch")


def _refuse_strangers(target: Number, classes: int) -> None:
    if isinstance(target, np.ndarray):
        strangers = np.sum((target < 0) | (target >= classes))
        if strangers:
            raise NotOffered(
                f"{strangers} of {target.size} labels name none of the {classes} classes: "
                f"leave those studies out"
            )


@implements("mse_loss")
def mse_loss(x: Number, y: Number, reduction: int = MEAN) -> SecretArray[Any]:
    """Squared differences."""
    difference = x - y
    return reduced(difference * difference, reduction)


@implements("mse_loss_backward")
def mse_loss_backward(grad: Number, x: Number, y: Number, reduction: int) -> Number:
    """2·(x - y)·grad, over the number of elements for a mean."""
    difference = x - y
    return difference * (2 / difference.size if reduction == MEAN else 2) * grad


@implements("binary_cross_entropy_with_logits")
def bce_with_logits(
    x: SecretArray[Share],
    target: Number,
    weight: Number | None = None,
    pos_weight: Number | None = None,
    reduction: int = MEAN,
) -> SecretArray[Share]:
    """Softplus of x, less x·t. Error: that of `softplus`, and of one product."""
    if pos_weight is not None:
        raise NotOffered("pos_weight in a loss on secrets: weigh the elements by `weight`")
    loss = F.softplus(x) - x * target
    return reduced(loss if weight is None else loss * weight, reduction)
