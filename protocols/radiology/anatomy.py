"""Drawing the phantom's chest: what is in one image, in Hounsfield units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float64]

AIR, BONE = -1000.0, 500.0
VIEW = 0.45  # half the field of view, where half the chest is 1
EDGE = 0.03  # width of the soft step between two tissues


def chest(rng: np.random.Generator, size: int, *, malignant: bool) -> Image:
    """One axial slice about a nodule, size by size, in Hounsfield units.

    The field of view is a little more than half the chest, as a radiologist would zoom.
    """
    side = rng.choice([-1, 1])
    cx, cy = side * 0.42 + rng.uniform(-0.05, 0.05), rng.uniform(-0.3, 0.3)  # of the nodule
    middle = cx + rng.uniform(-0.1, 0.1), cy + rng.uniform(-0.1, 0.1)  # of the picture
    v, u = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    x, y = middle[0] + VIEW * u, middle[1] + VIEW * v

    image = _paint(np.full_like(x, AIR), _ellipse(x, y, 0, 0, 0.97, 0.86), rng.normal(40, 15))
    image = _paint(image, _ribs(rng, x, y), BONE)
    lung = rng.uniform(-900, -740)
    for centre in (-0.42, 0.42):
        image = _paint(image, _ellipse(x, y, centre, 0, 0.36, 0.66), lung)
    image = image + 50 * _smooth_noise(rng, size, 0.16) + rng.normal(0, 20, image.shape)

    # How irregular the margin and how patchy the inside are, from 0 to 1: the label, in two signs.
    # One in twelve is hard to tell, as in life.
    grades = (0.1, 0.5) if rng.random() < 1 / 12 else (0.4, 1.0) if malignant else (0.0, 0.2)
    margin, patches = rng.uniform(*grades, 2)
    inside = _nodule(rng, x - cx, y - cy, rng.uniform(0.17, 0.25), margin)
    tissue = rng.uniform(-60, 60) + 600 * patches * _smooth_noise(rng, size, 0.11)
    return _paint(image, inside, tissue)


def _paint(image: Image, cover: Image, tissue: float | Image) -> Image:
    return image * (1 - cover) + cover * tissue


def _step(distance: Image) -> Image:
    """1 inside (negative distance), 0 outside, a soft step between."""
    return 1 / (1 + np.exp(np.clip(4 * distance / EDGE, -50, 50)))


def _ellipse(x: Image, y: Image, cx: float, cy: float, a: float, b: float) -> Image:
    return _step((np.hypot((x - cx) / a, (y - cy) / b) - 1) * min(a, b))


def _ribs(rng: np.random.Generator, x: Image, y: Image) -> Image:
    """Short bright arcs in the wall of the chest, and a spine."""
    depth = np.hypot(x / 0.97, y / 0.86)
    angle = np.arctan2(y / 0.86, x / 0.97)
    arcs = _step(np.abs(depth - 0.9) - 0.045) * (np.sin(9 * angle + rng.uniform(0, 6.28)) > 0.2)
    return np.maximum(arcs, _ellipse(x, y, 0, 0.62, 0.11, 0.13))


def _nodule(rng: np.random.Generator, x: Image, y: Image, radius: float, margin: float) -> Image:
    """How far each pixel is inside the nodule: a circle that grows uneven rays with `margin`."""
    angle, distance = np.arctan2(y, x), np.hypot(x, y)
    length = 0.75 + 0.25 * np.cos(3 * angle + rng.uniform(0, 6.28))
    rays = length * np.cos(int(rng.integers(3, 6)) * (angle - rng.uniform(0, 6.28))) ** 4
    return _step(distance - radius * (1 + margin * (0.75 * rays - 0.2)))


def _smooth_noise(rng: np.random.Generator, size: int, scale: float) -> Image:
    """Noise of variance 1 whose grains are about `scale` of half the image wide."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.rfftfreq(size), indexing="ij"))
    sigma = scale * size / 2 / 2
    spectrum = np.fft.rfft2(rng.normal(size=(size, size)))
    noise = np.fft.irfft2(spectrum * np.exp(-2 * (np.pi * sigma * frequency) ** 2), (size, size))
    return np.asarray(noise / noise.std())
