"""Input that will not do ends in a reason at its own site, and loses and leaks nothing."""

import csv
import errno
import re
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian

from mpc.errors import OutOfStep, PeerError, RangeError, ShapeMismatch, UsageError
from mpc.launch import run_parties
from protocols.cli import model as model_module
from protocols.cli.infer import infer
from protocols.cli.model import check_recipe, recipe
from protocols.cli.reading import read_cohort
from protocols.cli.release import release
from protocols.cli.train import share_sites, train
from protocols.radiology.site import Site, Study
from tests.cli.conftest import CLASSES, everything_written
from tests.cli.jobs import SITES, files, here, ranks, write_job

UNDEFINED_SYNTAX = "1.2.826.0.1.3680043.8.498.1"
PLANTED = "Wobblethorpe"


@pytest.fixture
def hospital(tmp_path: Path, cohort: Path) -> Path:
    """A copy of the cohort to spoil, with a job beside it."""
    shutil.copytree(cohort, tmp_path, dirs_exist_ok=True)
    write_job(tmp_path / "job.toml")
    return tmp_path


def spoil(folder: Path) -> dict[str, str]:
    """Make files at a site unusable, each in its own way; the reasons to expect, by file."""

    def change(name: str, **elements: object) -> None:
        ds = pydicom.dcmread(folder / name)
        ds.PatientName = f"{PLANTED}^Xiomara"
        for keyword, value in elements.items():
            if value is None:
                del ds[keyword]
            else:
                setattr(ds, keyword, value)
        ds.save_as(folder / name)

    (folder / "study-0000.dcm").write_bytes(b"GIF89a" + bytes(4000))
    whole = (folder / "study-0001.dcm").read_bytes()
    (folder / "study-0001.dcm").write_bytes(whole[:-100])
    name = "study-0002.dcm"
    room = len(ExplicitVRLittleEndian) + len(ExplicitVRLittleEndian) % 2
    old = ExplicitVRLittleEndian.encode().ljust(room, b"\0")
    new = UNDEFINED_SYNTAX.encode()[:room].ljust(room, b"\0")
    content = (folder / name).read_bytes()
    assert content.count(old) == 1
    (folder / name).write_bytes(content.replace(old, new))
    change("study-0003.dcm", PixelData=None)
    labels = folder / "labels.csv"
    labels.write_text(re.sub(r"(study-0004\.dcm),\d", r"\1,7", labels.read_text()))
    shutil.copy(folder / "study-0006.dcm", folder / "study-0005.dcm")
    (folder / "study-0007.dcm").write_bytes(b"")
    (folder / "study-0008.dcm").unlink()
    (folder / f"{PLANTED}.dcm").write_bytes((folder / "study-0009.dcm").read_bytes())
    return {
        "study-0000.dcm": "is not DICOM",
        "study-0001.dcm": "is truncated",
        "study-0002.dcm": "has no decoder here for its transfer syntax",
        "study-0003.dcm": "has no pixel data",
        "study-0004.dcm": "has a label that is not one of the 2 classes",
        "study-0006.dcm": "is of the same study as study-0005.dcm, which is kept",
        "study-0007.dcm": "is empty",
        "study-0008.dcm": "is not among the files",
        f"{PLANTED}.dcm": "has no line in the labels file",
    }


def listed(path: Path) -> dict[str, str]:
    with path.open(newline="") as file:
        return {row["file"]: row["reason"] for row in csv.DictReader(file)}


def test_files_that_cannot_be_used_are_listed_with_the_reason_and_skipped(hospital, capfd):
    reasons = spoil(hospital / "cohort" / "south")
    outcomes = here(hospital / "job.toml", train)
    assert outcomes == [None] * 3
    found = listed(hospital / "out" / "south" / "problems-train.csv")
    assert set(found) == set(reasons)
    for name, words in reasons.items():
        assert words in found[name]
    report = (hospital / "out" / "south" / "train" / "report.html").read_text()
    assert all(name in report for name in reasons)
    for other in ("north", "west"):
        for content in everything_written(hospital / "out" / other).values():
            assert not any(name.encode() in content for name in [*reasons, PLANTED])
        assert not (hospital / "out" / other / "problems-train.csv").exists()
    said = "".join(capfd.readouterr())
    assert "[south] 9 files not taken: " in said and PLANTED not in said
    assert not any(name in said for name in reasons)


