"""`radmpc train`: read each site, share, train, test, keep the weights shared, and say what was done."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import nn

from mpc.errors import ShapeMismatch
from protocols.cli.job import Job
from protocols.cli.reading import read_cohort
from protocols.cli.record import Record, write_record
from protocols.cli.start import Run
from protocols.nn.tensor import SecretTensor
from protocols.radiology.cohort import Split
from protocols.radiology.models import build
from protocols.radiology.site import Problem, Site
from protocols.training import checkpoint
from protocols.training.evaluate import evaluate
from protocols.training.loop import fit, logits_of

KEPT_EPOCHS = (
    2  # a crash may catch the parties one epoch apart; the one before is then whole everywhere
)


def train(run: Run) -> None:
    """One party's part of a training job."""
    job, session, console = run.job, run.session, run.console
    split, problems = run.together("read its studies", lambda: read_cohort(job, run.party.rank))
    _tell(run, split, problems)
    model = run.together("build the model", lambda: make_model(job))
    key = run.together("use its key file", lambda: checkpoint.make_key(run.key_path))
    record = Record.begin(run, "train", problems)
    with session.at("sharing"):
        images, targets = share_sites(run, split.train)
        test_images, test_targets = share_sites(run, split.test)
    record.studies = {"train": len(images), "test": len(test_images)}
    console.say(
        f"shared {len(images)} studies to train on and {len(test_images)} to test on, from "
        f"{len(job.sites)} sites; {sum(p.numel() for p in model.parameters())} weights"
    )
    session.secure(model, owner=0)
    steps = job.training.steps(len(images)) * job.training.epochs
    with console.progress("training", steps) as bar:

        def on_epoch(epoch: int, loss: torch.Tensor, seconds: float) -> None:
            _finish_epoch(
                run, record, model, key, (epoch, loss, seconds), (test_images, test_targets)
            )

        fit(model, images, targets, job.training, on_step=lambda *_: bar.step(), on_epoch=on_epoch)
    with session.at("evaluation"):
        record.evaluation = evaluate(session, _logits(run, model, test_images), test_targets)
    _save(run, model, key, "model.share", job.training.epochs)
    write_record(run, record)
    console.say(f"test accuracy {record.evaluation.accuracy:.1%}{_auc(record)}")
    run.party.meter.settle()
    total = run.party.meter.total
    console.say(
        f"{record.seconds():.1f} s, {total.rounds} rounds, {total.sent_bytes / 1e6:.0f} MB sent by this party; "
        f"the weights stay shared, one encrypted file a site"
    )
    console.say(f"report: {run.folder / 'train' / 'report.html'}")


def make_model(job: Job) -> nn.Module:
    """The job's model with its initial weights, the same at every party that runs it alone."""
    torch.manual_seed(job.seed)
    options: dict[str, Any] = {
        "classes": len(job.intake.class_names),
        "channels": job.intake.channels,
    }
    if job.model.name == "radcnn":
        options |= {"size": job.intake.spatial, "dims": job.intake.dims}
    return build(job.model.name, **(options | dict(job.model.options)))


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Class labels as rows with a single 1."""
    return np.eye(classes, dtype=np.float32)[labels]


def share_sites(run: Run, site: Site) -> tuple[SecretTensor, SecretTensor]:
    """Each site's images and labels, shared and put one after the other in the order of the ranks."""
    session, rank = run.session, run.party.rank
    labels = one_hot(site.labels, len(run.job.intake.class_names))
    images = [
        session.share(site.images if r == rank else None, owner=r) for r in range(session.size)
    ]
    targets = [session.share(labels if r == rank else None, owner=r) for r in range(session.size)]
    shapes = {tuple(x.shape[1:]) for x in images}
    if len(shapes) != 1:
        named = ", ".join(
            f"{run.party.names[r]} {tuple(x.shape[1:])}" for r, x in enumerate(images)
        )
        raise ShapeMismatch(f"the sites' images differ in shape: {named}")
    return torch.cat(images), torch.cat(targets)  # type: ignore[return-value]


def _finish_epoch(
    run: Run,
    record: Record,
    model: nn.Module,
    key: bytes,
    done: tuple[int, torch.Tensor, float],
    test: tuple[SecretTensor, SecretTensor],
) -> None:
    """What the job says is public after an epoch: the mean loss and the test accuracy. Then keep the shares."""
    epoch, loss, seconds = done
    session = run.session
    with session.at("evaluation"):
        opened = session.open(loss, reason=f"epoch {epoch + 1}: mean loss over all studies")  # type: ignore[arg-type]
        result = evaluate(session, _logits(run, model, test[0]), test[1], curve=False)
    value = float("nan") if opened is None else float(opened)
    _save(run, model, key, f"epoch-{epoch + 1:03d}.share", epoch + 1)
    (run.folder / f"epoch-{epoch + 1 - KEPT_EPOCHS:03d}.share").unlink(missing_ok=True)
    record.end_epoch(run, epoch + 1, value, result.accuracy, seconds)
    run.console.say(
        f"epoch {epoch + 1}/{run.job.training.epochs}  loss {value:.4f}  "
        f"test accuracy {result.accuracy:.1%}  {seconds:.1f} s"
    )


def _save(run: Run, model: nn.Module, key: bytes, name: str, epoch: int) -> None:
    recipe = asdict(run.job.model) | {"classes": list(run.job.intake.class_names)}
    recipe["options"] = dict(run.job.model.options)
    checkpoint.save(run.session, model, run.folder / name, key, epoch=epoch, recipe=recipe)


def _logits(run: Run, model: nn.Module, images: SecretTensor) -> SecretTensor:
    logits: Any = logits_of(model, images, max(run.job.training.batch, 64))
    model.train()
    return logits  # type: ignore[no-any-return]


def _tell(run: Run, split: Split, problems: Sequence[Problem]) -> None:
    if problems:
        run.console.note(f"{len(problems)} files were not taken:")
        for problem in problems:
            run.console.note(f"  {problem.file}: {problem.reason}")
    run.console.note(f"{len(split.train)} studies to train on, {len(split.test)} to test on")


def _auc(record: Record) -> str:
    interval = record.auc_interval()
    if interval is None:
        return ""
    auc, low, high = interval
    return f", AUC {auc:.3f} (95 % interval {low:.3f} to {high:.3f})"
