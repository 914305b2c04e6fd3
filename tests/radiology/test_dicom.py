"""Reading one file: like pydicom where it can be read, and by name with a reason where not."""

import logging
import random
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import data_store
import numpy as np
import pydicom.data
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.uid import JPEGLosslessSV1

from protocols.radiology import Unreadable, read_image
from protocols.radiology.grayscale import Table, ramp

WHEEL = Path(pydicom.data.__file__).parent
WHEEL_FILES = sorted(p for p in WHEEL.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
MORE = Path(data_store.__file__).parent / "data"  # the wheel of pydicom-data


@contextmanager
def pydicom_unheard():
    """pydicom warns about many of its own test files; that is not what is tested here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def pydicom_reads(path: Path) -> np.ndarray:
    """The same image by pydicom's own functions, brought to [0, 1] by the range they map to."""
    ds = dcmread(path)
    stored = ds.pixel_array
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, ds)
        return stored[..., :3] @ [0.299, 0.587, 0.114] / np.iinfo(stored.dtype).max
    if ds.SamplesPerPixel == 3:
        return stored @ [0.299, 0.587, 0.114] / (2.0**ds.BitsStored - 1)
    padding = np.zeros(stored.shape, bool)
    if "PixelPaddingValue" in ds:
        padding = stored == ds.PixelPaddingValue
    values = apply_modality_lut(stored, ds)
    if "WindowWidth" in ds or "VOILUTSequence" in ds:
        shown = apply_voi_lut(values, ds).astype(float)
        low, high = output_range(ds)
    else:
        shown = values.astype(float)
        low, high = shown[~padding].min(), shown[~padding].max()
    shown = ((shown - low) / (high - low)).clip(0, 1) if high > low else np.zeros_like(shown)
    if ds.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    return np.where(padding, 0, shown)


def output_range(ds: Dataset) -> tuple[float, float]:
    """What pydicom's windowing maps to."""
    if ds.get("VOILUTSequence"):
        return 0, 2 ** ds.VOILUTSequence[0].LUTDescriptor[2] - 1
    if ds.get("ModalityLUTSequence"):
        return 0, 2 ** ds.ModalityLUTSequence[0].LUTDescriptor[2] - 1
    low = -(2 ** (ds.BitsStored - 1)) if ds.PixelRepresentation else 0
    slope, intercept = float(ds.get("RescaleSlope", 1)), float(ds.get("RescaleIntercept", 0))
    return low * slope + intercept, (low + 2**ds.BitsStored - 1) * slope + intercept


def header_texts(path: Path) -> set[str]:
    """Every text of the header that could tell who it is."""
    texts: set[str] = set()
    try:
        for element in dcmread(path, force=True).iterall():
            if element.VR in ("PN", "LO", "SH", "DA", "UI", "LT", "ST") and element.tag.group != 2:
                texts.update(t for t in str(element.value).replace("^", " ").split() if len(t) > 5)
    except Exception:
        return texts
    return texts


@pytest.mark.parametrize("path", WHEEL_FILES, ids=lambda p: str(p.relative_to(WHEEL)))
def test_every_file_in_the_pydicom_wheel_is_read_like_pydicom_or_refused_with_a_reason(path):
    try:
        image = read_image(path, frames="volume", colour="luminance")
    except Unreadable as error:
        assert error.reason.split()[0] in ("is", "has", "lacks", "does", "cannot")
        assert "\n" not in str(error)
        assert error.__cause__ is None
        assert error.__context__ is None
        with pydicom_unheard():
            assert not [text for text in header_texts(path) if text in str(error)]
            with pytest.raises(Exception):  # noqa: B017  (whatever pydicom raises)
                pydicom_reads(path)
        return
    with pydicom_unheard():
        expected = pydicom_reads(path)
    assert image.dtype == np.float64
    assert 0 <= image.min() <= image.max() <= 1
    assert np.allclose(image, expected.reshape(image.shape), atol=1e-9)


@pytest.mark.parametrize("name", ["RG1_UNCI", "RG1_UNCR", "RG1_J2KR", "RG3_UNCI", "693_UNCI"])
def test_real_radiographs_and_ct_are_read_like_pydicom(name):
    path = MORE / f"{name}.dcm"
    assert np.allclose(read_image(path), pydicom_reads(path), atol=1e-9)


