"""Dry runs side by side: who waits, and that nobody waits for ever."""

import multiprocessing
import os
import signal
import threading
import time

import pytest

from mpc.errors import UsageError
from protocols.cli.jobfile import read_job
from protocols.cli.plan.cohort import Cohort
from protocols.cli.plan.dry import dry_runs
from protocols.cli.plan.lockstep import START, Lockstep
from protocols.cli.plan.measure import measure
from tests.cli.jobs import write_job

STEPS = 200


def test_nobody_is_a_round_ahead_of_whom_it_hears():
    """Rank 0 hears rank 1, and rank 1 nobody: only the first may never be ahead."""
    steps = [START, START]
    ahead = []

    def first():
        here = Lockstep(0, steps)
        for step in range(STEPS):
            here.reach(step, [1])
            ahead.append(steps[1] < step)

    thread = threading.Thread(target=first)
    thread.start()
    other = Lockstep(1, steps)
    for step in range(STEPS):
        time.sleep(1e-5)
        other.reach(step, [])
    thread.join(timeout=10)
    assert not thread.is_alive() and len(ahead) == STEPS and not any(ahead)


def test_who_waits_long_goes_on_when_the_other_leaves():
    steps = [START, START]
    thread = threading.Thread(target=Lockstep(0, steps).reach, args=(5, [1]))
    thread.start()
    thread.join(timeout=0.05)
    assert thread.is_alive()  # it naps by now
    Lockstep(1, steps).leave()
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_a_rank_that_fails_is_not_waited_for(tmp_path):
    """Its error is told; the two that heard all of it would otherwise wait in its next round."""
    job = read_job(write_job(tmp_path / "job.toml", training={"epochs": 1, "batch": 4}))
    cohort = Cohort(train=(4, 4, 4), test=(1, 1, 1))
    heard = [one.heard for one in dry_runs(job, "train", cohort)]
    heard[1] = [b"neither a name"]
    with pytest.raises(ValueError, match="broadcast"):
        measure(job, "train", cohort, heard, threads=1)


@pytest.mark.parametrize("which", [0, -1])
def test_a_rank_that_is_killed_is_not_waited_for(tmp_path, which):
    """As the system ends one when memory is short: also the one that was started last."""
    job = read_job(write_job(tmp_path / "job.toml", training={"epochs": 1, "batch": 4}))
    cohort = Cohort(train=(4, 4, 4), test=(1, 1, 1))
    heard = [one.heard for one in dry_runs(job, "train", cohort)]
    waited_in_vain = []

    def kill():
        while len(ranks := multiprocessing.active_children()) < len(heard):
            time.sleep(0.01)
        ranks.sort(key=lambda rank: rank.pid)
        os.kill(ranks[which].pid, signal.SIGKILL)
        ended.wait(30)
        waited_in_vain.extend(rank for rank in ranks if rank.is_alive())
        for rank in waited_in_vain:
            rank.kill()

    ended = threading.Event()
    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(UsageError, match="was ended from outside"):
        measure(job, "train", cohort, heard, threads=1)
    ended.set()
    killer.join()
    assert not waited_in_vain
