"""Data sets in one file, in MedMNIST's format: images and labels, divided already."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocols.radiology.errors import IntakeError
from protocols.radiology.grayscale import luminance
from protocols.radiology.prepare import prepare
from protocols.radiology.settings import Intake
from protocols.radiology.site import Site, Study

PARTS = ("train", "val", "test")


class Splits(NamedTuple):
    """The parts that a data set is published in."""

    train: Site
    validation: Site
    test: Site


def load_npz(path: str | Path, settings: Intake | None = None) -> Splits:
    """Read a MedMNIST-style file: train, val and test images (uint8) and labels, divided already.

    Images are (n, H, W), volumes (n, D, H, W), colour images (n, H, W, 3), taken as luminance if
    the settings ask for it. Without settings the size and the classes are those of the file.
    Every image counts as a patient of its own, since the file does not say whose it is.
    """
    path = Path(path)
    arrays = _load(path)
    images = arrays["train_images"]
    coloured = images.ndim == 4 and images.shape[3] == 3
    if settings is None:
        largest = max(int(arrays[f"{part}_labels"].max()) for part in PARTS)
        dims = 2 if images.ndim == 3 or coloured else 3
        settings = Intake(
            size=images.shape[1 : 1 + dims],
            dims=dims,
            classes=max(2, largest + 1),
            frames="volume" if dims == 3 else "refuse",
        )
    if coloured and settings.colour != "luminance":
        raise IntakeError(f"{path.name} holds colour images; ask for luminance to take it as grey")
    return Splits(*(_part(path, arrays, part, settings, coloured) for part in PARTS))


def _load(path: Path) -> dict[str, NDArray[Any]]:
    """The six arrays, checked. Nothing in the file is unpickled."""
    reason = ""
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise IntakeError(f"there is no file {path.name}") from None
    except (OSError, ValueError, EOFError, TypeError, AttributeError) as error:
        reason = "is not an .npz file of plain arrays, or is damaged"
        if isinstance(error, OSError) and error.errno:
            reason = f"cannot be opened: {error.strerror}"
    except (zipfile.BadZipFile, zlib.error, NotImplementedError):
        reason = "is damaged"
    for part in PARTS if not reason else ():
        images, labels = arrays.get(f"{part}_images"), arrays.get(f"{part}_labels")
        if images is None or labels is None:
            reason = f"lacks {part}_images or {part}_labels"
        elif images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape:
            reason = f"has {part}_images that are not uint8 of shape (n, H, W) or (n, D, H, W)"
        elif labels.dtype.kind not in "iu" or labels.shape not in (
            (len(images),),
            (len(images), 1),
        ):
            reason = f"has {part}_labels that are not whole numbers, one an image"
        elif images.shape[1:] != arrays["train_images"].shape[1:]:
            reason = f"has {part}_images of another size than train_images"
        if reason:
            break
    if reason:
        raise IntakeError(f"{path.name} {reason}")
    return arrays


def _part(
    path: Path, arrays: dict[str, NDArray[Any]], part: str, settings: Intake, coloured: bool
) -> Site:
    stored, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"].reshape(-1)
    classes = len(settings.class_names)
    outside = int(np.sum((labels < 0) | (labels >= classes)))
    if outside:
        raise IntakeError(f"{path.name} has {outside} {part}_labels outside the {classes} classes")
    bright = luminance(stored, 8) if coloured else stored / 255
    if bright.ndim - 1 != settings.dims:
        raise IntakeError(f"{path.name} does not hold what dims = {settings.dims} asks for")
    names = [f"{part}/{row:05d}" for row in range(len(labels))]
    return Site(
        np.stack([prepare(image, settings) for image in bright]),
        labels.astype(np.int64),
        tuple(map(Study, names)),
        tuple(names),
        np.zeros((len(labels), 0), np.float32),
    )
