"""What a run reads of its site and what it leaves there: the one door to the disk.

A plan has another desk, with nothing on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from protocols.cli.model import load_shared, save_shared
from protocols.cli.reading import read_cohort, read_new
from protocols.cli.start import Run
from protocols.radiology.cohort import Split
from protocols.radiology.site import Problem, Site
from protocols.training import checkpoint


class Desk:
    """A site's own files. What may fail at one site stops the job at all of them."""

    def studies(self, run: Run) -> tuple[Split, Sequence[Problem]]:
        """The site's studies, to train and to test on, and the files that were not taken."""
        return run.together("read its studies", lambda: read_cohort(run.job, run.party.rank))

    def new(self, run: Run) -> Site | None:
        """The studies that the site wants classified; None if it has none."""
        return run.together("read its new studies", lambda: read_new(run.job, run.party.rank))

    def key(self, run: Run) -> bytes:
        """The key that the site's share files are encrypted under; made if there is none."""
        return run.together("use its key file", lambda: checkpoint.make_key(run.key_path))

    def save(self, run: Run, model: nn.Module, key: bytes, name: str, epoch: int) -> None:
        """Write this party's share of a model."""
        save_shared(run, model, key, name, epoch)

    def load(self, run: Run, model: nn.Module, epoch: int | None) -> None:
        """Put this party's share of the trained weights into a model."""
        load_shared(run, model, epoch)

    def set_aside(self, run: Run, *patterns: str) -> None:
        """Move what an earlier run left."""
        run.set_aside(*patterns)

    def leave(self, run: Run, what: str, work: Callable[[], object]) -> None:
        """Write or remove files."""
        run.together(what, work)


HERE = Desk()
