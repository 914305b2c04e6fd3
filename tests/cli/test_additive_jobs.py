"""Jobs on additive sharing: 2 to 4 sites, with a dealer rank or with files made ahead."""

import json
import os
import re
import shutil
import signal
import time
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
import torch

from mpc.errors import UsageError
from mpc.launch import run_parties
from mpc.party import Party
from protocols.cli import main
from protocols.cli.demo import in_the_clear
from protocols.cli.infer import infer
from protocols.cli.job import Job
from protocols.cli.jobfile import read_job
from protocols.cli.model import make_model
from protocols.cli.reading import read_cohort
from protocols.cli.release import release
from protocols.cli.start import source_of
from protocols.cli.train import train
from protocols.radiology import write_cohort
from protocols.training.loop import fit
from tests.cli.jobs import FOUR, RADMPC, Ran, files, here, ranks, start_ranks, write_job

# All commands of a job in one start of the ranks, which takes longer than they do.
EACH = (
    "import sys; from protocols.cli import main; "
    "sys.exit(next((code for line in sys.argv[1:] if (code := main(line.split()))), 0))"
)
# Two steps at rate 0.5. The gradient of a weight sums up to 4,096 products, each off by an ulp of
# 2^-16 or less, at random: a deviation of at most 2^-16 · 64 · 0.5 · (1 + 1.9), which is 0.0014.
TOLERANCE = 2**-8
# A hidden unit within an ulp of 0 is open or shut by chance, and its gradient with it. With this
# seed none of them comes nearer to 0 than 6 ulps on any study, for any of these numbers of sites.
SEED = 53


@pytest.fixture(scope="session")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`cohort/SITE` with labels and `new/SITE` without; tests only read it."""
    folder = tmp_path_factory.mktemp("hospitals")
    write_cohort(folder / "cohort", FOUR, patients=8, size=16, seed=3)
    for path in write_cohort(folder / "new", FOUR, patients=2, size=16, seed=4).values():
        (path / "labels.csv").unlink()
    return folder


def job_of(folder: Path, hospitals: Path, parties: int, **top: object) -> Path:
    """An additive job of the first sites on that cohort, in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("cohort", "new"):
        (folder / name).symlink_to(hospitals / name)
    return write_job(
        folder / "job.toml",
        top={"protocol": "additive", "seed": SEED, **top},
        names=FOUR[:parties],
        training={"rate": 0.5},
    )


# The job file.


@pytest.mark.parametrize("count", [2, 3, 4])
def test_additive_takes_two_to_four_sites_and_deals_unless_told_otherwise(tmp_path, count):
    path = write_job(tmp_path / "job.toml", top={"protocol": "additive"}, names=FOUR[:count])
    job = read_job(path)
    assert job.source == "dealer" and job.common()["source"] == "dealer"
    assert job.ranks("train") == job.ranks("infer") == count + 1 and job.ranks("open") == count
    told = write_job(
        tmp_path / "job.toml", top={"protocol": "additive", "source": "file"}, names=FOUR[:count]
    )
    other = read_job(told)
    assert other.ranks("train") == count and other.digest() != job.digest()


@pytest.mark.parametrize(
    ("protocol", "count", "words"),
    [
        ("additive", 1, "additive needs 2 to 4 sites, and the job names 1"),
        ("additive", 5, "additive needs 2 to 4 sites, and the job names 5"),
        ("rep3", 2, 'rep3 needs 3 sites, and the job names 2; protocol = "additive" takes as many'),
        ("rep3", 5, "rep3 needs 3 sites, and the job names 5"),
    ],
)
def test_another_number_of_sites_is_refused_with_what_takes_it(tmp_path, protocol, count, words):
    names = [f"site{i}" for i in range(count)]
    with pytest.raises(UsageError) as caught:
        read_job(write_job(tmp_path / "job.toml", top={"protocol": protocol}, names=names))
    assert str(caught.value) == words


def test_a_sites_items_are_beside_its_results_or_where_it_says(tmp_path):
    sites = [
        {"name": "north"},
        {"name": "south", "items": "usb/south.items", "items_key": "/safe/key"},
    ]
    path = write_job(tmp_path / "job.toml", sites, top={"protocol": "additive", "source": "file"})
    job = read_job(path)
    file = tmp_path / "out" / "north" / "infer.items"
    assert job.items(0, "infer") == (file, file.with_name("infer.items.key"))
    assert job.items(1, "train") == (tmp_path / "usb" / "south.items", Path("/safe/key"))
    plain = read_job(write_job(path, [*sites[:1], {"name": "south"}], top=dict(job_top(path))))
    assert plain.digest() == job.digest()  # where a site keeps them is its own business


