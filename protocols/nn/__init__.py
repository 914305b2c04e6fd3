"""PyTorch as the front end: ordinary code runs on tensors whose values are shares."""

from protocols.nn import (  # noqa: F401  each module registers the operators of its theme
    activation,
    comparison,
    creation,
    indexing,
    linear,
    loss,
    normalisation,
    padding,
    pointwise,
    pooling,
    randomness,
    reduction,
    shape,
)
from protocols.nn.session import Session
from protocols.nn.tensor import SecretTensor

__all__ = ["SecretTensor", "Session"]
