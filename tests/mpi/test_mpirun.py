"""Real ranks, started by mpirun: the transport's promises, and how a job ends when a rank fails."""

import re
import subprocess
from pathlib import Path

import pytest

from benchmarks.ranks import LAUNCHER_FAILED
from mpc.errors import UsageError
from mpc.launch import mpirun
from tests.mpi.body import GOOD
from tests.mpi.transcripts import among_threads, said_by_ranks

ROOT = Path(__file__).resolve().parents[2]

try:
    mpirun(1, [])
except UsageError as error:
    pytestmark = [pytest.mark.mpi, pytest.mark.skip(reason=str(error))]
else:
    pytestmark = pytest.mark.mpi


def ranks(started, name, parties=3, timeout_s=60, body="tests.mpi.body"):
    """Start ranks of a body; a job that hangs is killed and fails the test."""
    line, environment = mpirun(started, ["-m", body, name, str(parties)])
    environment = environment | {"PYTHONPATH": str(ROOT)}
    for _ in range(2):  # again if mpirun's own server did not start
        ran = subprocess.run(
            line,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if ran.returncode != LAUNCHER_FAILED:
            break
    return ran


def said(job):
    """What each rank wrote on stderr, by rank; mpirun's own lines are left out."""
    found = re.findall(r"^rank (\d): (.*)$", job.stderr, re.MULTILINE)
    return {int(rank): line for rank, line in found}


def failed_cleanly(job):
    """The job ended with an error, in lines and without a traceback or a crash."""
    return (
        job.returncode != 0
        and "Traceback" not in job.stderr
        and "Signal: Segmentation fault" not in job.stderr
        and "malloc" not in job.stderr
    )


@pytest.mark.parametrize("size, name", [(1, "good"), (3, "good"), (4, "good"), (3, "pieces")])
def test_the_transport_keeps_its_promises_among_ranks(size, name):
    job = ranks(size, name, parties=size, timeout_s=120)
    assert job.returncode == 0, job.stderr
    for rank in range(size):
        for program in GOOD:
            assert f"rank {rank}: {program.__name__}" in job.stdout
    assert job.stderr == ""


def test_a_party_at_another_step_is_out_of_step_by_name():
    job = ranks(3, "other-step")
    assert failed_cleanly(job), job.stderr
    assert "OutOfStep: step 3: party 1 (east) is at another step" in job.stderr


@pytest.mark.parametrize(
    "name, nbytes", [("longer", 65), ("much-longer", 1 << 22), ("shorter", 63)]
)
def test_a_message_of_another_size_is_out_of_step_by_name(name, nbytes):
    job = ranks(3, name)
    assert failed_cleanly(job), job.stderr
    assert f"OutOfStep: step 3: party 1 (east) sent {nbytes} bytes, not 64" in job.stderr


@pytest.mark.parametrize("name, got, due", [("twice", 4 << 20, 0), ("half", 0, 4 << 20)])
def test_an_array_of_other_whole_pieces_than_expected_is_not_taken_for_it(name, got, due):
    job = ranks(3, name)
    assert failed_cleanly(job), job.stderr
    assert f"OutOfStep: step 3: party 1 (east) sent {got} bytes, not {due}" in job.stderr


def test_a_deadline_counts_from_the_last_piece_that_came():
    job = ranks(3, "slowly")
    assert job.returncode == 0 and job.stderr == "", job.stderr


@pytest.mark.parametrize("name", ["asleep", "deaf"])
def test_all_that_wait_past_the_deadline_name_the_party_they_lost(name):
    job = ranks(3, name)
    assert failed_cleanly(job), job.stderr
    heard = said(job)
    assert 0 in heard and 2 in heard, job.stderr
    for line in heard[0], heard[2]:
        assert line.startswith("PeerLost: ") and "party 1 (east)" in line


@pytest.mark.parametrize("name", ["killed", "killed-computing"])
def test_a_rank_that_is_killed_ends_the_others_with_its_name(name):
    job = ranks(3, name, timeout_s=60)
    assert failed_cleanly(job), job.stderr
    heard = said(job)
    assert 1 not in heard
    assert heard, job.stderr
    for line in heard.values():
        assert "PeerLost: " in line and "east" in line


def test_what_a_rank_sent_before_it_ended_arrives_whichever_is_seen_first():
    job = ranks(3, "ends")
    assert failed_cleanly(job), job.stderr
    heard = said(job)
    for rank in (0, 2):
        assert "PeerLost: step 4: party 1 (east) ended: ValueError" in heard[rank]


def test_a_rank_that_raises_ends_the_others_who_hear_its_name_and_no_value():
    job = ranks(3, "raises")
    assert failed_cleanly(job), job.stderr
    assert "12345" not in job.stderr + job.stdout
    heard = said(job)
    assert heard[1] == "ValueError"
    for rank in (0, 2):
        assert "PeerLost: step 4: party 1 (east) ended: ValueError" in heard[rank]


@pytest.mark.parametrize("started", [1, 4])
def test_another_number_of_ranks_than_the_job_needs_is_refused_in_one_clear_line(started):
    job = ranks(started, "asleep")
    assert failed_cleanly(job), job.stderr
    assert set(said(job).values()) == {
        f"UsageError: {started} ranks were started, but this job needs 3: mpirun -n 3"
    }


def test_rep3_sends_the_same_bytes_and_opens_the_same_over_mpi_as_among_threads():
    job = ranks(3, "transcript")
    assert job.returncode == 0, job.stderr
    assert said_by_ranks(job.stdout) == among_threads()


@pytest.mark.parametrize("parties", [2, 3])
def test_a_dealer_serves_the_parties_and_ends_when_they_do(parties):
    job = ranks(parties + 1, "dealer-good", parties)
    assert job.returncode == 0 and job.stderr == "", job.stderr
    lines = sorted(job.stdout.splitlines())
    served = [f"rank {rank}: Counter({{'triple': 30}})" for rank in range(parties)]
    assert lines == [*served, f"rank {parties}: None"]


@pytest.mark.parametrize("name", ["dealer-killed", "dealer-raises", "dealer-asleep"])
def test_a_dealer_that_fails_ends_the_parties_who_name_it(name):
    job = ranks(3, name, 2)
    assert failed_cleanly(job) and "12345" not in job.stderr + job.stdout, job.stderr
    heard = said(job)
    parties = [heard[rank] for rank in (0, 1) if rank in heard]
    assert parties and all(line.startswith("PeerLost: ") for line in parties), job.stderr
    assert all("the dealer" in line for line in parties), job.stderr
    if name == "dealer-raises":
        assert heard[2] == "ValueError" and "(the dealer) ended: ValueError" in heard[1]


@pytest.mark.parametrize("name, who", [("party-killed", "east"), ("party-raises", "north")])
def test_a_party_that_fails_ends_the_others_and_the_dealer_who_name_it(name, who):
    job = ranks(4, f"dealer-{name}", 3)
    assert failed_cleanly(job) and "12345" not in job.stderr + job.stdout, job.stderr
    heard = {rank: line for rank, line in said(job).items() if not line.startswith("ValueError")}
    assert heard and all("PeerLost: " in line and who in line for line in heard.values())


def test_a_dealer_with_other_settings_is_stopped_before_it_sends_a_seed():
    job = ranks(3, "dealer-differs", 2)
    assert failed_cleanly(job), job.stderr
    assert "OutOfStep: the dealer and north, east differ in settings" in job.stderr
    assert "differ in settings" in said(job)[0] and "the dealer" in said(job)[0]


@pytest.mark.parametrize("started", [2, 4])
def test_another_number_of_ranks_than_parties_and_a_dealer_is_refused(started):
    job = ranks(started, "dealer-good", 2)
    assert failed_cleanly(job), job.stderr
    assert set(said(job).values()) == {
        f"UsageError: {started} ranks were started, but this job needs 2 and a dealer: mpirun -n 3"
    }
