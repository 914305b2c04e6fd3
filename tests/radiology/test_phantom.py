"""The made-up cohort: reproducible, valid, and decided by texture and margin."""

import hashlib

import numpy as np
import pytest
import torch
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import nn

from mpc.errors import UsageError
from protocols.radiology import Intake, radcnn, read_image, read_site, write_cohort
from protocols.radiology.anatomy import chest
from protocols.radiology.phantom import SCANNERS, Scanner, ct_image

CT_TYPE_1 = """SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID Modality ImageType
    FrameOfReferenceUID PixelSpacing ImageOrientationPatient ImagePositionPatient SamplesPerPixel
    PhotometricInterpretation Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation
    RescaleIntercept RescaleSlope PixelData""".split()
CT_TYPE_2 = """PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime StudyID
    ReferringPhysicianName AccessionNumber SeriesNumber InstanceNumber Manufacturer KVP
    AcquisitionNumber SliceThickness PositionReferenceIndicator""".split()


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_cohort(tmp_path / name, patients=6, size=24, seed=seed)
    first, again, other = (digest(tmp_path / name) for name in "abc")
    assert first == again
    assert first.keys() == other.keys()
    dicom = [path for path in first if path.suffix == ".dcm"]
    assert not [path for path in dicom if first[path] == other[path]]
    assert len({first[path] for path in dicom}) == len(dicom)


def test_every_file_is_a_whole_ct_image_with_identifiers_of_its_own(cohort):
    uids = []
    for path in [path for folder in cohort.values() for path in folder.glob("*.dcm")]:
        ds = dcmread(path)  # a warning would be an error here
        assert ds.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert ds.SOPClassUID == ds.file_meta.MediaStorageSOPClassUID == CTImageStorage
        assert ds.SOPInstanceUID == ds.file_meta.MediaStorageSOPInstanceUID
        assert not [keyword for keyword in CT_TYPE_1 if ds.get(keyword) in (None, "")]
        assert not [keyword for keyword in CT_TYPE_2 if keyword not in ds]
        assert ds.pixel_array.shape == (48, 48)
        assert 12 <= ds.BitsStored <= 16
        for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            assert ds[keyword].value.is_valid
            uids.append(ds[keyword].value)
    assert len(set(uids)) == len(uids)


def test_every_site_meets_every_scanner_and_both_photometric_interpretations(cohort):
    for folder in cohort.values():
        read = [dcmread(path) for path in folder.glob("*.dcm")]
        assert {ds.PhotometricInterpretation for ds in read} == {"MONOCHROME1", "MONOCHROME2"}
        assert {(ds.BitsStored, ds.PixelRepresentation) for ds in read} == {
            (scanner.bits, int(scanner.signed)) for scanner in SCANNERS
        }
        assert len({ds.RescaleSlope for ds in read}) > 2
        patients = {}
        for ds in read:
            patients.setdefault(ds.PatientID, []).append(ds.StudyInstanceUID)
        assert sorted(map(len, patients.values())) == [1] * 32 + [2] * 8


@pytest.mark.parametrize("scanner", SCANNERS, ids=lambda scanner: scanner.model)
def test_a_scanner_stores_the_anatomy_to_within_half_a_step(scanner: Scanner, tmp_path):
    image = chest(np.random.default_rng(5), 64, malignant=True)
    path = tmp_path / "a.dcm"
    ct_image(Dataset(), scanner, image, "x", np.random.default_rng(0)).save_as(path)
    ds = dcmread(path)
    values = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
    # An unsigned scanner with 12 bits holds -1024 to 3071; the others hold all that is drawn.
    expected = image.clip(-1024, 3071) if scanner.bits == 12 and not scanner.signed else image
    error = np.abs((-values if scanner.inverted else values) - expected)
    assert error.max() <= scanner.slope / 2 + 1e-9
    window = ((500.0 if scanner.inverted else -500.0), 1500.0)
    shown = read_image(path, window=window)
    assert np.abs(shown - ((expected + 500) / 1500 + 0.5).clip(0, 1)).max() < 0.002


def test_a_small_cnn_learns_the_label_and_mean_brightness_does_not_tell_it(tmp_path):
    settings = Intake(size=28)
    folders = write_cohort(tmp_path, ("train", "test"), patients=160, size=40, seed=2)
    train, test = (read_site(f, f / "labels.csv", settings) for f in folders.values())
    brightness = roc_auc_score(test.labels, test.images.mean((1, 2, 3)))
    assert 0.35 < brightness < 0.65
    means = train.images.mean((1, 2, 3)).reshape(-1, 1)
    mean_only = LogisticRegression().fit(means, train.labels)
    assert mean_only.score(test.images.mean((1, 2, 3)).reshape(-1, 1), test.labels) < 0.62

    torch.manual_seed(0)
    model = radcnn()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    x, y = torch.from_numpy(train.images), torch.from_numpy(train.labels)
    for _ in range(8):
        for rows in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    with torch.no_grad():
        right = model(torch.from_numpy(test.images)).argmax(1).numpy() == test.labels
    assert right.mean() > 0.85


@pytest.mark.parametrize(
    "wrong", [{"patients": 0}, {"size": 8}, {"seed": -1}, {"sites": ()}, {"sites": ("a", "a")}]
)
def test_a_cohort_that_cannot_be_is_refused(tmp_path, wrong):
    with pytest.raises(UsageError, match="a cohort needs"):
        write_cohort(tmp_path, **wrong)
    assert not list(tmp_path.iterdir())
