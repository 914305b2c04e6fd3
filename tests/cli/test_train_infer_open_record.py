"""What a run notes of itself: only what the job makes public, and what each layer cost."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from torch import nn

from mpc.meter import Meter
from protocols.cli.infer import infer
from protocols.cli.record import REST, Record, layers
from protocols.cli.train import train
from tests.cli.jobs import SITES, here, write_job

LOSS, MATRIX = "mean loss", "confusion matrix"
END = ["confusion matrix", "ROC counts", "pairs in order, for the AUC"]


@pytest.mark.parametrize(
    ("public", "opened"),
    [
        ([], []),
        (["loss"], [LOSS] * 2),
        (["accuracy"], [MATRIX] * 2),
        (["evaluation"], END),
        (["loss", "accuracy", "evaluation"], [LOSS, MATRIX] * 2 + END),
    ],
)
def test_a_training_opens_what_the_job_makes_public_and_nothing_else(
    tmp_path, cohort, public, opened, capfd
):
    shutil.copytree(cohort, tmp_path, dirs_exist_ok=True)
    job = write_job(tmp_path / "job.toml", top={"public": public}, training={"epochs": 2})
    assert here(job, train) == [None] * 3
    said = capfd.readouterr().out
    for site in SITES:
        folder = tmp_path / "out" / site / "train"
        manifest = json.loads((folder / "manifest.json").read_text())
        reasons = [o["reason"] for o in manifest["opened"]]
        assert len(reasons) == len(opened)
        assert all(words in reason for words, reason in zip(opened, reasons, strict=True))
        for row in manifest["epochs"]:
            assert (row["loss"] is None) == ("loss" not in public)
            assert (row["accuracy"] is None) == ("accuracy" not in public)
        assert (manifest["evaluation"] is None) == ("evaluation" not in public)
        report = (folder / "report.html").read_text()
        assert ("Nothing was opened in this run." in report) == (not public)
    assert ("  loss " in said) == ("loss" in public)
    assert bool(re.search(r"epoch 1/2 .*test accuracy", said)) == ("accuracy" in public)
    assert bool(re.search(r"^test accuracy", said, re.M)) == ("evaluation" in public)
    assert said.count("epoch ") == 2


def test_three_classes_go_through_a_whole_job(tmp_path, capfd):
    rng = np.random.default_rng(5)
    for site in SITES:
        arrays = {}
        for part in ("train", "val", "test"):
            arrays[f"{part}_images"] = rng.integers(0, 255, (9, 8, 8), np.uint8)
            arrays[f"{part}_labels"] = np.arange(9).reshape(-1, 1) % 3
        np.savez(tmp_path / f"{site}.npz", **arrays)
    sites = [{"name": site, "data": f"{site}.npz"} for site in SITES]
    job = write_job(tmp_path / "job.toml", sites, intake={"size": 8, "classes": 3})
    assert here(job, train) == [None] * 3
    manifest = json.loads((tmp_path / "out" / "west" / "train" / "manifest.json").read_text())
    e = manifest["evaluation"]
    assert np.array(e["confusion"]).sum(1).tolist() == [9, 9, 9] and e["classes"] == ["0", "1", "2"]
    assert "auc" not in e and "fpr" not in e
    assert "AUC" not in capfd.readouterr().out


def test_a_test_set_of_one_class_has_no_area_and_the_job_goes_through(tmp_path, capfd):
    rng = np.random.default_rng(5)
    for site in SITES:
        arrays = {}
        for part in ("train", "val", "test"):
            arrays[f"{part}_images"] = rng.integers(0, 255, (8, 8, 8), np.uint8)
            arrays[f"{part}_labels"] = np.arange(8) % 2 if part == "train" else np.zeros(8, int)
        np.savez(tmp_path / f"{site}.npz", **arrays)
    sites = [{"name": site, "data": f"{site}.npz"} for site in SITES]
    job = write_job(tmp_path / "job.toml", sites, intake={"size": 8, "classes": 2})
    assert here(job, train) == [None] * 3
    report = (tmp_path / "out" / "north" / "train" / "report.html").read_text()
    assert "AUC: not measured in this run." in report
    assert re.search(r"^test accuracy [\d.]+%$", capfd.readouterr().out, re.M)


def test_an_inference_without_studies_this_time_leaves_no_old_predictions_beside_new(
    tmp_path, cohort
):
    shutil.copytree(cohort, tmp_path, dirs_exist_ok=True)
    job = write_job(tmp_path / "job.toml")
    assert here(job, train) == here(job, infer) == [None] * 3
    sites = [{"name": n, **({"new": "new/south"} if n == "south" else {})} for n in SITES]
    assert here(write_job(job, sites), infer) == [None] * 3
    north = tmp_path / "out" / "north"
    assert not (north / "infer" / "predictions.json").exists()
    assert (north / "earlier" / "001" / "infer" / "predictions.json").exists()
    assert (tmp_path / "out" / "south" / "infer" / "predictions.json").exists()


class Odd(nn.Module):
    """Layers whose names would confuse a path."""

    def __init__(self):
        super().__init__()
        self.add_module("a/b", nn.Linear(2, 2))
        self.add_module("a", nn.ReLU())
        self.add_module("<script>", nn.ReLU())
        self.add_module("sharing", nn.Sequential(nn.ReLU()))


def counted(model, **paths):
    meter = Meter()
    for path, rounds in paths.items():
        meter.operations[path].rounds = rounds
    record = Record("train", None, 0.0)
    record.watch(model)
    run = SimpleNamespace(party=SimpleNamespace(meter=meter))
    return {row["name"]: row["rounds"] for row in layers(run, record)}


def test_layers_are_told_apart_whatever_they_are_called():
    found = counted(
        Odd(),
        **{
            "a/b Linear/addmm/truncate": 2,
            "a/b Linear": 3,
            "a ReLU/relu": 5,
            "<script> ReLU/relu": 7,
            "sharing.0 ReLU/relu": 11,
            "sharing/share": 13,
            "evaluation/a ReLU/relu": 17,
            "relu": 19,
            "mul/truncate": 23,
        },
    )
    assert found == {
        "a/b Linear": 5,
        "a ReLU": 5,
        "<script> ReLU": 7,
        "sharing.0 ReLU": 11,
        "sharing": 13,
        "evaluation": 17,
        REST: 42,
    }


def test_a_model_of_one_layer_has_one():
    assert counted(nn.Linear(2, 2), **{"Linear/addmm": 4, "add": 1}) == {"Linear": 4, REST: 1}
