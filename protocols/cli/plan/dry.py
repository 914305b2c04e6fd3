"""A dry run: the job's own code at every rank, on shapes alone.

The protocols, the model and the loops are those of a real run. What differs is around them: a
transport that carries nothing secret, a source that lists what is asked for, a desk with nothing on
it, a session that learns ones from every opening, and loops that leave out repetitions.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
from rich.progress import TaskID

from mpc.correlated.items import Item
from mpc.errors import PeerError
from mpc.party import Party
from mpc.sources import ListingSource
from mpc.transport.local import LocalHub
from mpc.transport.silent import SilentTransport
from protocols.cli.console import Bar, Console
from protocols.cli.infer import infer
from protocols.cli.job import Job, model_digest
from protocols.cli.plan.cohort import Cohort
from protocols.cli.plan.desk import EmptyDesk
from protocols.cli.plan.repeats import Part, Tape
from protocols.cli.plan.session import DrySession
from protocols.cli.plan.silence import Rehearsal
from protocols.cli.start import Run, together
from protocols.cli.train import train

_DIGEST = bytes(32)  # of anything: who plans agrees with itself


@dataclass(frozen=True)
class Dry:
    """What one rank's dry run left.

    Args:
        parts: its costs.
        items: what it asked its source for.
        labels: where in the model, for each item.
        heard: what was public, to be heard again.
    """

    parts: Sequence[Part]
    items: Sequence[Item]
    labels: Sequence[str]
    heard: Sequence[bytes]


def dry_runs(job: Job, command: str, cohort: Cohort) -> list[Dry]:
    """One of every rank, side by side.

    Raises:
        MemoryError: there are more studies than this machine holds.
    """
    size = len(job.sites)
    _check_memory(job, cohort)
    hub = LocalHub(size)

    def at_rank(rank: int) -> Dry:
        transport = Rehearsal(hub.transport(rank))
        try:
            return dry_run(job, command, cohort, transport)
        except BaseException as error:
            transport.close(type(error).__name__)
            raise

    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(at_rank, rank) for rank in range(size)]
        failed = [error for f in futures if (error := f.exception()) is not None]
    if failed:  # what a rank says of another one's end is no reason
        raise min(failed, key=lambda error: isinstance(error, PeerError))
    return [f.result() for f in futures]


def _check_memory(job: Job, cohort: Cohort) -> None:
    """Images that no memory holds: the system would end this process without a word."""
    images = sum(map(sum, cohort)) * math.prod(job.intake.shape) * np.dtype(np.float32).itemsize
    if images > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        raise MemoryError


def dry_run(job: Job, command: str, cohort: Cohort, transport: SilentTransport) -> Dry:
    """One rank's, from the first message of a real run to the last."""
    rank = transport.rank
    party = Party(transport, deadline_s=float("inf"), name=job.sites[rank].name)
    source = ListingSource(party) if job.protocol == "additive" else None
    items: list[Item] = source.items if source is not None else []
    tape = Tape(party.meter, items)
    run = _begin(job, command, party, source, tape)
    desk = EmptyDesk(cohort)
    program = partial(train, desk=desk) if command == "train" else partial(infer, desk=desk)
    program(run)
    labels = source.labels if source is not None else []
    heard = transport.heard if isinstance(transport, Rehearsal) else []
    return Dry(tape.end(), items, labels, heard)


def _begin(job: Job, command: str, party: Party, source: ListingSource | None, tape: Tape) -> Run:
    """The messages by which a run starts: see `mpc.launch` and `protocols.cli.start`."""
    party.introduce()
    if job.source_of(command) != "dealer":  # beside a dealer, that is heard on other wires
        party.broadcast(np.zeros(64, np.uint8))  # host and process
        for what in ("code", "command", "settings"):
            party.agree(_DIGEST, what)
    if job.source_of(command) == "file":
        together(party, "use the key of its file of items", lambda: None)
        begun = np.zeros(1, np.uint8), np.zeros(16, np.uint8), np.zeros(1, np.uint64)
        party.broadcast(*begun)  # readable, which file, used up how far
    if job.chunk_is_open:
        party.broadcast(np.zeros(1, np.uint8))  # whether its shares are on a card
    session = DrySession(
        party,
        protocol=job.protocol,
        width=job.width,
        chunk=job.planned_chunk,
        source=source,
        tape=tape,
    )
    run = Run(job, party, session, Quiet(party.rank, party.name), source)
    run.together("find its model's code", lambda: model_digest(job))
    party.agree(_DIGEST, "the model's code")
    return run


class Quiet(Console):
    """Says nothing."""

    def say(self, text: str) -> None:
        """Not this."""

    def note(self, text: str) -> None:
        """Nor this."""

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Bar]:
        """No bar."""
        yield Bar(None, TaskID(0))
