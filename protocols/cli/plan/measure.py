"""Dry runs in processes of their own: how long ranks compute, and what memory each needs."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Mapping, MutableSequence, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import torch

from kernels import native
from mpc.errors import UsageError
from protocols.cli.job import Job
from protocols.cli.plan.cohort import Cohort
from protocols.cli.plan.dry import dry_run
from protocols.cli.plan.lockstep import START, Lockstep
from protocols.cli.plan.repeats import totals
from protocols.cli.plan.silence import Replay


@dataclass(frozen=True)
class Measured:
    """What ranks that ran dry side by side did.

    Args:
        seconds: of computing and of waiting for another rank's computing, by path, of each.
        peak_bytes: the most memory that one of them had.
    """

    seconds: Sequence[Mapping[str, float]]
    peak_bytes: int


def measure(
    job: Job, command: str, cohort: Cohort, heard: Sequence[Sequence[bytes]], threads: int
) -> Measured:
    """Dry runs of ranks that have a machine together, in lockstep: they share its memory too.

    Args:
        job: the job.
        command: "train" or "infer".
        cohort: how many studies.
        heard: what was public in a dry run before, for each rank that is on this machine.
        threads: of each rank's kernels.

    Raises:
        UsageError: a rank was ended from outside.
    """
    count, context = len(heard), multiprocessing.get_context("spawn")
    steps = context.Array("q", [START] * count, lock=False)  # in memory of all of them
    with ProcessPoolExecutor(
        count, mp_context=context, initializer=_share, initargs=(steps,)
    ) as pool:
        started = [
            pool.submit(_here, job, command, cohort, rank, said, threads)
            for rank, said in enumerate(heard)
        ]
        # A pool looks whom to watch as it is given work, before it starts a process for that: so
        # only now it learns of the last one, whose end the others would wait for without end.
        pool.submit(int)
        try:
            ran = [each.result() for each in started]
        except BrokenProcessPool:  # as the system ends one when memory is short
            raise UsageError(
                "a rank's dry run was ended from outside, most likely since this plan needs more "
                "memory than this machine has"
            ) from None
    seconds = [each for one in ran for each in one.seconds]
    return Measured(seconds, max(one.peak_bytes for one in ran))


_STEPS: list[MutableSequence[int]] = []  # of a process here; only those it makes can be handed it


def _share(steps: MutableSequence[int]) -> None:
    _STEPS[:] = [steps]


def _here(
    job: Job, command: str, cohort: Cohort, rank: int, heard: Sequence[bytes], threads: int
) -> Measured:
    (steps,) = _STEPS
    lockstep = Lockstep(rank, steps)
    try:
        native.threads(threads)
        torch.set_num_threads(1)  # as mpirun's ranks have it
        lockstep.reach(0, range(len(steps)))  # nobody waits while another one is started
        replay = Replay(rank, len(job.sites), heard, lockstep if len(steps) > 1 else None)
        dry = dry_run(job, command, cohort, replay)
    finally:
        lockstep.leave()
    (costs,) = totals([dry.parts])
    return Measured([{path: c.seconds for path, c in costs.items()}], _peak())


def _peak() -> int:
    """Of this process since it began; `getrusage` would tell of the one that started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0
