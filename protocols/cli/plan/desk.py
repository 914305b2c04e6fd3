"""A desk with nothing on it: what a plan reads and leaves. The parties' messages are as ever."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mpc.ring import WORD
from protocols.cli.desk import Desk
from protocols.cli.plan.cohort import Cohort, no_studies
from protocols.cli.start import Run
from protocols.nn.tensor import SecretTensor
from protocols.radiology.cohort import Split
from protocols.radiology.site import Problem, Site
from protocols.secret import FRACTION, SecretArray
from protocols.training import checkpoint


class EmptyDesk(Desk):
    """Studies of zeros, and no file.

    Args:
        cohort: how many studies.
    """

    def __init__(self, cohort: Cohort) -> None:
        """Nothing is read."""
        self._cohort = cohort

    def studies(self, run: Run) -> tuple[Split, Sequence[Problem]]:
        """See `Desk.studies`."""
        rank, intake = run.party.rank, run.job.intake
        train, test = (no_studies(intake, of[rank]) for of in self._cohort[:2])
        return run.together("read its studies", lambda: (Split(train, test), ()))

    def new(self, run: Run) -> Site | None:
        """See `Desk.new`."""
        count = self._cohort.new[run.party.rank]
        site = no_studies(run.job.intake, count) if count else None
        return run.together("read its new studies", lambda: site)

    def key(self, run: Run) -> bytes:
        """See `Desk.key`."""
        return run.together("use its key file", lambda: b"")

    def save(self, run: Run, model: nn.Module, key: bytes, name: str, epoch: int) -> None:
        """See `Desk.save`: weights that wait to be computed are, as they would be to be written."""

        def look() -> None:
            for t in (*model.parameters(), *model.buffers()):
                if isinstance(t, SecretTensor) and isinstance(t.secret, SecretArray):
                    t.secret.settled()

        run.together("write its share file", look)

    def load(self, run: Run, model: nn.Module, epoch: int | None) -> None:
        """See `Desk.load`: weights of zeros."""
        run.together("use its key file", lambda: None)
        saved = run.together("read its share of the model", lambda: _zeros(run, model))
        checkpoint.load(run.session, model, saved)

    def set_aside(self, run: Run, *patterns: str) -> None:
        """See `Desk.set_aside`."""
        run.party.broadcast(np.zeros(1, np.int64))
        run.together("move an earlier run's results aside", lambda: None)

    def leave(self, run: Run, what: str, work: Callable[[], object]) -> None:
        """See `Desk.leave`: nothing is done."""
        run.together(what, lambda: None)


def _zeros(run: Run, model: nn.Module) -> checkpoint.Saved:
    """What would be read of a share file."""
    named: list[tuple[str, torch.Tensor]] = [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]
    tensors = [(name, t) for name, t in named if t.is_floating_point()]
    protocol = run.session.protocol
    header = checkpoint.Header(
        protocol=protocol.name,
        parties=run.session.size,
        rank=run.session.rank,
        save="",
        epoch=1,
        model={},
        tensors=[(name, tuple(t.shape), FRACTION) for name, t in tensors],
    )
    size = protocol.terms * sum(t.numel() for _, t in tensors)
    return checkpoint.Saved(Path(), header, np.zeros(size, WORD))
