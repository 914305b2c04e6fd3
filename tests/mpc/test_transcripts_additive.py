"""As `test_transcripts`, of additive sharing between two parties, where rank 0 is the source."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mpc.errors import UsageError
from mpc.launch import mpirun, run_parties
from tests.mpc.additive_transcript import SEEDS, transcript

ROOT = Path(__file__).resolve().parents[2]

# SHA-256 of what each rank sends, with the receiver, step and length of every array.
RECORDED = [
    "9b9014b8ddccda415897c706a0bffd321d15f7ac9032690e4bcc54341c13f426",
    "10b3962e404272de7c4caa61a1e7c1f00e10089c63d5c1138e359256df172c2f",
]


def test_a_refactor_does_not_change_a_byte_that_is_sent():
    sent = [sha for sha, _ in run_parties(2, transcript, seeds=SEEDS)]
    assert sent == RECORDED


def test_both_parties_open_the_same_and_it_is_right():
    one, other = (opened for _, opened in run_parties(2, transcript, seeds=SEEDS))
    assert one == other
    product, grid, gram, third, chosen, negative, positive, rectified, nonzero = (
        np.array(v, np.uint64).view(np.int64) for v in one
    )
    x = np.arange(-60, 60)  # the first input; the second is three times as much
    square, rows = 3 * x * x << 16, x.reshape(12, 10)
    for found in (product, rectified):
        assert set(found - square) <= {0, 1}
    assert set(third - 3 * x) <= {0, 1}
    assert np.array_equal(grid, rows @ (3 * rows).T << 32)
    assert np.array_equal(gram, rows.T @ rows << 32)
    assert np.array_equal(negative, x < 0)
    assert np.array_equal(nonzero, x != 0)
    assert np.array_equal(positive, np.maximum(3 * x << 16, 0))
    assert np.array_equal(chosen, np.where(x < 0, 3 * x << 16, 0))


def test_with_fresh_seeds_no_two_runs_send_the_same_and_both_open_the_same():
    one, other = (run_parties(2, transcript) for _ in range(2))
    assert not {sha for sha, _ in one} & {sha for sha, _ in other}
    exact = [1, 2, 4, 5, 6, 8]  # truncation rounds by chance
    assert [one[0][1][i] for i in exact] == [other[0][1][i] for i in exact]


@pytest.mark.parametrize("rank", range(2))
def test_another_seed_of_either_party_changes_what_is_sent(rank):
    seeds = list(SEEDS)
    seeds[rank] = b"another seed" + bytes(20)
    assert [sha for sha, _ in run_parties(2, transcript, seeds=seeds)] != RECORDED


@pytest.mark.mpi
def test_real_ranks_send_the_very_bytes_that_threads_send():
    try:
        line, environment = mpirun(2, ["-m", "tests.mpc.additive_transcript"])
    except UsageError as error:
        pytest.skip(str(error))
    job = subprocess.run(
        line,
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert job.returncode == 0, job.stderr
    over_mpi = {line["rank"]: line for line in map(json.loads, job.stdout.splitlines())}
    for rank, (sent, opened) in enumerate(run_parties(2, transcript, seeds=SEEDS)):
        assert over_mpi[rank]["sent"] == sent
        assert over_mpi[rank]["opened"] == opened
