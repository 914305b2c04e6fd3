"""One DICOM file in, brightness out, or a reason in plain words why not.

Only the elements named in `PIXEL_TAGS`, and those a caller names, are parsed at all: a patient's
name is never in memory. What pydicom raises or warns about may quote the header, so none of it
leaves here: a refusal says what is wrong by kind, with counts.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, MediaStorageDirectoryStorage

from protocols.radiology.errors import Unreadable
from protocols.radiology.grayscale import Float, Look, Window, brightness, luminance, min_max

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
SHAPE = ("Rows", "Columns", "BitsAllocated", "SamplesPerPixel", "PhotometricInterpretation")
PIXEL_TAGS = (
    *PIXELS,
    *SHAPE,
    *("BitsStored", "HighBit", "PixelRepresentation", "PlanarConfiguration", "NumberOfFrames"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence", "ModalityLUTSequence"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *(
        f"{kind}{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for kind, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
    ),
)
INSTALL = {  # which wheel decodes a transfer syntax; the first that is free of the GPL
    "1.2.840.10008.1.2.4.50": "pillow",
    "1.2.840.10008.1.2.4.51": "pillow",
    "1.2.840.10008.1.2.4.57": "python-gdcm",
    "1.2.840.10008.1.2.4.70": "python-gdcm",
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pillow",
    "1.2.840.10008.1.2.4.91": "pillow",
    "1.2.840.10008.1.2.4.201": "pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.202": "pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.203": "pylibjpeg pylibjpeg-openjpeg",
}
MOST_SAMPLES = 1 << 29  # a small compressed file may claim to be huge; this is 2000 slices of CT
_ONE_AT_A_TIME = threading.RLock()  # the filters of `warnings` belong to the whole process


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's warnings and log lines, which may quote the header, from going anywhere."""
    log = logging.getLogger("pydicom")
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        was, log.disabled = log.disabled, True
        try:
            yield
        finally:
            log.disabled = was


def read_image(
    path: str | Path,
    *,
    window: Window = "voi",
    frames: str | int = "refuse",
    colour: str = "refuse",
) -> Float:
    """The brightness, from 0 to 1, of every pixel of a DICOM file; `Unreadable` says why not.

    Args:
        path: The file.
        window: "voi" for the file's own window or table (and its full range where it has none),
            "min-max", or a centre and a width in the modality's unit.
        frames: What to do with a multi-frame file: "refuse" it; a number for that frame;
            "volume" or "each" for all of them, as (D, H, W); the others give (H, W). Frames of a
            volume share one range, where the range is theirs to set.
        colour: "refuse" or "luminance".

    MONOCHROME1 is inverted, so that bright means bright. Padding is 0.
    """
    return render(read_elements(path), window=window, frames=frames, colour=colour)


def read_elements(path: str | Path, keywords: Sequence[str] = ()) -> Dataset:
    """The elements of a file that make up its image, and those in `keywords`; no others."""
    path = Path(path)
    try:
        size = path.stat().st_size
        if size:
            with quiet():
                return dcmread(path, specific_tags=[*PIXEL_TAGS, *keywords])
        reason = "is empty"
    except InvalidDicomError:
        reason = "is not DICOM: it does not start with a DICOM preamble"
    except OSError as error:
        reason = f"cannot be opened: {error.strerror}" if error.strerror else "is truncated"
    except Exception:  # whatever a damaged header provokes; its text may quote the header
        reason = "is truncated, or its header is damaged"
    raise Unreadable(reason)  # outside the handlers, so that nothing is chained to it


def render(ds: Dataset, *, window: Window, frames: str | int, colour: str) -> Float:
    """As `read_image`, from elements that were read."""
    with quiet():
        try:
            return _render(ds, window, frames, colour)
        except Unreadable as error:
            reason = error.reason
        except Exception:  # a missing or malformed element that no check below foresees
            reason = "has a malformed image description"
    raise Unreadable(reason)


def _render(ds: Dataset, window: Window, frames: str | int, colour: str) -> Float:
    _check_decodable(ds)
    coloured = _check_kind(ds)
    if coloured and colour == "refuse":
        raise Unreadable("is a colour image; ask for luminance to take it as grey")
    if coloured and not isinstance(window, str):
        raise Unreadable("is a colour image, which has no unit for the window asked for")
    count = _frame_count(ds)
    stored = _decode(ds, frames, count)
    picked = [frames] if isinstance(frames, int) else range(count)
    show = _show_colour if coloured else _show
    if frames == "volume":
        image = show(ds, stored, picked, window)
    else:
        pairs = zip(picked, stored, strict=True)
        image = np.concatenate([show(ds, frame[np.newaxis], [i], window) for i, frame in pairs])
    return image if frames in ("volume", "each") else image[0]


