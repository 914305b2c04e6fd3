"""`radmpc demo`: the whole job on a made-up cohort, beside the same training in the clear."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import torch

from mpc.errors import UsageError
from mpc.launch import mpirun
from protocols.cli.job import Job
from protocols.cli.jobfile import read_job
from protocols.cli.model import make_model
from protocols.cli.quiet import run_quietly
from protocols.cli.reading import read_cohort
from protocols.radiology.metrics import accuracy, auc
from protocols.radiology.phantom import write_cohort
from protocols.training.loop import fit, logits_of

SITES = ("north", "south", "west")
MADE = ("cohort", "new", "out")
MARK = "# written by radmpc demo, which replaces it and the folders beside it\n"
JOB = """\
name = "phantom nodules"
output = "out"
seed = 0

[[site]]
name = "north"
data = "cohort/north"
labels = "cohort/north/labels.csv"
new = "new/north"

[[site]]
name = "south"
data = "cohort/south"
labels = "cohort/south/labels.csv"
new = "new/south"

[[site]]
name = "west"
data = "cohort/west"
labels = "cohort/west/labels.csv"
new = "new/west"

[intake]
size = 28
classes = ["benign", "malignant"]

[model]
name = "radcnn"

[training]
epochs = {epochs}
batch = 32
rate = 0.03
momentum = 0.9

[evaluation]
test_fraction = 0.25
"""


def demo(folder: Path, *, small: bool = False) -> int:
    """Run the main job end to end on this machine and say what it did; returns an exit code.

    Args:
        folder: where everything goes; what an earlier demo left there is replaced.
        small: a few patients and one epoch.

    Raises:
        UsageError: the folder holds what no demo wrote.
    """
    patients, new, epochs = (10, 2, 1) if small else (80, 10, 10)
    path = folder / "job.toml"
    _make_room(folder, path, epochs)
    print(f"writing a cohort of {len(SITES)} sites with {patients} patients each", flush=True)
    write_cohort(folder / "cohort", SITES, patients=patients, seed=0)
    for site, there in write_cohort(folder / "new", SITES, patients=new, seed=1).items():
        (there / "labels.csv").rename(folder / "new" / f"{site}.csv")  # new studies have no labels
    job = read_job(path)

    start = time.perf_counter()
    for command in ("train", "infer"):
        print(f"\nmpirun -n {len(SITES)} radmpc {command} {path}", flush=True)
        code = run_quietly(*mpirun(len(SITES), ["-m", "protocols.cli", command, str(path)]))
        if code:
            return code
    _summarise(job, folder, time.perf_counter() - start)
    return 0


def _make_room(folder: Path, path: Path, epochs: int) -> None:
    """Take away what an earlier demo left, and nothing else; write the job."""
    try:
        ours = path.read_text(encoding="utf-8").startswith(MARK)
    except FileNotFoundError:
        ours = False
    there = [name for name in (*MADE, path.name) if (folder / name).exists()]
    if there and not ours:
        raise UsageError(f"{folder} holds {there[0]}, which no demo wrote: choose another folder")
    for name in MADE:
        if (folder / name).exists():
            shutil.rmtree(folder / name)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(MARK + JOB.format(epochs=epochs), encoding="utf-8")


def _summarise(job: Job, folder: Path, seconds: float) -> None:
    manifest = json.loads((job.folder(0) / "train" / "manifest.json").read_text(encoding="utf-8"))
    secure, total = manifest["evaluation"], manifest["total"]
    clear_accuracy, clear_auc = in_the_clear(job)
    found, new = _new_accuracy(job, folder)
    print(
        f"\nthe same training in the clear, all data in one place, ends at "
        f"accuracy {clear_accuracy:.1%}, AUC {clear_auc:.3f}\n"
        f"on shares it ended at                                       "
        f"accuracy {secure['accuracy']:.1%}, AUC {secure['auc']:.3f}\n"
        f"of {new} new studies {found:.1%} were classified rightly, "
        f"each result known to its site alone\n"
        f"job: {seconds:.0f} s; training: {manifest['seconds']:.0f} s, {total['rounds']} rounds, "
        f"{total['sent_bytes'] / 1e6:.0f} MB sent by a party\n"
        f"report: {job.folder(0) / 'train' / 'report.html'}"
    )


def in_the_clear(job: Job) -> tuple[float, float]:
    """Accuracy and AUC of plain PyTorch with the same initial weights, order and batches.

    It puts all sites' data in one place, which only a demo on made-up patients may do.
    """
    splits = [read_cohort(job, rank)[0] for rank in range(len(job.sites))]
    classes = len(job.intake.class_names)
    images = torch.cat([torch.from_numpy(s.train.images) for s in splits])
    targets = torch.cat([torch.from_numpy(s.train.one_hot(classes)) for s in splits])
    model = make_model(job)
    fit(model, images, targets, job.training)
    tests = torch.cat([torch.from_numpy(s.test.images) for s in splits])
    labels = np.concatenate([s.test.labels for s in splits])
    logits = logits_of(model, tests, 256).numpy()
    return accuracy(labels, logits.argmax(1)), auc(labels, logits[:, 1] - logits[:, 0]).value


def _new_accuracy(job: Job, folder: Path) -> tuple[float, int]:
    """How many of the new studies' results, put side by side for the demo, agree with the truth."""
    right = total = 0
    for rank, site in enumerate(SITES):
        path = job.folder(rank) / "infer" / "predictions.json"
        results = json.loads(path.read_text(encoding="utf-8"))
        truth = _labels(folder / "new" / f"{site}.csv")
        for study in results["studies"]:
            total += 1
            right += study["predicted"] == job.intake.class_names[truth[study["file"]]]
    if not total:
        raise UsageError("no new study was classified")
    return right / total, total


def _labels(path: Path) -> dict[str, int]:
    rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    return {file: int(label) for file, label in rows}
