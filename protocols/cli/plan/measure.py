"""Dry runs in processes of their own: how long a rank computes, and what memory it needs."""

from __future__ import annotations

import multiprocessing
import re
import time
from collections.abc import Mapping, Sequence
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
from protocols.cli.plan.repeats import totals
from protocols.cli.plan.silence import Replay


@dataclass(frozen=True)
class Measured:
    """What ranks that ran dry side by side did.

    Args:
        seconds: of computing, by metered path, of each.
        peak_bytes: the most memory that one of them had.
    """

    seconds: Sequence[Mapping[str, float]]
    peak_bytes: int


def measure(
    job: Job, command: str, cohort: Cohort, heard: Sequence[Sequence[bytes]], threads: int
) -> Measured:
    """Dry runs of ranks that have a machine together, at the same time: they share its memory too.

    Args:
        job: the job.
        command: "train" or "infer".
        cohort: how many studies.
        heard: what was public in a dry run before, for each rank that is on this machine.
        threads: of each rank's kernels.

    Raises:
        UsageError: a rank was ended from outside.
    """
    count = len(heard)
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
        started = [
            pool.submit(_here, job, command, cohort, rank, said, threads)
            for rank, said in enumerate(heard)
        ]
        try:
            ran = [each.result() for each in started]
        except BrokenProcessPool:  # as the system ends one when memory is short
            raise UsageError(
                "a rank's dry run was ended from outside, most likely since this plan needs more "
                "memory than this machine has"
            ) from None
    seconds = [each for one in ran for each in one.seconds]
    return Measured(seconds, max(one.peak_bytes for one in ran))


def _here(
    job: Job, command: str, cohort: Cohort, rank: int, heard: Sequence[bytes], threads: int
) -> Measured:
    native.threads(threads)
    torch.set_num_threads(1)  # as mpirun's ranks have it
    since, worked = time.perf_counter(), time.process_time()
    dry = dry_run(job, command, cohort, Replay(rank, len(job.sites), heard))
    took, worked = time.perf_counter() - since, time.process_time() - worked
    # The time that a core was someone else's is not counted here, but where ranks are more than
    # cores (`predict`); of several threads one cannot tell which waited.
    part = min(1.0, worked / took) if threads == 1 else 1.0
    (costs,) = totals([dry.parts])
    return Measured([{path: part * c.seconds for path, c in costs.items()}], _peak())


def _peak() -> int:
    """Of this process since it began; `getrusage` would tell of the one that started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0
