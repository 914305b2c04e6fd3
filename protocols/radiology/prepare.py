"""From brightness to the model's input: resized, repeated over channels, normalised."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from protocols.radiology.errors import Unreadable
from protocols.radiology.grayscale import Float
from protocols.radiology.settings import Intake


def prepare(image: Float, settings: Intake) -> NDArray[np.float32]:
    """One image (H, W) or volume (D, H, W) in [0, 1] as `settings.shape`, float32."""
    if image.ndim != settings.dims:
        raise Unreadable(f"has {image.ndim} dimensions, not the {settings.dims} of the model")
    if image.shape != settings.spatial:
        if settings.resize == "exact":
            size = " x ".join(map(str, settings.spatial))
            raise Unreadable(f"is not {size} pixels; set resize to stretch or pad")
        if settings.resize == "pad":
            image = _pad(image, settings.spatial)
        image = _resize(image, settings.spatial)
    if settings.normalise is not None:
        mean, deviation = settings.normalise
        image = (image - mean) / deviation
    return np.repeat(image[np.newaxis].astype(np.float32), settings.channels, axis=0)


def _pad(image: Float, size: tuple[int, ...]) -> Float:
    """Dark margins, so that the proportions are those of `size`."""
    scale = max(have / want for have, want in zip(image.shape, size, strict=True))
    margins = []
    for have, want in zip(image.shape, size, strict=True):
        missing = max(math.ceil(scale * want) - have, 0)
        margins.append((missing // 2, missing - missing // 2))
    return np.pad(image, margins)


def _resize(image: Float, size: tuple[int, ...]) -> Float:
    """Shrink by averaging, so that nothing aliases, and grow by interpolating.

    torch has an antialiasing filter for two dimensions only; a volume's axes are averaged instead.
    """
    x = torch.from_numpy(np.ascontiguousarray(image))[None, None]
    if image.ndim == 2:
        x = F.interpolate(x, size, mode="bilinear", antialias=True)
    else:
        smaller = tuple(min(pair) for pair in zip(image.shape, size, strict=True))
        x = F.interpolate(x, smaller, mode="area")
        x = F.interpolate(x, size, mode="trilinear", align_corners=False)
    return np.asarray(x[0, 0].clamp(0, 1).numpy(), np.float64)