def test_with_on_error_fail_all_sites_stop_and_name_the_one_and_keep_what_was_there(
    hospital, capfd
):
    assert here(hospital / "job.toml", train) == [None] * 3
    before = everything_written(hospital / "out")
    reasons = spoil(hospital / "cohort" / "south")
    job = write_job(hospital / "job.toml", intake={"on_error": "fail"})
    north, south, west = here(job, train)
    assert isinstance(south, UsageError) and isinstance(north, PeerError)
    assert str(south).startswith("9 of this site's files cannot be used")
    for other in (north, west):
        assert str(other) == "south could not read its studies, and says why in its own log"
    after = everything_written(hospital / "out")
    assert set(listed(hospital / "out" / "south" / "problems-train.csv")) == set(reasons)
    assert after.pop("south/problems-train.csv") and after == before
    said = "".join(capfd.readouterr()) + f"{north}{south}{west}"
    assert PLANTED not in said and "study-0" not in said


@pytest.mark.mpi
def test_under_mpirun_a_site_that_stops_stops_all_with_one_line_each_and_a_code(hospital):
    spoil(hospital / "cohort" / "south")
    job = write_job(hospital / "job.toml", intake={"on_error": "fail"})
    ran = ranks(*[["-m", "protocols.cli", "train", job]] * 3)
    assert ran.code == 2 and "Traceback" not in ran.err
    mine = [line for line in ran.complaints if "9 of this site's files cannot be used" in line]
    theirs = [line for line in ran.complaints if "south could not read its studies" in line]
    assert len(mine) == 1 and len(theirs) == 2 and len(ran.complaints) == 3
    assert files(hospital / "out") == {"south/problems-train.csv"}
    assert PLANTED not in ran.out + ran.err


def test_a_site_without_a_usable_study_says_which_and_why(hospital):
    for path in (hospital / "cohort" / "west").glob("*.dcm"):
        path.write_bytes(b"nothing")
    north, _, west = here(hospital / "job.toml", train)
    assert "none of this site's studies can be used; they are listed in" in str(west)
    assert "west could not read its studies" in str(north) and "study-" not in str(west)
    found = listed(hospital / "out" / "west" / "problems-train.csv")
    assert found["study-0000.dcm"].startswith("is not DICOM")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"data": "nowhere"}, "there is no folder nowhere"),
        ({"labels": "nowhere.csv"}, "there is no labels file nowhere.csv"),
        ({"labels": "cohort"}, "cohort cannot be opened: Is a directory"),
        ({"labels": "job.toml"}, "job.toml needs a first line such as: file,label"),
        ({"data": "nowhere.npz"}, "there is no file nowhere.npz"),
        ({"data": "empty.npz"}, "empty.npz is not an .npz file"),
        ({"data": None}, 'site west of the job names no data: add data = "folder"'),
        ({"labels": None}, 'site west of the job names no labels: add labels = "file.csv"'),
        ({"data": "labels"}, "none of this site's studies can be used"),
    ],
)
def test_paths_that_lead_nowhere_stop_all_and_the_site_is_named(hospital, setting, words):
    (hospital / "empty.npz").write_bytes(b"")
    (hospital / "labels").mkdir()
    sites = [{"name": n, "data": f"cohort/{n}", "labels": f"cohort/{n}/labels.csv"} for n in SITES]
    sites[2] = {k: v for k, v in {**sites[2], **setting}.items() if v is not None}
    north, south, west = here(write_job(hospital / "job.toml", sites), train)
    assert words in str(west) and "\n" not in str(west)
    assert str(north) == str(south) and "west could not read its studies" in str(north)
    assert not files(hospital / "out") - {"west/problems-train.csv"}


def test_a_site_with_one_patient_has_nothing_to_test_on(hospital):
    for path in sorted((hospital / "cohort" / "west").glob("*.dcm"))[1:]:
        path.unlink()
    *_, west = here(hospital / "job.toml", train)
    assert "a split needs two patients" in str(west)


def npz(path: Path, side: int, studies: int = 12) -> Path:
    rng = np.random.default_rng(0)
    arrays = {}
    for part in ("train", "val", "test"):
        arrays[f"{part}_images"] = rng.integers(0, 255, (studies, side, side), np.uint8)
        arrays[f"{part}_labels"] = np.arange(studies).reshape(-1, 1) % 2
    np.savez(path, **arrays)
    return path


