"""Real ranks, of whom some keep their shares on cards or on what stands for them."""

import re

import pytest

from tests.kernels.emulator import ON_A_CARD
from tests.mpi import test_mpirun
from tests.mpi.cards import ANY, STOOD_FOR
from tests.mpi.test_mpirun import failed_cleanly, said
from tests.mpi.transcripts import among_threads, said_by_ranks

pytestmark = test_mpirun.pytestmark
stood_for = pytest.mark.skipif(ON_A_CARD, reason="a card is as late as it likes")


def ranks(name, memories):
    return test_mpirun.ranks(
        len(memories), name, parties=memories, timeout_s=120, body="tests.mpi.cards"
    )


def went_well(job, memories, programs):
    assert job.returncode == 0 and job.stderr == "", job.stderr
    for rank in range(len(memories)):
        for program in programs:
            assert f"rank {rank}: {program.__name__}\n" in job.stdout


@pytest.mark.parametrize("memories", ["hc", "ccc"])
def test_messages_cross_between_cards_and_hosts_in_pieces(memories):
    went_well(ranks("any", memories), memories, ANY)


@stood_for
@pytest.mark.parametrize("memories", ["dcd", "hd"])
def test_an_mpi_that_takes_cards_is_given_their_memory_as_it_lies(memories):
    went_well(ranks("taken", memories), memories, (*ANY, *STOOD_FOR[:1]))


@stood_for
@pytest.mark.parametrize("memories", ["cc", "cch"])
def test_copies_go_on_beside_sending_and_receiving(memories):
    went_well(ranks("stood-for", memories), memories, STOOD_FOR)


@stood_for
@pytest.mark.parametrize("name", ["killed", "raises", "never"])
def test_a_party_that_is_lost_half_way_through_a_message_is_named_in_one_line(name):
    job = ranks(name, "ccc")
    assert failed_cleanly(job) and "12345" not in job.stderr + job.stdout, job.stderr
    heard = said(job)
    others = [heard[rank] for rank in (0, 2) if rank in heard]
    assert others, job.stderr
    for line in others:
        assert line.startswith("PeerLost: ") and "east" in line
        if name == "raises":
            assert line == "PeerLost: step 3: party 1 (east) ended: ValueError"
    if name == "never":  # it is told by those that gave up on it
        assert re.match(r"PeerLost: step 3: .*party [02] \((north|south)\) ended", heard[1])


def test_rep3_sends_the_same_bytes_from_cards_as_among_threads():
    job = ranks("transcript", "hch")
    assert job.returncode == 0, job.stderr
    assert said_by_ranks(job.stdout) == among_threads()
