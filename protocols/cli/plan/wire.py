"""Run by mpirun: how fast messages between ranks on this machine are, as a line of JSON."""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from mpc.launch import run_under_mpi
from mpc.party import Party

ROUNDS, LARGE_ROUNDS = 400, 16
LARGE_BYTES, BUFFERS = 1 << 22, 8  # more in all than a cache holds: a run sends what is new


def wire(party: Party) -> dict[str, float]:
    """Seconds of a round of 8 bytes, and bytes a second that each rank sends in large ones."""
    small = [np.zeros(8, np.uint8)]
    large = [np.full(LARGE_BYTES, number, np.uint8) for number in range(BUFFERS)]
    round_s = _seconds(party, small, ROUNDS)
    large_s = _seconds(party, large, LARGE_ROUNDS)
    return {"round_s": round_s, "bytes_per_s": LARGE_BYTES / max(large_s - round_s, 1e-9)}


def _seconds(party: Party, messages: list[np.ndarray], rounds: int) -> float:
    """Of a round: the median of several times."""
    times = []
    for _ in range(5):
        party.rotate(messages[0])
        start = time.perf_counter()
        for number in range(rounds):
            party.rotate(messages[number % len(messages)])
        times.append((time.perf_counter() - start) / rounds)
    return sorted(times)[2]


def main() -> None:
    """Measure, and say so at rank 0."""

    def program(party: Party) -> None:
        found = wire(party)
        if party.rank == 0:
            print(json.dumps(found), flush=True)

    run_under_mpi(program, parties=int(sys.argv[1]))


if __name__ == "__main__":
    main()