def test_images_of_another_size_where_none_is_made_to_fit_stop_all(tmp_path):
    sites = [
        {"name": n, "data": str(npz(tmp_path / f"{n}.npz", 20 if n == "west" else 16))}
        for n in SITES
    ]
    job = write_job(tmp_path / "job.toml", sites, intake={"resize": "exact", "classes": 2})
    north, _, west = here(job, train)
    assert isinstance(west, UsageError) and "is not 16 x 16 pixels" in str(west)
    assert "west could not read its studies" in str(north)


def test_sites_that_name_one_npz_get_equal_parts_that_have_no_study_in_common(tmp_path):
    data = npz(tmp_path / "all.npz", 16, studies=18)
    job = write_job(tmp_path / "job.toml", [{"name": n, "data": str(data)} for n in SITES])
    splits = here(job, lambda run: read_cohort(run.job, run.party.rank)[0])
    for part in ("train", "test"):
        names = [study.file for split in splits for study in getattr(split, part).studies]
        assert len(names) == len(set(names)) == 18
        assert [len(getattr(split, part)) for split in splits] == [6, 6, 6]


def a_site(*shape: int) -> Site:
    n = shape[0]
    return Site(
        np.zeros(shape, np.float32),
        np.arange(n) % 2,
        tuple(Study(f"{i}") for i in range(n)),
        tuple(map(str, range(n))),
        np.zeros((n, 0), np.float32),
    )


def test_sites_whose_images_differ_in_shape_are_all_named_with_them(tmp_path):
    job = write_job(tmp_path / "job.toml", [{"name": n} for n in SITES])
    outcomes = here(
        job, lambda run: share_sites(run, a_site(4, 1, 16, 12 if run.party.rank == 1 else 16))
    )
    for outcome in outcomes:
        assert isinstance(outcome, ShapeMismatch)
        assert str(outcome) == (
            "the sites' images differ in shape: "
            "north (1, 16, 16), south (1, 16, 12), west (1, 16, 16)"
        )


def test_a_value_that_no_share_can_hold_is_refused_before_sharing_and_not_told(tmp_path):
    job = write_job(tmp_path / "job.toml", [{"name": n} for n in SITES])

    def program(run):
        site = a_site(4, 1, 8, 8)
        if run.party.rank == 2:
            site.images[1, 0, :2, 0] = np.nan, 3e17
        return share_sites(run, site)

    north, south, west = here(job, program)
    assert isinstance(west, RangeError) and "2 of 256 numbers do not fit" in str(west)
    for other in (north, south):
        assert isinstance(other, PeerError) and "west refused its own input" in str(other)


def test_parties_that_name_different_sites_to_release_to_stop(hospital):
    outcomes = here(
        hospital / "job.toml",
        lambda run: release(run, "south" if run.party.rank == 1 else "north"),
    )
    assert all(isinstance(outcome, OutOfStep) for outcome in outcomes)
    assert "the site that the model is released to" in str(outcomes[0])
    assert "north" in str(outcomes[0]) and "south" in str(outcomes[0])


@pytest.mark.parametrize("program", [infer, lambda run: release(run, "north")])
def test_a_model_that_is_not_there_is_asked_for_by_its_path(hospital, program):
    outcomes = here(hospital / "job.toml", program)
    texts = [str(outcome) for outcome in outcomes]
    assert all("no key file at" in text and "made by training" in text for text in texts)


def test_only_the_site_whose_share_file_is_damaged_says_what_of_it(trained):
    damaged = trained.out("west") / "model.share"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        north, south, west = here([trained.job(site) for site in SITES], infer)
    finally:
        damaged.write_bytes(whole)
    assert "does not open with this key, or was changed" in str(west)
    for other in (north, south):
        assert "west could not read its share of the model" in str(other)


def test_share_files_of_different_epochs_are_not_put_together(trained):
    outcomes = here(
        [trained.job(site) for site in SITES],
        lambda run: release(run, "north", 2 if run.party.rank == 1 else 3),
    )
    assert all(isinstance(outcome, OutOfStep) for outcome in outcomes)
    assert "different saves" in str(outcomes[0]) and "south" in str(outcomes[0])


