"""Starting a job: as a rank under mpirun, or by starting ranks; and ending it, whatever happens."""

from __future__ import annotations

import hashlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from kernels.cuda import card
from kernels.machines import HOST, Memory
from mpc.correlated.seeded import Source
from mpc.errors import MpcError, OutOfStep, PeerError, UsageError
from mpc.launch import abort_all, mpirun, run_under_mpi, run_with_dealer, under_mpirun
from mpc.party import Party
from mpc.sources import NoSource, StoredSource
from mpc.sources.sealed import read_key
from protocols.base import CHUNK
from protocols.cli.console import Console, complain
from protocols.cli.job import Job, SiteSettings, code_digest, model_digest
from protocols.cli.jobfile import read_job
from protocols.cli.quiet import run_quietly
from protocols.nn import Session

BUG, USAGE, PEER = 1, 2, 3  # exit codes; see docs/jobs.md
T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """A job under way at one party."""

    job: Job
    party: Party
    session: Session
    console: Console
    source: Source | None = None

    @property
    def site(self) -> SiteSettings:
        """This party's own settings."""
        return self.job.sites[self.party.rank]

    @property
    def folder(self) -> Path:
        """Where this site's results go."""
        return self.job.folder(self.party.rank)

    @property
    def key_path(self) -> Path:
        """This site's key file."""
        return self.site.key or self.folder / "party.key"

    def together(self, what: str, work: Callable[[], T]) -> T:
        """Do at every site what may fail at one, and stop at all of them if it does. Cost: 1 round.

        Raises:
            UsageError: at the site that failed, with its own reason.
            PeerError: at the others, naming the site.
        """
        return together(self.party, what, work, reason=self._reason)

    def announce(self, rank: int, number: int) -> int:
        """A public number that one party tells all. Cost: 1 round."""
        heard = self.party.broadcast(np.array([number], np.int64))
        return int(heard[rank][0][0])

    def set_aside(self, *patterns: str) -> None:
        """Move what an earlier run left in this site's folder to `earlier/NNN` in it. 2 rounds.

        The number is the same at all sites, so that files of one save stay together.
        """
        taken = [int(p.name) for p in self.folder.glob("earlier/*") if p.name.isdigit()]
        heard = self.party.broadcast(np.array([max(taken, default=0)], np.int64))
        target = self.folder / "earlier" / f"{1 + max(int(n[0]) for (n,) in heard.values()):03d}"
        left = [p for pattern in patterns for p in sorted(self.folder.glob(pattern))]

        def move() -> None:
            for path in left:
                target.mkdir(parents=True, exist_ok=True)
                path.rename(target / path.name)

        self.together("move an earlier run's results aside", move)
        if left:
            self.console.note(f"what an earlier run left here is now in {target}")

    def _reason(self, error: OSError) -> str:
        """Why the system refused; where, only if that is among the results, not among the data."""
        reason = _why(error)
        where = error.filename
        if isinstance(where, str) and Path(where).is_relative_to(self.job.output):
            return f"{reason}: {self.folder}"
        return reason


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__


def together(
    party: Party, what: str, work: Callable[[], T], *, reason: Callable[[OSError], str] = _why
) -> T:
    """See `Run.together`; `reason` tells why the system refused, as far as it may be said."""
    result: list[T] = []
    failure: Exception | None = None
    try:
        result.append(work())
    except OSError as error:
        failure = UsageError(f"{party.name} could not {what}: {reason(error)}")
    except Exception as error:
        failure = error
    mine = np.array([failure is not None], np.uint8)
    heard = party.broadcast(mine)
    if any(flag[0] for (flag,) in heard.values()):
        with suppress(PeerError):  # nobody leaves before all have heard who failed
            party.broadcast(mine)
    if failure is not None:
        raise failure
    failed = [party.names[rank] for rank, (flag,) in sorted(heard.items()) if flag[0]]
    if failed:
        raise PeerError(f"{' and '.join(failed)} could not {what}, and says why in its own log")
    return result[0]


def start(
    path: Path,
    program: Callable[[Run], None],
    command: Sequence[str],
    *,
    check: Callable[[Job], None] = lambda job: None,
) -> int:
    """Run a job's program at every party; returns an exit code.

    Args:
        path: the job file.
        program: what each party does.
        command: arguments of `radmpc`, to start ranks with.
        check: what else the job must be good for, before any rank is started.

    Raises:
        UsageError: the job will not do.
    """
    job = read_job(path)
    check(job)
    if under_mpirun():
        return _as_rank(job, program, command[0])
    line, environment = mpirun(job.ranks(command[0]), ["-m", "protocols.cli", *command])
    return run_quietly(line, environment)