def job_top(path: Path) -> list[tuple[str, str]]:
    return re.findall(r'^(protocol|source) = "(\w+)"$', path.read_text(), re.M)


def test_what_files_are_for_is_the_command_and_what_changes_its_items(tmp_path, hospitals):
    def label(command: str = "train", **top: object) -> str:
        shutil.rmtree(tmp_path / "j", ignore_errors=True)
        path = job_of(tmp_path / "j", hospitals, 2, source="file", **top)
        return read_job(path).items_label(command)

    assert label() == label(name="another", deadline_s=7) and label().startswith("train ")
    assert len({label(), label("infer"), label(width=48), label(seed=1), label(public=[])}) == 5


# With parties that are threads: results.


@pytest.mark.parametrize("parties", [2, 3, 4])
def test_a_job_gives_what_plain_pytorch_gives_with_the_same_data(
    tmp_path, hospitals, parties, monkeypatch
):
    turn = Lock()

    def in_turn(job):  # PyTorch's seed is the whole process's
        with turn:
            return make_model(job)

    monkeypatch.setattr(import_module("protocols.cli.train"), "make_model", in_turn)
    path = job_of(tmp_path / "here", hospitals, parties)
    job = read_job(path)
    assert here(path, train) == [None] * parties
    assert here(path, infer) == [None] * parties
    assert here(path, lambda run: release(run, "south")) == [None] * parties
    agrees_with_clear(job)
    for rank, site in enumerate(job.sites):
        manifest = json.loads((job.folder(rank) / "train" / "manifest.json").read_text())
        assert manifest["protocol"] == "additive" and manifest["parties"] == list(FOUR[:parties])
        assert manifest["source"]["name"] == "insecure"
        assert site.name == manifest["party"]["name"]


def agrees_with_clear(job):
    """The released weights are those of plain training; each site has its own predictions."""
    splits = [read_cohort(job, rank)[0].train for rank in range(len(job.sites))]
    images = torch.cat([torch.from_numpy(site.images) for site in splits])
    targets = torch.cat([torch.from_numpy(site.one_hot(2)) for site in splits])
    model = make_model(job)
    fit(model, images, targets, job.training)
    released = torch.load(job.folder(1) / "open" / "model.pt", weights_only=True)
    assert not (job.folder(0) / "open" / "model.pt").exists()
    moved = 0.0
    for (name, tensor), before in zip(
        model.state_dict().items(), make_model(job).state_dict().values(), strict=True
    ):
        assert (released[name] - tensor).abs().max() < TOLERANCE, name
        moved = max(moved, float((released[name] - before).abs().max()))
    assert moved > 2 * TOLERANCE  # or this would say nothing of training
    manifests = [
        json.loads((job.folder(rank) / "train" / "manifest.json").read_text())
        for rank in range(len(job.sites))
    ]
    accuracy, _ = in_the_clear(job)
    for manifest in manifests:
        assert manifest["evaluation"] == manifests[0]["evaluation"]
        assert abs(manifest["evaluation"]["accuracy"] - accuracy) <= 1 / manifest["studies"]["test"]
    for rank in range(len(job.sites)):
        found = json.loads((job.folder(rank) / "infer" / "predictions.json").read_text())
        assert len(found["studies"]) == 2
        for study in found["studies"]:
            assert sum(study["probabilities"].values()) == pytest.approx(1, abs=1e-9)


# With ranks.


def each_in_turn(path: Path, commands: list[str], count: int) -> Ran:
    """`radmpc COMMAND JOB` for each command, by ranks that are started once."""
    lines = [f"{command} {path.name}" for command in commands]
    return ranks(*[["-c", f"import os; os.chdir({str(path.parent)!r}); {EACH}", *lines]] * count)


def sources(job: Job, command: str) -> list[dict[str, Any]]:
    """What the sites' manifests say of where their correlated randomness came from."""
    paths = [job.folder(rank) / command / "manifest.json" for rank in range(len(job.sites))]
    return [json.loads(path.read_text())["source"] for path in paths]


@pytest.mark.mpi
@pytest.mark.parametrize("parties", [2, 4])
def test_with_a_dealer_a_job_is_done_and_the_dealer_says_and_writes_nothing(
    tmp_path, hospitals, parties
):
    path = job_of(tmp_path / "a job", hospitals, parties)
    ran = each_in_turn(path, ["train", "infer"], parties + 1)
    assert ran.code == 0 and ran.err == "", ran.err
    job = read_job(path)
    assert sorted(p.name for p in job.output.iterdir()) == sorted(FOUR[:parties])
    told = [line for line in ran.out.splitlines() if " studies to train on, " in line]
    assert len(told) == parties
    assert "[the dealer]" not in ran.out
    assert here(path, lambda run: release(run, "south")) == [None] * parties
    agrees_with_clear(job)
    found = sources(job, "train")
    assert all(s["name"] == "dealer" and "tells none" in s["assumption"] for s in found)
    assert all(s["served"] == found[0]["served"] and s["served"]["triple"] for s in found)
    assert [s["corrections_bytes"] > 0 for s in found] == [False] * (parties - 1) + [True]
    report = (job.folder(0) / "train" / "report.html").read_text()
    assert "all but 1" in report and "the dealer works with no party" in report


