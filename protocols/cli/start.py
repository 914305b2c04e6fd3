"""Starting a job: as one rank under mpirun, or by starting ranks of its own; and ending it, whatever happens."""

from __future__ import annotations

import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from mpc.errors import MpcError, OutOfStep, PeerError, UsageError
from mpc.launch import abort_all, mpirun, run_under_mpi, under_mpirun
from mpc.party import Party
from protocols.cli.console import Console, complain, terminal_environment
from protocols.cli.job import Job, SiteSettings, code_digest, read_job
from protocols.nn import Session

USAGE, PEER, BUG = 2, 3, 1
T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """A job under way at one party."""

    job: Job
    party: Party
    session: Session
    console: Console

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
        """Do something at every site that may fail at one, and stop at all of them if it does. Cost: 1 round.

        Raises:
            UsageError: at the site that failed, with its own reason.
            PeerError: at the others, naming the site.
        """
        result: list[T] = []
        failure: UsageError | None = None
        try:
            result.append(work())
        except UsageError as error:
            failure = error
        heard = self.party.broadcast(np.array([failure is not None], np.uint8))
        if failure is not None:
            raise failure
        failed = [self.party.names[rank] for rank, (flag,) in sorted(heard.items()) if flag[0]]
        if failed:
            raise PeerError(f"{' and '.join(failed)} could not {what}, and says why in its own log")
        return result[0]

    def announce(self, rank: int, number: int) -> int:
        """A public number that one party tells all. Cost: 1 round."""
        heard = self.party.broadcast(np.array([number], np.int64))
        return int(heard[rank][0][0])


def start(path: Path, program: Callable[[Run], None], command: Sequence[str]) -> int:
    """Run a job's program at every party; returns an exit code.

    Args:
        path: the job file.
        program: what each party does.
        command: arguments of `radmpc`, to start ranks with.
    """
    try:
        job = read_job(path)
    except UsageError as error:
        complain(str(error))
        return USAGE
    if not under_mpirun():
        try:
            line, environment = mpirun(len(job.sites), ["-m", "protocols.cli", *command])
        except UsageError as error:
            complain(str(error))
            return USAGE
        started = subprocess.run(line, env=environment | terminal_environment(), check=False)
        return started.returncode
    return _as_rank(job, program)


def _as_rank(job: Job, program: Callable[[Run], None]) -> int:
    def at_party(party: Party) -> None:
        party.agree(code_digest(), "code")
        party.agree(job.digest(), "settings")
        session = Session(party, protocol=job.protocol, width=job.width)
        program(Run(job, party, session, Console(party.rank, party.name)))

    try:
        run_under_mpi(
            at_party,
            parties=len(job.sites),
            deadline_s=job.deadline_s,
            names=[site.name for site in job.sites],
            threads=job.threads,
        )
    except MpcError as error:
        complain(str(error))
        # A party that stops by itself lets its peers find out the same way; give them the time to say so.
        abort_all(USAGE if isinstance(error, UsageError | OutOfStep) else PEER, after_s=1.0)
    except BaseException as error:
        if not isinstance(error, KeyboardInterrupt | SystemExit):
            # Code and line, and the kind of error; its text might quote a value.
            frames = "".join(traceback.format_tb(error.__traceback__))
            complain(
                f"stopped by a fault of its own ({type(error).__name__}); please report:\n{frames}"
            )
        abort_all(BUG, after_s=0)
    sys.stdout.flush()
    return 0
