"""A cohort, and a job that went through train, infer and open on it, once for all tests."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest

from protocols.radiology import write_cohort
from tests.cli.jobs import SITES, Ran, files, ranks, write_job

PLANTED = "Wobblethorpe"  # a patient whose name stands in headers and in files' names
CLASSES = ["benign", "malignant"]
NEW_PATIENTS = 4


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`cohort/SITE` with labels and `new/SITE` without, in one folder; tests only read it."""
    folder = tmp_path_factory.mktemp("hospital")
    write_cohort(folder / "cohort", SITES, patients=12, size=16, seed=3)
    new = write_cohort(folder / "new", SITES, patients=NEW_PATIENTS, size=16, seed=4)
    for path in new.values():
        (path / "labels.csv").unlink()
    return folder


@dataclass(frozen=True)
class Trained:
    """What the three sites have after train, infer and open --to south."""

    home: Path
    ran: dict[str, Ran]
    planted: set[str]

    def job(self, site: str) -> Path:
        return self.home / site / "job.toml"

    def out(self, site: str) -> Path:
        return self.home / site / "out" / site

    def manifest(self, site: str, command: str) -> dict[str, Any]:
        return json.loads((self.out(site) / command / "manifest.json").read_text())

    def opened_paths(self, site: str) -> set[Path]:
        return {Path(line) for line in (self.home / f"{site}.opened").read_text().splitlines()}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Each site with a folder, a job file with its own paths alone, and a rank that is watched."""
    home = tmp_path_factory.mktemp("sites")
    planted: set[str] = {PLANTED, PLANTED.upper()}
    for site in SITES:
        folder = home / site
        write_cohort(folder, ("data", "new"), patients=12, size=16, seed=SITES.index(site))
        (folder / "new" / "labels.csv").unlink()
        for extra in sorted((folder / "new").iterdir())[NEW_PATIENTS:]:
            extra.unlink()
        planted |= plant(folder)
        own = {"data": "data", "labels": "data/labels.csv"}
        own |= {} if site == "south" else {"new": "new"}  # south has nothing to classify
        sites = [{"name": name, **(own if name == site else {})} for name in SITES]
        write_job(folder / "job.toml", sites, top={"name": "nodules"}, training={"epochs": 3})
    ran = {}
    for command in (["train"], ["infer"], ["open", "--to", "south"]):
        name, *options = command
        ran[name] = ranks(
            *(
                [
                    Path(__file__).with_name("watched_rank.py"),
                    home / f"{site}.opened",
                    name,
                    home / site / "job.toml",
                    *options,
                ]
                for site in SITES
            )
        )
        assert ran[name].code == 0, f"{name} failed:\n{ran[name].err}"
    return Trained(home, ran, planted)


def plant(folder: Path) -> set[str]:
    """Put a marker into a file's texts and name, one such file that cannot be read; what to hunt.

    Every text about a person, a visit or a place in every header is hunted too.
    """
    hunted = set()
    first = folder / "data" / "study-0000.dcm"
    ds = pydicom.dcmread(first)
    ds.PatientName, ds.PatientID = f"{PLANTED}^Xiomara", "MRN-774411-XY"
    ds.PatientComments = ds.StudyDescription = ds.ImageComments = f"{PLANTED} was here"
    ds.OtherPatientNames = f"{PLANTED}^X"
    named = first.with_name(f"{PLANTED}-Xiomara.dcm")
    ds.save_as(named)
    first.unlink()
    labels = folder / "data" / "labels.csv"
    labels.write_text(labels.read_text().replace("study-0000.dcm", named.name))
    broken = folder / "data" / f"{PLANTED.upper()}-broken.dcm"
    broken.write_bytes(named.read_bytes()[:700])
    for path in folder.rglob("*.dcm"):
        if path == broken:
            continue
        for element in pydicom.dcmread(path).iterall():
            about_a_person = element.VR == "PN" or element.keyword in (
                *("PatientID", "AccessionNumber", "InstitutionName", "PatientComments"),
                *("StudyDescription", "ImageComments", "SeriesInstanceUID", "FrameOfReferenceUID"),
            )
            if about_a_person and str(element.value):
                hunted.add(str(element.value))
                hunted |= set(str(element.value).split("^")) if element.VR == "PN" else set()
    return {text for text in hunted if len(text) > 4}  # shorter ones are anywhere by chance


def everything_written(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path."""
    return {name: (folder / name).read_bytes() for name in sorted(files(folder))}
