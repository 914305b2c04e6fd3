"""Models as plain PyTorch, by name: nothing in them knows that it will run on shares."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mpc.errors import UsageError


def radcnn(
    classes: int = 2, channels: int = 1, size: int | tuple[int, ...] = 28, dims: int = 2
) -> nn.Sequential:
    """A small CNN for images (or volumes) of about 28 pixels a side.

    conv3(16) relu conv3(32) relu maxpool2 conv3(64) relu maxpool2 fc(128) relu fc(classes)
    """
    if dims not in (2, 3):
        raise UsageError("radcnn takes dims 2 or 3")
    sides = size if isinstance(size, tuple) else (size,) * dims
    if len(sides) != dims or min(sides) < 4:
        raise UsageError(f"radcnn takes a size of at least 4 pixels along each of {dims} axes")
    conv: Callable[..., nn.Module] = nn.Conv2d if dims == 2 else nn.Conv3d
    pool: Callable[..., nn.Module] = nn.MaxPool2d if dims == 2 else nn.MaxPool3d
    left = 64
    for side in sides:
        left *= side // 2 // 2
    return nn.Sequential(
        conv(channels, 16, 3, padding=1),
        nn.ReLU(),
        conv(16, 32, 3, padding=1),
        nn.ReLU(),
        pool(2),
        conv(32, 64, 3, padding=1),
        nn.ReLU(),
        pool(2),
        nn.Flatten(),
        nn.Linear(left, 128),
        nn.ReLU(),
        nn.Linear(128, classes),
    )


class Block(nn.Module):
    """Two 3x3 convolutions and a way around them (He et al., CVPR 2016, figure 5 left)."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = _norm(outputs, norm)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = _norm(outputs, norm)
        self.relu = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), _norm(outputs, norm)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block's output."""
        y: torch.Tensor = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y)) + self.downsample(x)
        out: torch.Tensor = self.relu(y)
        return out


class ResNet18(nn.Module):
    """ResNet-18 (He et al., CVPR 2016); parameters are named as torchvision names them."""

    def __init__(self, classes: int, stem: nn.Module, pool: nn.Module, norm: bool) -> None:
        super().__init__()
        self.conv1 = stem
        self.bn1 = _norm(64, norm)
        self.relu = nn.ReLU()
        self.maxpool = pool
        self.layer1 = _stage(64, 64, 1, norm)
        self.layer2 = _stage(64, 128, 2, norm)
        self.layer3 = _stage(128, 256, 2, norm)
        self.layer4 = _stage(256, 512, 2, norm)
        self.fc = nn.Linear(512, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, one row a study."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: torch.Tensor = self.fc(x.mean((2, 3)))
        return logits


def _norm(channels: int, norm: bool) -> nn.Module:
    return nn.BatchNorm2d(channels) if norm else nn.Identity()


def _stage(inputs: int, outputs: int, stride: int, norm: bool) -> nn.Sequential:
    return nn.Sequential(Block(inputs, outputs, stride, norm), Block(outputs, outputs, 1, norm))


def resnet18(classes: int = 2, channels: int = 3, small: bool = False) -> ResNet18:
    """ResNet-18 with batch norm; `small` has a 3x3 stem and no pooling, for 28 to 64 pixels.

    Without `small`, a state dict of torchvision's `resnet18` loads (for 3 channels).
    """
    if small:
        stem, pool = nn.Conv2d(channels, 64, 3, padding=1, bias=False), nn.Identity()
        return ResNet18(classes, stem, pool, norm=True)
    stem = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    return ResNet18(classes, stem, nn.MaxPool2d(3, stride=2, padding=1), norm=True)


def resnet18_body(classes: int = 2, channels: int = 3) -> ResNet18:
    """ResNet-18 without batch norm and with a 2x2 max-pool, as the benchmarks time it."""
    stem = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    return ResNet18(classes, stem, nn.MaxPool2d(2, stride=2), norm=False)


MODELS: dict[str, Callable[..., nn.Module]] = {
    "radcnn": radcnn,
    "resnet18": resnet18,
    "resnet18_body": resnet18_body,
}


def build(name: str, **settings: Any) -> nn.Module:
    """The model called `name`, or what `module:callable` returns, given these settings.

    Whatever is behind `module:callable` is imported and run: it is code that the job trusts.
    """
    make = MODELS.get(name) or _import(name)
    try:
        inspect.signature(make).bind(**settings)
    except TypeError as error:
        raise UsageError(f"model {name}: {error}") from None
    except ValueError:  # a callable without a signature: it will say itself what it lacks
        pass
    try:
        model = make(**settings)
    except UsageError:
        raise
    except Exception as error:
        text = str(error).splitlines()[0] if str(error) else ""
        raise UsageError(f"model {name} was not built: {type(error).__name__}: {text}") from error
    if not isinstance(model, nn.Module):
        raise UsageError(f"model {name} is a {type(model).__name__}, not a torch.nn.Module")
    return model


def _import(name: str) -> Callable[..., Any]:
    module, colon, attribute = name.partition(":")
    if not (colon and module and attribute):
        raise UsageError(f"there is no model {name!r}; take {', '.join(MODELS)} or module:callable")
    try:
        made: Any = importlib.import_module(module)
        for part in attribute.split("."):
            made = getattr(made, part)
    except Exception as error:  # the module's own code runs here
        raise UsageError(f"model {name} cannot be imported: {type(error).__name__}") from error
    if not callable(made):
        raise UsageError(f"model {name} is not callable")
    return made  # type: ignore[no-any-return]  # any callable; its result is checked