def test_an_epoch_whose_share_files_are_gone_is_refused(trained):
    outcomes = here([trained.job(site) for site in SITES], lambda run: infer(run, 1))
    assert all("epoch-001.share: No such file" in str(outcome) for outcome in outcomes)


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"intake": {"classes": ["malignant", "benign"]}}, "intake.classes"),
        ({"intake": {"normalise": [0.4, 0.2]}}, "intake.normalise"),
        ({"intake": {"window": "min-max"}}, "intake.window"),
    ],
)
def test_a_model_is_not_used_on_images_or_classes_it_was_not_trained_for(trained, table, named):
    paths = []
    for site in SITES:
        own = {"new": "new"} if site != "south" else {}
        sites = [{"name": name, **(own if name == site else {})} for name in SITES]
        paths.append(write_job(trained.home / site / "other.toml", sites, **table))
    outcomes = here(paths, infer)
    for outcome in outcomes:
        assert isinstance(outcome, UsageError)
        assert str(outcome).endswith(f"other settings than the job has now: {named}")


def test_settings_that_change_no_image_may_change_between_training_and_use(tmp_path):
    from protocols.cli.jobfile import read_job

    was = recipe(read_job(write_job(tmp_path / "a.toml")))
    now = read_job(
        write_job(tmp_path / "b.toml", intake={"on_error": "fail"}, training={"epochs": 9})
    )
    check_recipe(now, was)
    assert was["classes"] == CLASSES


def test_infer_without_new_studies_anywhere_says_what_to_add(trained):
    paths = [
        write_job(trained.home / site / "none.toml", [{"name": name} for name in SITES])
        for site in SITES
    ]
    assert all("no site names new studies" in str(outcome) for outcome in here(paths, infer))


def test_an_output_that_cannot_be_written_is_one_line_at_its_site(hospital):
    (hospital / "taken").write_text("a file where a folder is needed")
    own = write_job(hospital / "west.toml", top={"output": "taken", "name": "job"})
    north, _, west = here([hospital / "job.toml"] * 2 + [own], train)
    assert isinstance(west, UsageError) and "\n" not in str(west)
    assert "Not a directory" in str(west) and "west could not" in str(west)
    assert isinstance(north, PeerError) and "west could not" in str(north)


def test_a_full_disk_ends_the_training_in_one_line_and_keeps_the_last_epoch(hospital, monkeypatch):
    write_job(hospital / "job.toml", training={"epochs": 3})
    real = model_module.checkpoint.save

    def save(session, model, path, key, **about):
        if session.rank == 2 and about["epoch"] == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(session, model, path, key, **about)

    monkeypatch.setattr(model_module.checkpoint, "save", save)
    north, _, west = here(hospital / "job.toml", train)
    assert str(west) == (
        f"west could not write its share file: No space left on device: {hospital}/out/west"
    )
    assert str(north) == "west could not write its share file, and says why in its own log"
    monkeypatch.undo()
    assert here(hospital / "job.toml", lambda run: infer(run, 1)) == [None] * 3


def test_where_a_system_error_happened_is_told_only_of_results(hospital):
    data = hospital / "cohort" / f"{PLANTED}.dcm"

    def fails():
        raise PermissionError(errno.EACCES, "Permission denied", str(data))

    outcomes = here(
        hospital / "job.toml",
        lambda run: run.together("read", fails if run.party.rank == 1 else lambda: 5),
    )
    assert str(outcomes[1]) == "south could not read: Permission denied"


def test_a_fault_at_one_party_stops_the_others_by_name(hospital):
    def fails():
        raise KeyError("a bug")

    outcomes = here(
        hospital / "job.toml",
        lambda run: run.together("do this", fails if run.party.rank == 0 else lambda: 5),
    )
    assert isinstance(outcomes[0], KeyError)
    assert str(outcomes[1]) == "north could not do this, and says why in its own log"


def test_parties_that_stop_together_are_all_named(hospital):
    def fails():
        raise UsageError("no")

    outcomes = here(
        hospital / "job.toml",
        lambda run: run.together("go on", fails if run.party.rank else lambda: 5),
    )
    assert str(outcomes[0]) == "south and west could not go on, and says why in its own log"
    assert [str(o) for o in outcomes[1:]] == ["no", "no"]


def test_what_together_returns_is_each_partys_own(hospital):
    assert here(hospital / "job.toml", lambda run: run.together("x", lambda: run.party.rank)) == [
        *(0, 1, 2)
    ]
    assert run_parties(3, lambda party: party.rank) == [0, 1, 2]
