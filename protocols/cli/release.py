"""`radmpc open`: release a model to one named party, as a PyTorch state dict."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import torch

from mpc.errors import UsageError
from mpc.files import write_whole
from protocols.cli.job import Job
from protocols.cli.model import load_shared, make_model
from protocols.cli.record import Record, write_record
from protocols.cli.start import Run
from protocols.nn.tensor import SecretTensor


def check_site(job: Job, to: str) -> None:
    """Refuse a name that is no site's.

    Raises:
        UsageError: it is none of those that the message lists.
    """
    names = [site.name for site in job.sites]
    if to not in names:
        raise UsageError(f"there is no site {to!r}: choose {', '.join(names)}")


def release(run: Run, to: str, epoch: int | None = None) -> None:
    """One party's part. Every party has to run it: without all parties nothing is released."""
    # What is asked for must be the same everywhere, or a party would be made to release to another.
    run.party.agree(_digest(to), "the site that the model is released to")
    run.together("agree to the release", lambda: _consent(run, to))
    owner = [site.name for site in run.job.sites].index(to)
    record = Record.begin(run, "open")
    model = run.together("build the model", lambda: make_model(run.job))
    load_shared(run, model, epoch)
    opened: dict[str, torch.Tensor | None] = {}
    for name, t in model.state_dict(keep_vars=True).items():
        if isinstance(t, SecretTensor):
            reason = f"release of the model to {to}: {name}"
            opened[name] = run.session.open(t, reason=reason, to=owner)
        else:
            opened[name] = t
    run.set_aside("open")
    mine = opened if run.party.rank == owner else None
    run.together("write its results", lambda: _write(run, record, mine))
    run.console.say(f"the model was released to {to}, and to nobody else")


def _consent(run: Run, to: str) -> None:
    """This site's own word, from its own copy of the job, not from whoever started the ranks."""
    allowed = run.site.release_to
    if allowed is not None and to not in allowed:
        raise UsageError(
            f"{run.site.name} does not let the model be released to {to}: "
            f"its job file says release_to = {list(allowed)}"
        )


def _write(run: Run, record: Record, opened: dict[str, Any] | None) -> None:
    if opened is not None:
        buffer = io.BytesIO()
        torch.save(opened, buffer)
        path = write_whole(run.folder / "open" / "model.pt", buffer.getvalue())
        run.console.note(f"the model is in {path}")
    write_record(run, record)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