def _as_rank(job: Job, program: Callable[[Run], None], command: str) -> int:
    names = [site.name for site in job.sites]
    who: dict[str, Any] = {"parties": len(names), "names": names}
    how: dict[str, Any] = {"deadline_s": job.deadline_s, "threads": job.threads}
    memory = card_memory if job.device == "cuda" else lambda: HOST

    def compare(everyone: Party) -> None:
        everyone.agree(code_digest(), "code")
        everyone.agree(hashlib.sha256(command.encode()).digest(), "command")
        everyone.agree(job.digest(), "settings")

    def alone(party: Party) -> None:
        compare(party)
        party.memory = memory()
        source = source_of(job, party, command)
        try:
            at_party(party, source)
        finally:
            if source is not None:
                source.close()  # a file notes how far it is used up, whatever happened

    def at_party(party: Party, source: Source | None) -> None:
        session = session_of(job, party, source)
        run = Run(job, party, session, Console(party.rank, party.name), source)
        model_code = run.together("find its model's code", lambda: model_digest(job))
        party.agree(model_code, "the model's code")
        program(run)

    try:
        if job.source_of(command) == "dealer":
            run_with_dealer(at_party, agree=compare, memory=memory, **who, **how)
        else:
            run_under_mpi(alone, **who, **how)
    except MpcError as error:
        complain(str(error))
        # A party that stops lets its peers find out the same way: give them time to say so. Whose
        # own fault it is goes first, so that the job ends with that party's exit code.
        mine = not isinstance(error, PeerError) or isinstance(error, OutOfStep)
        abort_all(USAGE if mine else PEER, after_s=1.0 if mine else 2.5)
    except BaseException as error:
        if (short := card.shortage(error)) is not None:
            less = f"try batch = {max(1, job.training.batch // 2)} in [training]"
            if job.planned_chunk > CHUNK:
                less += f", or chunk = {CHUNK}"
            complain(f"{short}: {less}")
            abort_all(USAGE, after_s=1.0)
        if not isinstance(error, KeyboardInterrupt | SystemExit):
            # Code and line, and the kind of error; its text might quote a value.
            frames = "".join(traceback.format_tb(error.__traceback__))
            complain(
                f"stopped by a fault of its own ({type(error).__name__}); please report:\n{frames}"
            )
        abort_all(BUG, after_s=0)
    sys.stdout.flush()
    return 0


def _local_rank() -> int:
    """This rank's number on its machine, as Open MPI, MPICH or Slurm says."""
    names = ("OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID")
    return int(next((os.environ[name] for name in names if name in os.environ), "0"))


def card_memory() -> Memory:
    """Of this rank's card: its number among the ranks on this machine, round and round.

    Raises:
        UsageError: there is no card, or none that will do. Nothing falls back to the CPU.
    """
    try:
        return card.use(_local_rank())
    except card.DeviceError as error:
        raise UsageError(str(error)) from None


def session_of(job: Job, party: Party, source: Source | None) -> Session:
    """A session with a job's settings.

    Where the job leaves `chunk` open, each party tells each other whether it keeps its shares on a
    card, which is public. Cost: a session's, and then 1 round of 1 byte.
    """
    on_cards = False
    if job.chunk_is_open:
        heard = party.broadcast(np.array([party.device != "cpu"], np.uint8))
        on_cards = all(flag[0] for (flag,) in heard.values())
    chunk = job.chunk_if(on_cards)
    return Session(party, protocol=job.protocol, width=job.width, source=source, chunk=chunk)


def source_of(job: Job, party: Party, command: str) -> Source | None:
    """Where this party's correlated randomness comes from, if nobody deals while it computes."""
    if job.protocol != "additive":
        return None
    if job.source_of(command) is None:
        return NoSource()
    path, key_path = job.items(party.rank, command)
    key = together(party, "use the key of its file of items", lambda: read_key(key_path))
    source = StoredSource(path, key, party, label=job.items_label(command))
    if source.begun:  # a run names masks of its own beginning, so it cannot go on from the middle
        source.close()
        raise UsageError(
            f"{source.begun} of {source.begun + source.left} items in the sites' files are used "
            "up, and a run needs all of them: ask whoever dealt them for new ones"
        )
    return source
