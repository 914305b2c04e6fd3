"""Dropout. Its mask says nothing about the data, so all parties draw it together and know it."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpc.errors import NotOffered
from mpc.ring import WORD, Array, Shape
from protocols.bits import BitProtocol
from protocols.nn.cell import Value
from protocols.nn.pointwise import Number
from protocols.nn.tensor import implements
from protocols.secret import SecretArray


def coins(protocol: BitProtocol[Any], shape: Shape, chance: float) -> Array:
    """Public 0 and 1, each 1 with the given chance (to 2^-64)."""
    words = protocol.coins(shape)
    bound = min(int(chance * 2.0**64), 2**64 - 1)
    return (words < WORD(bound)).astype(np.float64) if chance < 1 else np.ones(shape)


@implements("bernoulli_.float", protocol=True)
def bernoulli(protocol: BitProtocol[Any], x: Value, p: float = 0.5, generator: Any = None) -> Array:
    """Public 0 and 1 in place of what was there, the same at every party."""
    if generator is not None:
        raise NotOffered("a torch generator for secret tensors: the parties draw together")
    return coins(protocol, tuple(x.shape), p)


@implements("native_dropout", protocol=True)
def dropout(
    protocol: BitProtocol[Any], x: SecretArray[Any], p: float, train: bool | None
) -> tuple[SecretArray[Any], Array]:
    """X with a share p of it dropped, and the mask."""
    if not train:
        return x, np.ones(tuple(x.shape))
    mask = coins(protocol, tuple(x.shape), 1 - p)
    return x * (mask / (1 - p)), mask


@implements("native_dropout_backward")
def dropout_backward(grad: Number, mask: Array, scale: float) -> Number:
    """The gradient where nothing was dropped."""
    return grad * (mask * scale)
