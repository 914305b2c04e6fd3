"""`radmpc open`: release a model to one named party, as a PyTorch state dict."""

from __future__ import annotations

import hashlib
import io

import torch

from mpc.errors import UsageError
from mpc.files import write_whole
from protocols.cli.record import Record, write_record
from protocols.cli.start import Run
from protocols.cli.train import make_model
from protocols.nn.tensor import SecretTensor
from protocols.training import checkpoint


def release(run: Run, to: str) -> None:
    """One party's part. Every party has to run it: without all three nothing is released."""
    names = [site.name for site in run.job.sites]
    if to not in names:
        raise UsageError(f"there is no site {to!r}: choose {', '.join(names)}")
    # What is asked for must be the same everywhere, or a party would be made to release to another.
    run.party.agree(_digest(to), "the site that the model is released to")
    owner = names.index(to)
    record = Record.begin(run, "open", ())
    model = run.together("build the model", lambda: make_model(run.job))
    key = run.together("use its key file", lambda: checkpoint.read_key(run.key_path))
    path = run.folder / "model.share"
    run.together(
        "read its share of the model", lambda: checkpoint.read_share(run.session, path, key)
    )
    checkpoint.load(run.session, model, path, key)
    opened = {}
    for name, t in model.state_dict(keep_vars=True).items():
        if isinstance(t, SecretTensor):
            value = run.session.open(t, reason=f"release of the model to {to}: {name}", to=owner)
            opened[name] = value
        else:
            opened[name] = t
    if run.party.rank == owner:
        buffer = io.BytesIO()
        torch.save(opened, buffer)
        write_whole(run.folder / "open" / "model.pt", buffer.getvalue())
        run.console.note(f"the model is in {run.folder / 'open' / 'model.pt'}")
    write_record(run, record)
    run.console.say(f"the model was released to {to}, and to nobody else")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
