"""The job's model: built, saved as shares, and loaded from them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from mpc.errors import UsageError
from protocols.cli.job import Job
from protocols.cli.manifest import plain
from protocols.cli.start import Run
from protocols.radiology.models import build
from protocols.training import checkpoint

# What a file of an image becomes depends on these; the rest of the intake settings may change.
INTAKE = ("size", "dims", "channels", "window", "frames", "colour", "resize", "normalise")


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


def save_shared(run: Run, model: nn.Module, key: bytes, name: str, epoch: int) -> None:
    """Write this party's share file. Cost: 1 round, after which all parties have theirs."""
    path, made = run.folder / name, recipe(run.job)
    run.together(
        "write its share file",
        lambda: checkpoint.save(run.session, model, path, key, epoch=epoch, recipe=made),
    )


def load_shared(run: Run, model: nn.Module, epoch: int | None = None) -> None:
    """Put the trained weights into a model, or those after an epoch whose share files are kept."""
    path = run.folder / (f"epoch-{epoch:03d}.share" if epoch else "model.share")
    key = run.together("use its key file", lambda: checkpoint.read_key(run.key_path))

    def read() -> checkpoint.Saved:
        saved = checkpoint.read_share(run.session, model, path, key)
        check_recipe(run.job, saved.header.model)
        if epoch and saved.header.epoch != epoch:
            raise UsageError(f"{path} holds epoch {saved.header.epoch}, not {epoch}")
        return saved

    saved = run.together("read its share of the model", read)
    checkpoint.load(run.session, model, saved)


def recipe(job: Job) -> dict[str, Any]:
    """What a share file says about its model: how it is built and what it was trained to take."""
    intake = asdict(job.intake)
    made = {
        "name": job.model.name,
        "options": dict(job.model.options),
        "classes": job.intake.class_names,
        "intake": {name: intake[name] for name in INTAKE},
    }
    found: dict[str, Any] = json.loads(json.dumps(plain(made)))
    return found


def check_recipe(job: Job, trained: dict[str, Any]) -> None:
    """Refuse a model that was trained on other classes or other images than the job now names.

    Raises:
        UsageError: it would load and then say nonsense; the message names the settings.
    """
    now = recipe(job)
    differ = [f"model.{name}" for name in ("name", "options") if trained.get(name) != now[name]]
    differ += ["intake.classes"] if trained.get("classes") != now["classes"] else []
    was = trained.get("intake") or {}
    differ += [f"intake.{name}" for name in INTAKE if was.get(name) != now["intake"][name]]
    if differ:
        raise UsageError(
            f"the model was trained with other settings than the job has now: {', '.join(differ)}"
        )