def test_a_monochrome1_radiograph_comes_out_with_bright_bones():
    ds = dcmread(MORE / "RG1_UNCI.dcm")
    assert ds.PhotometricInterpretation == "MONOCHROME1"
    image = read_image(MORE / "RG1_UNCI.dcm")
    dense = ds.pixel_array < np.quantile(ds.pixel_array, 0.2)  # little light came through
    assert image.shape == (1955, 1841)
    assert image[dense].mean() > image[~dense].mean() + 0.15


@pytest.mark.parametrize("name", ["mlut_18", "vlut_04"])
def test_look_up_table_sequences_are_applied_like_pydicom(name):
    path = MORE / f"{name}.dcm"
    with pydicom_unheard():
        expected = pydicom_reads(path)
    assert np.allclose(read_image(path), expected, atol=1e-9)


@pytest.mark.parametrize("name", ["RLE", "big_endian", "jpeg_2k_lossless", "jpeg_ls_lossless"])
def test_an_enhanced_volume_is_the_same_in_every_transfer_syntax(name):
    first = read_image(MORE / "emri_small.dcm", frames="volume")
    assert first.shape == (10, 64, 64)
    assert np.array_equal(read_image(MORE / f"emri_small_{name}.dcm", frames="volume"), first)


def test_the_same_slice_is_the_same_in_eight_transfer_syntaxes():
    folder = WHEEL / "test_files"
    first = read_image(folder / "MR_small.dcm")
    for kind in ("RLE", "bigendian", "expb", "implicit", "jp2klossless", "jpeg_ls_lossless"):
        assert np.array_equal(read_image(folder / f"MR_small_{kind}.dcm"), first)


def test_a_linear_window_runs_from_dark_to_bright_as_the_standard_says():
    values = np.array([-100.0, -0.5, 49.5, 99.5, 200.0])
    # PS3.3 C.11.2.1.2.1: dark up to c - 0.5 - (w - 1) / 2, bright from there plus w - 1
    assert np.allclose(ramp(values, 50, 101), [0, 0, 0.5, 1, 1])
    assert np.array_equal(ramp(np.array([49.0, 49.5, 50.0]), 50, 1), [0, 0, 1])


def u16(*rows):
    return np.array(rows, np.uint16)


def test_rescale_comes_before_the_window(dicom):
    hounsfield = {"RescaleSlope": "2", "RescaleIntercept": "-1000"}
    window = {"WindowCenter": ["1000", "40"], "WindowWidth": ["4001", "400"]}
    path = dicom("a.dcm", u16([0, 1000, 2000], [500, 250, 65535]), **hounsfield, **window)
    values = np.array([[-1000, 1000, 3000], [0, -500, 130070.0]])
    assert np.allclose(read_image(path), ramp(values, 1000, 4001))
    assert np.allclose(read_image(path, window=(0, 800)), ramp(values, 0, 800))
    low, high = values.min(), values.max()
    assert np.allclose(read_image(path, window="min-max"), (values - low) / (high - low))


def test_exact_and_sigmoid_windows_follow_the_standard(dicom):
    window = {"WindowCenter": "100", "WindowWidth": "50"}
    path = dicom("a.dcm", u16([0, 75, 100], [110, 125, 200]), **window, VOILUTFunction="SIGMOID")
    values = np.array([[0, 75, 100], [110, 125, 200]])
    assert np.allclose(read_image(path), 1 / (1 + np.exp(-4 * (values - 100) / 50)))
    path = dicom("b.dcm", values.astype(np.uint16), **window, VOILUTFunction="LINEAR_EXACT")
    assert np.allclose(read_image(path), ((values - 100) / 50 + 0.5).clip(0, 1))


def test_monochrome1_is_the_negative_of_monochrome2(dicom):
    pixels = u16([0, 10, 20], [30, 40, 50])
    negative = dicom("a.dcm", pixels, PhotometricInterpretation="MONOCHROME1")
    assert np.allclose(read_image(negative), 1 - read_image(dicom("b.dcm", pixels)))


