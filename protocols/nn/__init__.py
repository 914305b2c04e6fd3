"""PyTorch as the front end: tensors whose values are shares, below autograd, so that ordinary code runs on secrets."""

from protocols.nn import (  # noqa: F401  each module registers the operators of its theme
    activation,
    linear,
    loss,
    normalisation,
    pointwise,
    pooling,
    randomness,
    shape,
)
from protocols.nn.session import Session
from protocols.nn.tensor import SecretTensor

__all__ = ["SecretTensor", "Session"]
