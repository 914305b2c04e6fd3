"""From stored values to brightness: the grey-scale pipeline of DICOM PS3.3 C.11, on arrays.

    stored value -> modality LUT -> VOI window or table -> 0 (dark) to 1 (bright)

The result is always within [0, 1]. The usual functions map to a range that follows from the bits
stored, so that one scanner's images would come out brighter than another's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from protocols.radiology.errors import Unreadable

Array = NDArray[Any]
Float = NDArray[np.float64]
Window = str | tuple[float, float]  # "voi", "min-max", or a centre and a width

# Where an enhanced multi-frame object keeps, per frame, what others keep at the top.
GROUPS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")
REC_601 = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True, slots=True)
class Table:
    """A look-up table: entry 0 serves `first` and everything below, the last serves all above."""

    first: int
    bits: int
    entries: Array

    @classmethod
    def of(cls, item: Dataset, little_endian: bool) -> Table:
        """The table in a Modality or VOI LUT Sequence item."""
        count, first, bits = (int(number) for number in item.LUTDescriptor)
        count, data = count or 1 << 16, item.LUTData  # 0 stands for 65536
        if isinstance(data, bytes):
            wide = "<u2" if little_endian else ">u2"
            data = np.frombuffer(data, wide if len(data) >= 2 * count else np.uint8)
        return cls(first, bits, np.atleast_1d(data)[:count].astype(np.float64))

    def __call__(self, values: Array) -> Float:
        """Look every value up."""
        place = np.rint(values).astype(np.int64) - self.first
        return np.asarray(self.entries[place.clip(0, self.entries.size - 1)])


@dataclass(frozen=True, slots=True)
class Look:
    """How the values of one frame are to be read and shown."""

    slope: float = 1.0
    intercept: float = 0.0
    modality: Table | None = None
    voi: Table | None = None
    centre: float | None = None
    width: float | None = None
    function: str = "LINEAR"

    @classmethod
    def of(cls, ds: Dataset, frame: int, little_endian: bool) -> Look:
        """Read from the frame's functional groups, else the shared ones, else the top."""
        places = [*_groups(ds, "PerFrameFunctionalGroupsSequence", frame)]
        places += [*_groups(ds, "SharedFunctionalGroupsSequence", 0), ds]

        def find(keyword: str) -> Any:
            values = (place.get(keyword) for place in places)
            return next((value for value in values if value not in (None, "")), None)

        def table(keyword: str) -> Table | None:
            items = find(keyword)
            return Table.of(items[0], little_endian) if items else None

        slope, intercept = find("RescaleSlope"), find("RescaleIntercept")
        rescaled = slope is not None and intercept is not None
        return cls(
            slope=float(slope) if rescaled else 1.0,
            intercept=float(intercept) if rescaled else 0.0,
            modality=table("ModalityLUTSequence"),
            voi=table("VOILUTSequence"),
            centre=_first(find("WindowCenter")),
            width=_first(find("WindowWidth")),
            function=str(find("VOILUTFunction") or "LINEAR").upper(),
        )

    def values(self, stored: Array) -> Float:
        """Stored values in the modality's unit (Hounsfield units, for most CT)."""
        if self.modality is not None:
            return self.modality(stored)
        return np.asarray(stored.astype(np.float64) * self.slope + self.intercept)

    def shown(self, values: Float) -> Float | None:
        """Brightness from 0 to 1 by the file's own table or first window; None if it has none."""
        if self.voi is not None:
            return np.asarray((self.voi(values) / (2.0**self.voi.bits - 1)).clip(0, 1))
        if self.centre is None or self.width is None:
            return None
        if self.function == "SIGMOID" and self.width > 0:
            bend = (-4 * (values - self.centre) / self.width).clip(-700, 700)
            return np.asarray(1 / (1 + np.exp(bend)))
        if self.function == "LINEAR_EXACT" and self.width > 0:
            return np.asarray(((values - self.centre) / self.width + 0.5).clip(0, 1))
        if self.function == "LINEAR" and self.width >= 1:
            return ramp(values, self.centre, self.width)
        raise Unreadable("has a VOI window without width, or of an unknown kind; use min-max")


def brightness(looks: Sequence[Look], stored: Array, window: Window, padding: Array) -> Float:
    """Frames that are shown together, from stored values to brightness.

    "voi" is each frame's own table or window; where it has neither, and for "min-max", the frames
    share one range, which padding does not set.
    """
    values = np.stack([look.values(frame) for look, frame in zip(looks, stored, strict=True)])
    wrong = int(np.sum(~np.isfinite(values)))
    if wrong:
        raise Unreadable(f"has {wrong} of {values.size} pixels that are not finite numbers")
    if not isinstance(window, str):
        return ramp(values, *window)
    if window == "voi":
        shown = [look.shown(frame) for look, frame in zip(looks, values, strict=True)]
        whole = [frame for frame in shown if frame is not None]
        if len(whole) == len(shown):
            return np.stack(whole)
    return min_max(values, padding)


def _groups(ds: Dataset, keyword: str, index: int) -> list[Dataset]:
    items = ds.get(keyword) or []
    if index >= len(items):
        return []
    return [items[index][name][0] for name in GROUPS if items[index].get(name)]


def _first(value: Any) -> float | None:
    if value is None or isinstance(value, (str, float, int)):
        return None if value is None else float(value)
    return float(value[0])


def ramp(values: Float, centre: float, width: float) -> Float:
    """The LINEAR window of PS3.3 C.11.2.1.2.1, to [0, 1]."""
    if width <= 1:
        return (values > centre - 0.5).astype(np.float64)
    return np.asarray(((values - (centre - 0.5)) / (width - 1) + 0.5).clip(0, 1))


def min_max(values: Float, padding: Array | None = None) -> Float:
    """Stretch to [0, 1] over what is not padding; an even image becomes 0."""
    seen = values if padding is None else values[~padding]
    low, high = (seen.min(), seen.max()) if seen.size else (0.0, 0.0)
    if not high > low:
        return np.zeros_like(values)
    return np.asarray(((values - low) / (high - low)).clip(0, 1))


def luminance(rgb: Array, bits: int) -> Float:
    """Colour to brightness, by the weights of ITU-R BT.601."""
    return np.asarray((rgb[..., :3].astype(np.float64) @ REC_601 / (2.0**bits - 1)).clip(0, 1))