def test_padding_is_dark_and_does_not_set_the_range(dicom):
    path = dicom("a.dcm", u16([65535, 100, 150], [200, 65535, 100]), PixelPaddingValue=65535)
    assert np.allclose(read_image(path), [[0, 0, 0.5], [1, 0, 0]])
    inverted = dicom("b.dcm", u16([0, 100, 200]), PixelPaddingValue=0,
                     PhotometricInterpretation="MONOCHROME1")  # fmt: skip
    assert np.allclose(read_image(inverted), [[0, 1, 0]])


def test_an_even_image_is_dark_and_not_a_division_by_zero(dicom):
    assert np.array_equal(
        read_image(dicom("a.dcm", np.full((4, 4), 9, np.uint16))), np.zeros((4, 4))
    )


def test_frames_are_refused_or_taken_as_asked(dicom):
    pixels = np.arange(3 * 4 * 5, dtype=np.uint16).reshape(3, 4, 5)
    path = dicom("a.dcm", pixels)
    with pytest.raises(Unreadable, match="has 3 frames; say which"):
        read_image(path)
    with pytest.raises(Unreadable, match="has 3 frames, so none with the number 3"):
        read_image(path, frames=3)
    assert np.allclose(read_image(path, frames="volume"), pixels / 59)
    assert np.allclose(read_image(path, frames="each"), np.arange(20).reshape(4, 5) / 19)
    assert np.allclose(read_image(path, frames=1), np.arange(20).reshape(4, 5) / 19)
    assert read_image(dicom("b.dcm"), frames="volume").shape == (1, 8, 8)


def test_colour_is_refused_unless_luminance_is_asked_for(dicom):
    rgb = np.zeros((4, 6, 3), np.uint8)
    rgb[..., 1] = 255
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    path = dicom("a.dcm", rgb, BitsAllocated=8, BitsStored=8, HighBit=7, **colour)
    with pytest.raises(Unreadable, match="is a colour image"):
        read_image(path)
    assert np.allclose(read_image(path, colour="luminance"), 0.587)
    with pytest.raises(Unreadable, match="no unit for the window"):
        read_image(path, colour="luminance", window=(40, 400))


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"PixelData": None}, "has no pixel data"),
        ({"PixelData": b""}, "has no pixel data"),
        ({"PixelData": b"\0" * 100}, "is truncated: 100 of 128 bytes of pixel data are there"),
        ({"Rows": 0}, "has an image of zero size"),
        ({"Rows": 65535, "Columns": 65535}, "claims 4294836225 pixel values"),
        ({"Rows": None, "BitsAllocated": None}, "lacks Rows, BitsAllocated"),
        ({"SamplesPerPixel": None}, "lacks SamplesPerPixel"),
        ({"PhotometricInterpretation": "RGB"}, "has a number of samples that"),
        ({"NumberOfFrames": 0, "Rows": 8}, None),
        ({"NumberOfFrames": -1}, "has a number of frames that is not a whole number"),
        ({"WindowCenter": "1", "WindowWidth": "0"}, "has a VOI window without width"),
        ({"BitsStored": 99}, "has pixel data that no decoder here can read"),
        ({"TransferSyntaxUID": "1.2.840.10008.1.2.9"}, r"transfer syntax, \(unknown\)"),
        ({"TransferSyntaxUID": "1.3.46.670589"}, r"transfer syntax, \(unknown\)"),
    ],
)
def test_an_unusable_file_is_refused_with_its_reason(dicom, elements, reason):
    path = dicom("a.dcm", **elements)
    if reason is None:
        assert read_image(path).shape == (8, 8)
        return
    with pytest.raises(Unreadable, match=reason):
        read_image(path)


def test_a_missing_decoder_is_named_with_the_wheel_that_brings_it():
    if get_decoder(JPEGLosslessSV1).is_available:
        pytest.skip("a decoder for JPEG Lossless is installed")
    with pytest.raises(Unreadable, match=r"no decoder here .*JPEG Lossless.*; pip install "):
        read_image(MORE / "JPEG-LL.dcm")


