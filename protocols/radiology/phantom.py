"""A made-up cohort: CT-like DICOM files of chests with a nodule, for demos and tests.

No patient was imaged. Texture and margin decide the label, as a radiologist would have it: a
benign nodule (0) is round, sharp and even inside; a malignant one (1) is spiculated and patchy.
Density, size and place are drawn alike for both, so brightness says next to nothing.

The scanners store the same anatomy differently: signed or not, in 12 or 16 bits, with other rescale
slopes, with or without a window, as MONOCHROME2 or MONOCHROME1. Headers carry invented names,
numbers and birth dates, so that de-identification has something to do. The same seed gives the same
bytes.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from mpc.errors import UsageError
from protocols.radiology.anatomy import chest

FAMILY = ("Quillfeather", "Brandywhistle", "Oakhollow", "Vantersloot", "Mirabrook", "Tanglewick")
GIVEN = ("Ottoline", "Barnaby", "Clementia", "Dagfinn", "Euphrasia", "Zebulon")
LABELS_FILE = "labels.csv"
ROOT = "1.2.826.0.1.3680043.8.498."  # the root pydicom offers for generated identifiers


@dataclass(frozen=True, slots=True)
class Scanner:
    """How one device stores Hounsfield units: stored = (HU - intercept) / slope, in `bits` bits."""

    model: str
    bits: int
    signed: bool
    slope: float
    intercept: float
    inverted: bool = False
    windowed: bool = True

    def store(self, hounsfield: NDArray[np.float64]) -> NDArray[np.uint16]:
        """Stored values as they lie in the file, two's complement within `bits` where signed.

        A MONOCHROME1 device shows small values bright, so it stores minus the density.
        """
        values = -hounsfield if self.inverted else hounsfield
        low = -(1 << (self.bits - 1)) if self.signed else 0
        stored = np.rint((values - self.intercept) / self.slope)
        stored = stored.clip(low, low + (1 << self.bits) - 1).astype(np.int64)
        return (stored & ((1 << self.bits) - 1)).astype(np.uint16)


SCANNERS = (
    Scanner("Aster 16", bits=16, signed=True, slope=1.0, intercept=0.0),
    Scanner("Borealis 12", bits=12, signed=False, slope=1.0, intercept=-1024.0),
    Scanner("Corvus 16i", bits=16, signed=False, slope=0.25, intercept=-3072.0, inverted=True),
    Scanner("Draco 12s", bits=12, signed=True, slope=2.0, intercept=-200.0, windowed=False),
)


def write_cohort(
    folder: str | Path,
    sites: Sequence[str] = ("north", "south", "west"),
    patients: int = 80,
    size: int = 64,
    seed: int = 0,
) -> dict[str, Path]:
    """Write `folder/SITE/*.dcm` and `folder/SITE/labels.csv` for each site; returns the folders.

    `patients` is the number at each site; every fifth has a second study. Half the patients have a
    malignant nodule. In a file there is one `size` by `size` image.
    """
    if patients < 1 or not 16 <= size <= 1024 or seed < 0:
        raise UsageError("a cohort needs patients >= 1, size from 16 to 1024 and seed >= 0")
    if not sites or len(set(sites)) != len(sites):
        raise UsageError("a cohort needs at least one site, each with a name of its own")
    return {
        site: _write_site(Path(folder) / site, number, patients, size, seed)
        for number, site in enumerate(sites)
    }


def _write_site(folder: Path, number: int, patients: int, size: int, seed: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, int]] = []
    malignant = np.random.default_rng([seed, number]).permutation(patients) % 2
    for patient in range(patients):
        rng = np.random.default_rng([seed, number, patient])
        label = int(malignant[patient])
        person = _person(rng, f"{number + 1}{patient:05d}")
        scanner = SCANNERS[(number + patient) % len(SCANNERS)]
        for visit in range(2 if patient % 5 == 4 else 1):
            name = f"study-{len(rows):04d}.dcm"
            uid = f"phantom {seed} {number} {patient} {visit}"
            image = chest(rng, size, malignant=bool(label))
            ct_image(person, scanner, image, uid, rng).save_as(
                folder / name, enforce_file_format=True
            )
            rows.append((name, label))
    with (folder / LABELS_FILE).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("file", "label"), *rows])
    return folder


def _person(rng: np.random.Generator, number: str) -> Dataset:
    age = int(rng.integers(35, 90))
    person = Dataset()
    person.PatientName = f"{rng.choice(FAMILY)}-{number}^{rng.choice(GIVEN)}"
    person.PatientID = f"MRN{number}"
    person.PatientBirthDate = f"{2024 - age}{rng.integers(1, 13):02d}{rng.integers(1, 29):02d}"
    person.PatientSex = str(rng.choice(["F", "M"]))
    person.PatientAge = f"{age:03d}Y"
    person.PatientWeight = f"{rng.uniform(45, 110):.1f}"
    return person


def ct_image(
    person: Dataset,
    scanner: Scanner,
    hounsfield: NDArray[np.float64],
    uid: str,
    rng: np.random.Generator,
) -> FileDataset:
    """A CT Image Storage object around one image, for `person`, as `scanner` would store it."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(ROOT, [uid, "instance"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = generate_uid(ROOT, ["radmpc phantom"])
    meta.ImplementationVersionName = "RADMPC_PHANTOM"

    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.update(person)
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["DERIVED" if scanner.inverted else "ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID = generate_uid(ROOT, [uid, "study"])
    ds.SeriesInstanceUID = generate_uid(ROOT, [uid, "series"])
    ds.FrameOfReferenceUID = generate_uid(ROOT, [uid, "frame of reference"])
    ds.PositionReferenceIndicator = ""
    ds.StudyDate = ds.ContentDate = f"2024{rng.integers(1, 13):02d}{rng.integers(1, 29):02d}"
    ds.StudyTime = ds.ContentTime = f"{rng.integers(7, 19):02d}{rng.integers(0, 60):02d}00"
    ds.AccessionNumber = f"ACC{rng.integers(10**8):08d}"
    ds.ReferringPhysicianName = "Phantomsworth^Ignatia"
    ds.InstitutionName = "Hospital of the Invented Cohort"
    ds.Modality, ds.Manufacturer = "CT", "radmpc phantom"
    ds.ManufacturerModelName = scanner.model
    ds.StudyID, ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = "1", 1, 1, 1
    ds.KVP, ds.SliceThickness = "120", str(rng.choice(["1.0", "1.25", "2.5"]))
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing = [f"{330 / hounsfield.shape[0]:.4f}"] * 2

    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME1" if scanner.inverted else "MONOCHROME2"
    ds.Rows, ds.Columns = hounsfield.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, scanner.bits, scanner.bits - 1
    ds.PixelRepresentation = int(scanner.signed)
    ds.RescaleSlope, ds.RescaleIntercept = str(scanner.slope), str(scanner.intercept)
    ds.RescaleType = "US" if scanner.inverted else "HU"
    if scanner.windowed:
        ds.WindowCenter, ds.WindowWidth = ("500" if scanner.inverted else "-500"), "1500"
    ds.PixelData = scanner.store(hounsfield).astype("<u2").tobytes()
    ds["PixelData"].VR = "OW"
    return ds
