"""Small DICOM files, made to order."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from protocols.radiology import write_cohort


class DicomFile:
    """Writes one grey image as DICOM; keywords set or (as None) delete elements."""

    planted = ("Wobblethorpe", "Xiomara", "MRN-774411", "19310203", "ACC-0099", "Snickerdoodle")

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str, pixels: Any = None, **elements: Any) -> Path:
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[name])
        syntax = elements.pop("TransferSyntaxUID", ExplicitVRLittleEndian)
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID = CTImageStorage
        ds.SOPInstanceUID = generate_uid(entropy_srcs=[name])
        ds.StudyInstanceUID = generate_uid(entropy_srcs=[name, "study"])
        family, given, number, born, accession, doctor = self.planted
        ds.PatientName, ds.PatientID, ds.PatientBirthDate = f"{family}^{given}", number, born
        ds.AccessionNumber, ds.ReferringPhysicianName = accession, doctor
        ds.PatientAge = "060Y"
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.PixelRepresentation = 15, 0
        if pixels is None:
            pixels = np.arange(64, dtype=np.uint16).reshape(8, 8)
        pixels = np.asarray(pixels)
        if pixels.ndim == 3 and elements.get("SamplesPerPixel", 1) == 1:
            ds.NumberOfFrames = len(pixels)
        shape = pixels.shape[-2:] if elements.get("SamplesPerPixel", 1) == 1 else pixels.shape[:2]
        ds.Rows, ds.Columns = shape
        ds.PixelData = pixels.tobytes()
        for keyword, value in elements.items():
            if value is None:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)
        if "PixelData" in ds:
            ds["PixelData"].VR = "OW"
        path = self.folder / name
        ds.save_as(path, enforce_file_format=True)
        if syntax != ExplicitVRLittleEndian:  # patched in, since pydicom would not write nonsense
            content = path.read_bytes()
            old, new = ExplicitVRLittleEndian.encode(), syntax.encode()
            room = len(old) + len(old) % 2
            assert len(new) <= room
            path.write_bytes(content.replace(old.ljust(room, b"\0"), new.ljust(room, b"\0"), 1))
        return path


@pytest.fixture
def dicom(tmp_path: Path) -> DicomFile:
    return DicomFile(tmp_path)


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_cohort(tmp_path_factory.mktemp("cohort"), patients=40, size=48, seed=7)


@pytest.fixture
def labels(tmp_path: Path) -> Callable[..., Path]:
    def write(*lines: str) -> Path:
        path = tmp_path / "labels.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write
