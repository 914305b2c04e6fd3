"""Under fixed seeds every byte that is sent is fixed, so that a change of bytes is noticed.

If a protocol was meant to change, print `transcript` anew and say so in the changelog: parties of
the two versions cannot work together.
"""

import numpy as np
import pytest

from mpc.launch import run_parties
from protocols.rep3 import Rep3Protocol
from tests.mpi.transcripts import FIXED_SEEDS, Recorder, transcript

# SHA-256 of what each rank sends, with the receiver, step and length of every array.
RECORDED = [
    "3c73be570fb92d74b5061f529905c8e3795cca9b626f38ae88196a709647b9ac",
    "268e353b071fef7b6c090a3ec726b739eecf6c78d8ff18fcd9dd7960eba51799",
    "019fd393911aeda069af924448dcbb30a03d130a08ef479b28c0608586be1850",
]


def test_a_refactor_does_not_change_a_byte_that_is_sent():
    sent = [sha for sha, _ in run_parties(3, transcript, seeds=FIXED_SEEDS)]
    assert sent == RECORDED


def test_all_parties_open_the_same_and_it_is_right():
    opened = [opened for _, opened in run_parties(3, transcript, seeds=FIXED_SEEDS)]
    assert opened[0] == opened[1] == opened[2]
    product, grid, third, chosen, negative, rectified = (
        np.array(v, np.uint64).view(np.int64) for v in opened[0]
    )
    x = np.arange(-60, 60)  # the first input; the second is three times as much
    one_step = 1
    assert np.all(product - (3 * x * x << 16) <= one_step) and np.all(product >= 3 * x * x << 16)
    assert np.all(third - 3 * x <= one_step) and np.all(third >= 3 * x)
    assert np.array_equal(grid, x.reshape(12, 10) @ (3 * x).reshape(12, 10).T << 32)
    assert np.array_equal(negative, x < 0)
    assert np.all(rectified - (3 * x * x << 16) <= one_step) and np.all(
        rectified >= 3 * x * x << 16
    )
    assert np.array_equal(chosen, np.where(x < 0, 3 * x << 16, 0))


def test_with_fresh_seeds_no_two_runs_send_the_same_and_both_open_the_same():
    one, other = (run_parties(3, transcript) for _ in range(2))
    assert not {sha for sha, _ in one} & {sha for sha, _ in other}
    assert one[0][1][1] == other[0][1][1]  # the exact product; truncation rounds by chance
    assert one[0][1][3:] == other[0][1][3:]


@pytest.mark.parametrize("rank", range(3))
def test_another_seed_of_any_one_party_changes_what_is_sent(rank):
    seeds = list(FIXED_SEEDS)
    seeds[rank] = b"another seed" + bytes(20)
    assert [sha for sha, _ in run_parties(3, transcript, seeds=seeds)] != RECORDED


def test_two_protocols_of_one_party_share_no_key_and_so_send_other_bytes():
    def program(party):
        wire, shas = party.transport, []
        for _ in range(2):
            party._step = 0
            party.transport = recorder = Recorder(wire)
            p = Rep3Protocol(party)
            p.input(np.zeros(9, np.uint64) if party.rank == 0 else None, (9,), 0)
            shas.append(recorder.sha.hexdigest())
        return shas

    first, second = zip(*run_parties(3, program, seeds=FIXED_SEEDS), strict=True)
    assert not set(first) & set(second)