@pytest.mark.mpi
@pytest.mark.parametrize("parties", [2, 4])
def test_with_files_made_ahead_a_job_is_done_and_uses_them_up(tmp_path, hospitals, parties, capsys):
    path = job_of(tmp_path / "job", hospitals, parties, source="file")
    job = read_job(path)
    for command in ("train", "infer"):
        assert main(["deal", str(path), "--command", command]) == 0
        said = capsys.readouterr().out
        for rank, site in enumerate(job.sites):
            file, key = job.items(rank, command)
            assert f"for {site.name} alone: {file}, and its key {key}" in said
            assert file.stat().st_mode & 0o777 == key.stat().st_mode & 0o777 == 0o600
            assert key.read_bytes().hex() not in said
        assert "the key by another way" in said
    ran = each_in_turn(path, ["train", "infer", "open --to south"], parties)
    assert ran.code == 0 and ran.err == "", ran.err
    agrees_with_clear(job)
    for command in ("train", "infer"):
        found = sources(job, command)
        for source in found:
            assert source["name"] == "file" and source["served"] == found[0]["served"]
            assert (source["skipped"], source["left"]) == (0, 0)
    assert re.fullmatch(r"(\d+) of \1 items .* a run needs all of them: .*", refused(job))
    assert main(["deal", str(path)]) == 2
    assert "train.items is there already: remove it once" in capsys.readouterr().err


def refused(job: Job) -> str:
    """What each site says when a training is to begin with files that are used."""

    def at_party(party: Party) -> str:
        with pytest.raises(UsageError) as caught:
            source_of(job, party, "train")
        return str(caught.value)

    (said,) = set(run_parties(len(job.sites), at_party))
    return said


@pytest.mark.mpi
def test_another_number_of_ranks_than_sites_and_a_dealer_is_refused(tmp_path, hospitals):
    path = job_of(tmp_path / "job", hospitals, 2)
    ran = ranks([*RADMPC, "train", path])
    assert ran.code == 2 and ran.complaints == [
        "radmpc: 1 ranks were started, but this job needs 2 and a dealer: mpirun -n 3"
    ]
    assert not (tmp_path / "job" / "out").exists()


KILLABLE = (
    "import os, sys; from pathlib import Path; from protocols.cli import main; "
    "Path(sys.argv.pop(1)).write_text(str(os.getpid())); sys.exit(main())"
)


@pytest.mark.mpi
@pytest.mark.parametrize("who", ["north", "the dealer"])
def test_whoever_is_killed_ends_all_others_who_name_it(tmp_path, hospitals, who):
    path = job_of(tmp_path / "job", hospitals, 2, deadline_s=30)
    path.write_text(path.read_text().replace("epochs = 1", "epochs = 500"))
    names = ["north", "south", "the dealer"]
    with start_ranks(*(["-c", KILLABLE, tmp_path / name, "train", path] for name in names)) as ran:
        until = time.monotonic() + 120
        while ran.poll() is None and time.monotonic() < until:
            if all((path.parent / "out" / s / "epoch-002.share").exists() for s in names[:2]):
                break
            time.sleep(0.02)
        os.kill(int((tmp_path / who).read_text()), signal.SIGKILL)
        _, err = ran.communicate(timeout=90)
    assert ran.returncode != 0 and "Traceback" not in err
    told = [line for line in err.splitlines() if line.startswith("radmpc: ")]
    assert told and all(who in line for line in told)
    assert files(path.parent / "out" / "north") >= {"epoch-002.share"}


@pytest.mark.mpi
def test_after_a_crash_nothing_of_the_files_is_served_again(tmp_path, hospitals):
    path = job_of(tmp_path / "job", hospitals, 2, source="file")
    assert main(["deal", str(path)]) == 0
    crash = (
        "import os, signal, sys; from protocols.cli import main; "
        "from mpc.sources import StoredSource as S; take = S.take\n"
        "def counted(self, item):\n"
        "    dealt = take(self, item)\n"
        "    if dealt.number == 70: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return dealt\n"
        "S.take = counted; sys.exit(main())"
    )
    ran = ranks(["-c", crash, "train", path], [*RADMPC, "train", path])
    assert ran.code != 0 and all("north" in line for line in ran.complaints)
    assert refused(read_job(path)).startswith("128 of ")  # 70 of them, and what was marked ahead
