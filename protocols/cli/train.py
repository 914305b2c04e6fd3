"""`radmpc train`: read each site, share, train, test, keep the weights shared, and report."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from mpc.errors import ShapeMismatch
from protocols.cli.desk import HERE, Desk
from protocols.cli.model import make_model
from protocols.cli.record import Record, tell_problems, write_record
from protocols.cli.start import Run
from protocols.nn.tensor import SecretTensor
from protocols.radiology.site import Site
from protocols.training.evaluate import evaluate
from protocols.training.loop import fit, logits_of

# A crash may catch the parties one epoch apart; the one before is then whole everywhere.
KEPT_EPOCHS = 2
# What a training leaves in a site's folder; the next one moves it aside.
LEFT = ("model.share", "epoch-*.share", "train", "infer", "open")


def train(run: Run, desk: Desk = HERE) -> None:
    """One party's part of a training job; what it reads and leaves is at its desk."""
    job, session, console = run.job, run.session, run.console
    record = Record.begin(run, "train")
    split, record.problems = desk.studies(run)
    tell_problems(run, record)
    console.note(f"{len(split.train)} studies to train on, {len(split.test)} to test on")
    model = run.together("build the model", lambda: make_model(job))
    record.watch(model)
    key = desk.key(run)
    with session.at("sharing"):
        images, targets = share_sites(run, split.train)
        test_images, test_targets = share_sites(run, split.test)
    record.studies = {"train": len(images), "test": len(test_images)}
    console.say(
        f"shared {len(images)} studies to train on and {len(test_images)} to test on, from "
        f"{len(job.sites)} sites; {sum(p.numel() for p in model.parameters())} weights"
    )
    session.secure(model, owner=0)
    desk.set_aside(run, *LEFT)
    record.lap(run)
    steps = job.training.steps(len(images)) * job.training.epochs
    with console.progress("training", steps) as bar:

        def on_epoch(epoch: int, loss: torch.Tensor, seconds: float) -> None:
            rounds, sent = record.lap(run)
            row: dict[str, Any] = {"epoch": epoch + 1, "loss": None, "accuracy": None}
            row |= {"seconds": seconds, "rounds": rounds, "bytes": sent}
            record.epochs.append(row | _after_epoch(run, model, epoch, loss, test))
            desk.save(run, model, key, f"epoch-{epoch + 1:03d}.share", epoch + 1)
            old = run.folder / f"epoch-{epoch + 1 - KEPT_EPOCHS:03d}.share"
            desk.leave(run, "remove an old share file", lambda: old.unlink(missing_ok=True))
            console.say(_line(record, job.training.epochs))
            record.lap(run)

        test = test_images, test_targets
        fit(
            model,
            images,
            targets,
            job.training,
            on_step=lambda *_: bar.step(),
            on_epoch=on_epoch,
            each=session.each,
        )
    if "evaluation" in job.public:
        with session.at("evaluation"):
            logits = _logits(run, model, test_images)
            record.evaluation = evaluate(session, logits, test_targets)
    desk.save(run, model, key, "model.share", job.training.epochs)
    desk.leave(run, "write its results", lambda: write_record(run, record))
    total = run.party.meter.total
    if record.evaluation is not None:
        console.say(f"test accuracy {record.evaluation.accuracy:.1%}{_auc(record)}")
    console.say(
        f"{record.seconds():.1f} s, {total.rounds} rounds, {total.sent_bytes / 1e6:.0f} MB sent by "
        f"this party; the weights stay shared, one encrypted file a site"
    )
    console.say(f"report: {run.folder / 'train' / 'report.html'}")


def share_sites(run: Run, site: Site) -> tuple[SecretTensor, SecretTensor]:
    """Each site's images and labels, shared, one after the other in the order of the ranks.

    Raises:
        ShapeMismatch: the sites' images differ in shape; names each site with its own.
    """
    session, rank = run.session, run.party.rank
    labels = site.one_hot(len(run.job.intake.class_names))
    images = [
        session.share(site.images if r == rank else None, owner=r) for r in range(session.size)
    ]
    if len({tuple(x.shape[1:]) for x in images}) != 1:
        named = ", ".join(
            f"{run.party.names[r]} {tuple(x.shape[1:])}" for r, x in enumerate(images)
        )
        raise ShapeMismatch(f"the sites' images differ in shape: {named}")
    targets = [session.share(labels if r == rank else None, owner=r) for r in range(session.size)]
    return _joined(images), _joined(targets)


def _joined(parts: list[SecretTensor]) -> SecretTensor:
    return cast(SecretTensor, torch.cat(tuple(parts)))


def _after_epoch(
    run: Run,
    model: nn.Module,
    epoch: int,
    loss: torch.Tensor,
    test: tuple[SecretTensor, SecretTensor],
) -> dict[str, float]:
    """What the job says is public after an epoch, of mean loss and test accuracy."""
    session, found = run.session, {}
    with session.at("evaluation"):
        if "loss" in run.job.public and isinstance(loss, SecretTensor):
            reason = f"epoch {epoch + 1}: mean loss over all training studies"
            opened = session.open(loss, reason=reason)
            found["loss"] = float("nan") if opened is None else float(opened)
        if "accuracy" in run.job.public:
            result = evaluate(session, _logits(run, model, test[0]), test[1], curve=False)
            found["accuracy"] = result.accuracy
    return found


def _line(record: Record, epochs: int) -> str:
    row = record.epochs[-1]
    parts = [f"epoch {row['epoch']}/{epochs}"]
    parts += [f"loss {row['loss']:.4f}"] if row["loss"] is not None else []
    parts += [f"test accuracy {row['accuracy']:.1%}"] if row["accuracy"] is not None else []
    return "  ".join([*parts, f"{row['seconds']:.1f} s"])


def _logits(run: Run, model: nn.Module, images: SecretTensor) -> SecretTensor:
    logits = logits_of(model, images, max(run.job.training.batch, 64), each=run.session.each)
    model.train()
    return cast(SecretTensor, logits)


def _auc(record: Record) -> str:
    interval = record.auc_interval()
    if interval is None:
        return ""
    auc, low, high = interval
    return f", AUC {auc:.3f} (95 % interval {low:.3f} to {high:.3f})"
