"""The demo runs the whole job, small, and the phantom command writes what a seed says."""

import json
import re
from importlib import import_module

import pytest

from protocols.cli import main
from protocols.cli.demo import MARK
from tests.cli.conftest import everything_written
from tests.cli.jobs import SITES, files, radmpc


@pytest.mark.mpi
def test_the_demo_runs_end_to_end_and_says_what_it_did(tmp_path):
    ran = radmpc("demo", "a demo", "--small", cwd=tmp_path)
    assert ran.code == 0 and ran.err == ""
    folder = tmp_path / "a demo"
    manifest = json.loads((folder / "out" / "north" / "train" / "manifest.json").read_text())
    e, total = manifest["evaluation"], manifest["total"]
    told = ran.out.splitlines()
    assert told[0] == "writing a cohort of 3 sites with 10 patients each"
    assert "mpirun -n 3 radmpc train a demo/job.toml" in told
    assert any(line.startswith("epoch 1/1  loss ") for line in told)
    assert re.search(r"in the clear, .* ends at accuracy [\d.]+%, AUC [01]\.\d{3}\n", ran.out)
    assert f"accuracy {e['accuracy']:.1%}, AUC {e['auc']:.3f}\nof 6 new studies" in ran.out
    assert f"{total['rounds']} rounds, {total['sent_bytes'] / 1e6:.0f} MB sent" in ran.out
    assert told[-1] == f"report: {folder / 'out' / 'north' / 'train' / 'report.html'}"
    for site in SITES:
        out = files(folder / "out" / site)
        assert {"model.share", "train/report.html", "infer/predictions.csv"} <= out
    # The two trainings begin alike, so they may differ by what a few roundings turn over.
    clear = float(re.search(r"ends at accuracy ([\d.]+)%", ran.out)[1]) / 100
    assert abs(clear - e["accuracy"]) <= 2 / manifest["studies"]["test"] + 1e-3


def test_a_demo_takes_nothing_away_that_no_demo_wrote(tmp_path, capsys):
    for name in ("out", "cohort", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("years of work")
        assert main(["demo", str(tmp_path), "--small"]) == 2
        assert f"{tmp_path} holds" in capsys.readouterr().err
        assert files(tmp_path) == {f"{name}/thesis.txt"}
        (tmp_path / name / "thesis.txt").unlink()
        (tmp_path / name).rmdir()
    (tmp_path / "job.toml").write_text("name = 'mine'")
    assert main(["demo", str(tmp_path), "--small"]) == 2
    assert (tmp_path / "job.toml").read_text() == "name = 'mine'"


def test_a_demo_replaces_what_an_earlier_demo_left(tmp_path, monkeypatch):
    (tmp_path / "job.toml").write_text(MARK)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    (tmp_path / "mine.txt").write_text("mine")
    monkeypatch.setattr(import_module("protocols.cli.demo"), "run_quietly", lambda *_: 7)
    assert main(["demo", str(tmp_path), "--small"]) == 7  # what its ranks ended with
    assert not (tmp_path / "out").exists() and (tmp_path / "mine.txt").read_text() == "mine"
    assert (tmp_path / "job.toml").read_text().startswith(MARK + "name")


def phantom(folder, *options):
    return main(["phantom", str(folder), "--patients", "3", "--size", "16", *options])


def test_the_same_seed_writes_the_same_bytes_and_another_does_not(tmp_path, capsys):
    assert phantom(tmp_path / "a") == phantom(tmp_path / "b") == 0
    assert phantom(tmp_path / "c", "--seed", "1") == 0
    one, other, third = (everything_written(tmp_path / name) for name in "abc")
    assert one == other and one.keys() == third.keys()
    assert all(third[name] != one[name] for name in one if name.endswith(".dcm"))
    assert f"north: 3 studies in {tmp_path}/a/north\n" in capsys.readouterr().out
    assert {name.split("/")[0] for name in one} == set(SITES)


def test_the_phantom_has_the_sites_that_are_named(tmp_path):
    assert phantom(tmp_path, "--sites", "one,two") == 0
    assert {p.name for p in tmp_path.iterdir()} == {"one", "two"}


@pytest.mark.parametrize("sites", ["", "a,", "../a", "a,A", "a/b", "..", "a,a"])
def test_sites_that_cannot_be_folders_beside_each_other_are_refused(tmp_path, sites, capsys):
    assert phantom(tmp_path / "x", "--sites", sites) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", [("--patients", "0"), ("--size", "8"), ("--seed", "-1")])
def test_a_cohort_that_cannot_be_is_refused_in_one_line(tmp_path, option, capsys):
    assert phantom(tmp_path / "x", *option) == 2
    assert capsys.readouterr().err.startswith("radmpc: a cohort needs")


def test_a_phantom_never_writes_into_a_folder_that_holds_something(tmp_path, capsys):
    assert phantom(tmp_path) == 0
    before = everything_written(tmp_path)
    assert phantom(tmp_path, "--seed", "1") == 2
    assert "is there already, and is not empty" in capsys.readouterr().err
    assert everything_written(tmp_path) == before


def test_a_place_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert phantom(tmp_path / "file") == 2
    assert main(["demo", str(tmp_path / "file"), "--small"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 2 and "Traceback" not in err and "Not a directory" in err
