"""The shared workloads. Each says what is timed; what comes before the returned function is not.

Each asks for the share of its result, so that nothing of it is put off until after the clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from protocols.functions import relu
from protocols.nn import Session
from protocols.radiology.models import radcnn, resnet18, resnet18_body
from protocols.secret import SecretArray

Step = Callable[[], object]
CASES: dict[str, Case] = {}


@dataclass(frozen=True)
class Case:
    """A workload: `prepare(session, batch)` gives the function that is timed.

    `products` is how many multiply-accumulates the plain computation takes, for one of the batch.
    """

    name: str
    repeats: int
    prepare: Callable[[Session, int], Step]
    batch: int
    products: int


def case(
    name: str, *, repeats: int, batch: int = 0, products: int = 0
) -> Callable[..., Callable[..., Step]]:
    """Register a workload under a name; batch 0 is for one whose size is in its name."""

    def register(prepare: Callable[[Session, int], Step]) -> Callable[[Session, int], Step]:
        CASES[name] = Case(name, repeats, prepare, batch, products)
        return prepare

    return register


def sized(name: str) -> tuple[str, int]:
    """A case's name and its batch: cnn@8 is cnn with a batch of 8, and 0 means none is given."""
    case, _, batch = name.partition("@")
    return case, int(batch) if batch.isdigit() else 0


def _reals(session: Session, *shape: int) -> Any:
    return session.share(torch.randn(shape) if session.rank == 0 else None, owner=0, shape=shape)


def _secret(session: Session, *shape: int) -> SecretArray[Any]:
    array: SecretArray[Any] = _reals(session, *shape).secret
    return array


def _again(x: SecretArray[Any]) -> SecretArray[Any]:
    """The same shares as a fresh value, so that nothing remembered from the last repeat is used."""
    return SecretArray(x.protocol, x.share.map(np.copy), x.fraction)


def _anew(session: Session, x: Any) -> Any:
    """A tensor as a fresh value."""
    return session.tensor(_again(x.secret))


def _inference(session: Session, model: nn.Module, *shape: int) -> Step:
    """What a secret model says of secret images of this shape, batch first."""
    model = session.secure(model.eval())
    x = _reals(session, *shape)

    def step() -> object:
        with torch.no_grad():
            return model(_anew(session, x)).secret.share

    return step


@case("matmul1024", repeats=5, products=1024**3)
def matmul1024(session: Session, batch: int) -> Step:
    """1024x1024 by 1024x1024, both secret, truncated."""
    a, b = _secret(session, 1024, 1024), _secret(session, 1024, 1024)
    return lambda: (_again(a) @ _again(b)).share


@case("relu1M", repeats=5)
def relu1m(session: Session, batch: int) -> Step:
    """ReLU of 2^20 values."""
    x = _secret(session, 1024, 1024)
    return lambda: relu(_again(x)).share


@case("mul1M", repeats=7, products=1024**2)
def mul1m(session: Session, batch: int) -> Step:
    """2^20 products, element by element, truncated."""
    a, b = _secret(session, 1024, 1024), _secret(session, 1024, 1024)
    return lambda: (_again(a) * _again(b)).share


# Multiply-accumulates of the shared networks for one image; training is forward, both gradients of
# each product, less the first layer's input gradient.
_FIRST = 16 * 28 * 28 * 9
_RADCNN = _FIRST + 32 * 28 * 28 * 144 + 64 * 14 * 14 * 288 + 3136 * 128 + 128 * 2


def _resnet(stem: int, places: int, classes: int) -> int:
    """ResNet-18 after a stem of so many products, whose first stage has so many places.

    A stage has twice the channels and a quarter of the places of the one before, so its four
    convolutions take as many products; but its first reads half the channels, and it has a
    shortcut of 1x1.
    """
    stage = 4 * 64 * 64 * 9 * places
    narrower, shortcut = 64 * 64 * 9 * places // 2, 64 * 128 * places // 4
    return stem + stage + 3 * (stage - narrower + shortcut) + 512 * classes


@case("cnn", repeats=3, batch=32, products=_RADCNN)
def cnn(session: Session, batch: int) -> Step:
    """RadCNN on 1x28x28 images, secret weights and images: one inference."""
    return _inference(session, radcnn(), batch, 1, 28, 28)


@case("cnntrain", repeats=3, batch=32, products=3 * _RADCNN - _FIRST)
def cnntrain(session: Session, batch: int) -> Step:
    """RadCNN: one SGD step with cross-entropy on secret one-hot labels."""
    model = session.secure(radcnn().train())
    x = _reals(session, batch, 1, 28, 28)
    labels = torch.eye(2)[torch.randint(0, 2, (batch,))]
    mine = labels if session.rank == 0 else None
    y = session.share(mine, owner=0, shape=tuple(labels.shape))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    def step() -> object:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(_anew(session, x)), y)
        loss.backward()
        optimizer.step()
        return [weight.secret.share for weight in model.parameters()]

    return step


@case("resnet", repeats=3, batch=1, products=_resnet(64 * 32 * 32 * 147, 16 * 16, 2))
def resnet(session: Session, batch: int) -> Step:
    """ResNet-18 body (7x7/2 stem, 2x2 max-pool, no batch norm) on 3x64x64 images: one inference."""
    return _inference(session, resnet18_body(2, 3), batch, 3, 64, 64)


@case("relu", repeats=3, batch=1_000_000)
def relu_of(session: Session, batch: int) -> Step:
    """ReLU of as many values as the batch says."""
    x = _secret(session, batch)
    return lambda: relu(_again(x)).share


@case("resnet18", repeats=2, batch=16, products=_resnet(64 * 16 * 16 * 147, 8 * 8, 10))
def resnet18_32(session: Session, batch: int) -> Step:
    """ResNet-18 (7x7/2 stem, 3x3/2 max-pool, batch norm) on 3x32x32 images: one inference.

    PIGEON's row: its 147 MB for all parties rule out the 3x3 stem, whose 8.9 million rectified
    values at batch 16 would have 16 bytes each.
    """
    return _inference(session, resnet18(10, 3), batch, 3, 32, 32)


@case("resnet18small", repeats=2, batch=16, products=_resnet(64 * 32 * 32 * 27, 32 * 32, 10))
def resnet18small(session: Session, batch: int) -> Step:
    """ResNet-18 with a 3x3 stem, no pooling and batch norm on 3x32x32 images: one inference."""
    return _inference(session, resnet18(10, 3, small=True), batch, 3, 32, 32)