def _check_decodable(ds: Dataset) -> None:
    """Refuse what has no pixels, or pixels that no decoder here can read."""
    syntax = UID(str(ds.file_meta.get("TransferSyntaxUID", "")))
    if ds.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        raise Unreadable("is a DICOMDIR, an index of other files")
    if not any(ds.get(keyword) for keyword in PIXELS):
        raise Unreadable("has no pixel data")
    if not syntax:
        raise Unreadable("does not say its transfer syntax")
    name = syntax.name if syntax.is_transfer_syntax and not syntax.is_private else "(unknown)"
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        wheel = INSTALL.get(str(syntax))
        hint = f"; pip install {wheel}" if wheel else ", and none is known"
        raise Unreadable(f"has no decoder here for its transfer syntax, {name}{hint}")


def _check_kind(ds: Dataset) -> bool:
    """Whether the image is in colour, once its description is whole."""
    missing = [keyword for keyword in SHAPE if ds.get(keyword) is None]
    if missing:
        raise Unreadable(f"lacks {', '.join(missing)}")
    if not (ds.Rows > 0 and ds.Columns > 0):
        raise Unreadable("has an image of zero size")
    grey = ds.PhotometricInterpretation in ("MONOCHROME1", "MONOCHROME2")
    palette = ds.PhotometricInterpretation == "PALETTE COLOR"
    if ds.SamplesPerPixel != (1 if grey or palette else 3):
        raise Unreadable("has a number of samples that its photometric interpretation denies")
    return not grey


def _frame_count(ds: Dataset) -> int:
    try:
        count = int(ds.get("NumberOfFrames") or 1)
    except (TypeError, ValueError):
        count = 0
    if count < 1:
        raise Unreadable("has a number of frames that is not a whole number from 1 up")
    return count


def _decode(ds: Dataset, frames: str | int, count: int) -> NDArray[Any]:
    """Stored values as (frames asked for, rows, columns[, samples])."""
    if frames == "refuse" and count > 1:
        raise Unreadable(f"has {count} frames; say which, or ask for each or for a volume")
    if isinstance(frames, int) and not 0 <= frames < count:
        raise Unreadable(f"has {count} frames, so none with the number {frames} (from 0)")
    samples = int(ds.Rows) * int(ds.Columns) * int(ds.SamplesPerPixel) * count
    if samples > MOST_SAMPLES:
        raise Unreadable(f"claims {samples} pixel values, more than the {MOST_SAMPLES} taken")
    if not UID(ds.file_meta.TransferSyntaxUID).is_compressed:
        need = samples * int(ds.BitsAllocated) // 8
        have = max(len(ds.get(keyword) or b"") for keyword in PIXELS)
        if have < need and ds.PhotometricInterpretation != "YBR_FULL_422":
            raise Unreadable(f"is truncated: {have} of {need} bytes of pixel data are there")
    try:
        stored = pixel_array(ds, index=frames if isinstance(frames, int) else None)
    except Exception:  # decoders raise all kinds, and some quote the header
        stored = None
    if stored is None:
        raise Unreadable("has pixel data that no decoder here can read: truncated, damaged or odd")
    single = isinstance(frames, int) or count == 1
    return stored[np.newaxis] if single else stored


def _show(ds: Dataset, stored: NDArray[Any], picked: Sequence[int], window: Window) -> Float:
    """Frames that are shown together, through the grey-scale pipeline; padding ends up dark."""
    padding = np.zeros(stored.shape, bool)
    value = ds.get("PixelPaddingValue")
    if isinstance(value, int):
        limit = ds.get("PixelPaddingRangeLimit")
        low, high = sorted((value, limit if isinstance(limit, int) else value))
        padding = (stored >= low) & (stored <= high)
    little_endian = UID(ds.file_meta.TransferSyntaxUID).is_little_endian
    shown = None
    try:
        looks = [Look.of(ds, frame, little_endian) for frame in picked]
        shown = brightness(looks, stored, window, padding)
    except Unreadable:
        raise
    except (TypeError, ValueError, AttributeError, IndexError):  # a malformed element
        pass
    if shown is None:
        raise Unreadable("has a rescale, window or look-up table that cannot be read")
    if ds.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    return np.where(padding, 0.0, shown)


def _show_colour(ds: Dataset, stored: NDArray[Any], picked: Sequence[int], window: Window) -> Float:
    """Frames, already RGB or an index into a palette, as luminance."""
    bits = int(ds.get("BitsStored") or ds.BitsAllocated)
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, ds)
        bits = 8 * stored.dtype.itemsize
    grey = luminance(stored, bits)
    return min_max(grey) if window == "min-max" else grey
