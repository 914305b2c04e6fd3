"""An epoch of ours, and a peer's made up from a few steps."""

import json

import numpy as np
import pytest

from benchmarks import epoch
from benchmarks.__main__ import main
from benchmarks.epoch import STEPS, Epoch, compare, extrapolate, format_row, train
from benchmarks.peers.beside import Peer
from mpc.launch import run_parties
from protocols.radiology.npz import load_npz

OURS = Epoch("radmpc 3PC", 50.0, steps=76, measured_steps=76, studies=2428, batch=32)


class Timed(Peer):
    """A peer that took a second for its first step and three for each of the others."""

    def times(self, case, batch, *, repeats=None):
        assert (case, batch, repeats) == ("cnntrain", 4, STEPS)
        return [1.0] + [3.0] * (repeats - 1)


class Silent(Peer):
    """A peer that is set up but does not run."""

    def times(self, case, batch, *, repeats=None):
        return []


def peer(kind, tmp_path, there=True):
    """One whose environment is there, or not."""
    python = tmp_path / "bin" / "python"
    if there:
        python.parent.mkdir()
        python.touch()
    return kind("CrypTen 2PC", str(tmp_path), "none.py", "2")


@pytest.fixture
def file(tmp_path):
    """Ten training images: two whole batches of 4 and one of 2."""
    return written(tmp_path / "tiny.npz", side=28)


def written(path, side):
    random, arrays = np.random.default_rng(0), {}
    for part, n in (("train", 10), ("val", 2), ("test", 2)):
        arrays[f"{part}_images"] = random.integers(0, 256, (n, side, side), np.uint8)
        arrays[f"{part}_labels"] = np.arange(n)[:, None] % 2
    np.savez(path, **arrays)
    return path


def test_ours_is_a_whole_epoch_on_shares(file):
    made = run_parties(3, lambda party: train(party, load_npz(file), batch=4, width=64))
    for row in (Epoch(**values) for values in made):
        assert (row.steps, row.measured_steps, row.studies, row.batch) == (3, 3, 10, 4)
        assert row.seconds > 0


def test_a_peers_epoch_is_its_mean_step_times_the_batches_in_the_data(file, tmp_path):
    theirs = extrapolate(load_npz(file), batch=4, peer=peer(Timed, tmp_path))
    assert theirs.seconds == pytest.approx((1 + 3 * (STEPS - 1)) / STEPS * 2.5)
    assert (theirs.steps, theirs.measured_steps) == (3, STEPS)


def test_the_ratio_is_how_much_longer_the_peer_takes(capsys):
    theirs = Epoch("CrypTen 2PC", 900.0, 76, STEPS, 2428, 32)
    made = compare(OURS, theirs)
    assert made["ratio_to_ours"] == pytest.approx(18.0)
    said = capsys.readouterr().out
    assert "from 5 of 76 steps" in said
    assert "18.0 times as long as radmpc 3PC" in said
    assert "batch 32, 76 steps" in format_row(OURS)


@pytest.mark.parametrize(
    ("kind", "there", "reason"),
    [(Timed, False, "run ./scripts/peers"), (Silent, True, "CrypTen 2PC did not run")],
)
def test_without_the_peer_ours_stands_alone_and_the_reason_is_said(
    kind, there, reason, file, tmp_path, capsys
):
    theirs = extrapolate(load_npz(file), batch=4, peer=peer(kind, tmp_path, there))
    assert theirs is None
    assert reason in capsys.readouterr().err
    assert compare(OURS, theirs).keys() == {"ours"}


def test_images_that_the_peer_is_not_written_for_are_not_compared(tmp_path, capsys):
    data = load_npz(written(tmp_path / "large.npz", side=32))
    assert extrapolate(data, batch=4, peer=peer(Timed, tmp_path)) is None
    assert "takes images of (1, 28, 28)" in capsys.readouterr().err


def test_data_is_asked_for_with_an_epoch_and_only_with_it(file, capsys):
    for arguments in (["--epoch"], ["--data", str(file)]):
        with pytest.raises(SystemExit):
            main(arguments)
    assert capsys.readouterr().err.count("--epoch and --data go together") == 2
    assert main(["--epoch", "--data", f"{file}.not"]) == 2


@pytest.mark.mpi
def test_the_command_trains_on_ranks_of_its_own(file, tmp_path, monkeypatch):
    monkeypatch.setattr(epoch, "extrapolate", lambda data, batch: None)
    out = tmp_path / "epoch.json"
    arguments = ["--epoch", "--data", str(file), "--batch", "4", "--json", str(out)]
    assert main(arguments) == 0
    ours = Epoch(**json.loads(out.read_text())["ours"])
    assert (ours.steps, ours.studies, ours.batch) == (3, 10, 4)