def test_what_is_not_a_dicom_file_is_refused(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("Wobblethorpe")
    (tmp_path / "zeros").write_bytes(bytes(4096))
    (tmp_path / "mark").write_bytes(bytes(128) + b"DICM")
    for name, reason in {
        "empty": "is empty",
        "text": "is not DICOM",
        "zeros": "is not DICOM",
        "mark": "has no pixel data|is truncated",
        "absent": "cannot be opened: No such file",
        ".": "cannot be opened: Is a directory",
    }.items():
        with pytest.raises(Unreadable, match=reason):
            read_image(tmp_path / name)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_are_refused_with_their_count(dicom, bad):
    pixels = np.arange(64, dtype=np.float32).reshape(8, 8)
    good = {"PixelData": None, "BitsAllocated": 32, "BitsStored": None, "HighBit": None}
    good |= {"PixelRepresentation": None}
    path = dicom("a.dcm", pixels, FloatPixelData=pixels.tobytes(), **good)
    assert np.allclose(read_image(path), pixels / 63)
    pixels[2, 3:5] = bad
    path = dicom("b.dcm", pixels, FloatPixelData=pixels.tobytes(), **good)
    with pytest.raises(Unreadable, match="has 2 of 64 pixels that are not finite numbers"):
        read_image(path)


@pytest.mark.parametrize(("bits", "data"), [(16, b"\1\0\2\0\xff\xff"), (8, b"\1\2\xff")])
def test_a_table_may_have_entries_of_one_byte_or_two(bits, data):
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [3, 5, bits])
    item.add_new("LUTData", "OW", data)
    assert np.array_equal(Table.of(item, True).entries, [1, 2, 2**bits - 1])


def test_a_table_serves_values_outside_it_with_its_ends():
    table = Table(first=10, bits=8, entries=np.array([1.0, 5.0, 9.0]))
    assert np.array_equal(table(np.array([-70000, 10, 10.6, 12, 70000])), [1, 1, 5, 9, 9])


def test_a_damaged_file_is_read_or_refused_and_never_tells_whose_it_is(dicom, caplog):
    """Cut anywhere, or with bytes changed anywhere: no traceback, no warning, no log line."""
    window = {"WindowCenter": "30", "WindowWidth": "60", "RescaleSlope": "1"}
    whole = dicom("a.dcm", **window, RescaleIntercept="0").read_bytes()
    source = random.Random(1)
    cuts = [whole[:length] for length in range(0, len(whole), 7)]
    for _ in range(600):
        damaged = bytearray(whole)
        for _ in range(source.randint(1, 4)):
            damaged[source.randrange(128, len(whole))] = source.randrange(256)
        cuts.append(bytes(damaged))
    path = dicom.folder / "damaged.dcm"
    refused = 0
    with caplog.at_level(logging.DEBUG):
        for content in cuts:
            path.write_bytes(content)
            try:
                image = read_image(path)
            except Unreadable as error:
                refused += 1
                assert error.__context__ is None
                assert not [planted for planted in dicom.planted if planted in str(error)]
            else:
                assert np.isfinite(image).all()
    assert refused > 100
    assert caplog.text == ""


def test_an_enhanced_object_is_rescaled_and_windowed_by_its_functional_groups():
    path = MORE / "eCT_Supplemental.dcm"
    ds = dcmread(path)
    for number, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
        shared = ds.SharedFunctionalGroupsSequence[0]
        rescale = (group if "PixelValueTransformationSequence" in group else shared)[
            "PixelValueTransformationSequence"
        ][0]
        window = (group if "FrameVOILUTSequence" in group else shared)["FrameVOILUTSequence"][0]
        values = ds.pixel_array[number] * float(rescale.RescaleSlope)
        values = values + float(rescale.RescaleIntercept)
        centre, width = (
            float(np.atleast_1d(window[keyword].value)[0])
            for keyword in ("WindowCenter", "WindowWidth")
        )
        assert np.allclose(read_image(path, frames=number), ramp(values, centre, width))


def test_parties_as_threads_may_read_at_the_same_time(dicom):
    paths = [
        dicom(f"{n}.dcm", u16([n, n + 1, 99]), WindowCenter="1", WindowWidth="0") for n in range(30)
    ]
    filters = list(warnings.filters)

    def read(path):
        with pytest.raises(Unreadable):
            read_image(path)
        return read_image(path, window="min-max")

    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(read, paths))
    assert all(image.max() == 1 for image in images)
    assert warnings.filters == filters
    assert not logging.getLogger("pydicom").disabled
