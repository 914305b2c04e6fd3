"""What this machine can do, measured at once with the cases, and the floor of each case from it.

A floor counts only what no implementation of the protocol can do without: ring products, masks, and
bytes on the wire, spread over the cores that the three ranks share.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.ranks import say
from kernels import native, prg
from kernels.gemm import matmul
from mpc.party import Party
from protocols.cli.manifest import versions

SIZE, STREAM_BYTES, MESSAGE_BYTES, SMALL_ROUNDS = 1024, 1 << 26, 1 << 23, 200


@dataclass(frozen=True)
class Machine:
    """Rates of one core, and of messages between ranks on this machine."""

    cpu: str
    cores: int
    instruction_set: str
    products_g: float  # 10^9 multiply-accumulates a second, one core, 64-bit ring
    stream_gb: float  # ChaCha20, GB a second, one core
    wire_gb: float  # GB a second that each rank sends while all three send 8 MiB in a ring
    round_us: float  # a round of 8 bytes in a ring

    def as_dict(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def measure(party: Party) -> Machine:
    """Measure; every rank calls it. Local rates are taken by rank 0 alone, the others wait."""
    words = np.zeros(4)
    if party.rank == 0:
        threads = native.threads()
        native.threads(1)
        x = np.random.default_rng().integers(0, 2**64, (SIZE, SIZE), np.uint64)
        out, stream = np.zeros_like(x), np.zeros(STREAM_BYTES // 8, np.uint64)
        words[0] = SIZE**3 / _best(lambda: matmul.add_to(out, x, x)) / 1e9
        words[1] = STREAM_BYTES / _best(lambda: prg.fill(stream, bytes(32), bytes(12))) / 1e9
        native.threads(threads)
    party.broadcast(np.zeros(1, np.uint8))
    large, small = np.zeros(MESSAGE_BYTES, np.uint8), np.zeros(8, np.uint8)
    words[2] = MESSAGE_BYTES / _best(lambda: party.rotate(large)) / 1e9

    def many() -> None:
        for _ in range(SMALL_ROUNDS):
            party.rotate(small)

    words[3] = _best(many) / SMALL_ROUNDS * 1e6
    rates = party.broadcast(words)[0][0]
    return Machine(
        cpu=versions()["cpu"],
        cores=len(os.sched_getaffinity(0)),
        instruction_set=native.instruction_set(),
        products_g=round(float(rates[0]), 2),
        stream_gb=round(float(rates[1]), 2),
        wire_gb=round(float(rates[2]), 2),
        round_us=round(float(rates[3]), 1),
    )


def report(party: Party) -> dict[str, object]:
    """Print and return what was measured."""
    machine = measure(party).as_dict()
    say(party, json.dumps(machine))
    return machine


def floor_seconds(machine: Machine, *, products: float, bytes_per_party: float) -> float:
    """The least a case can take: products and masks over all cores, then the wire.

    Args:
        machine: the measured rates.
        products: multiply-accumulates of the plain computation; a replicated product takes two at
            each of three parties.
        bytes_per_party: sent by each party on average. Every byte sent was masked once, by two
            streams or by one that two parties draw: about two bytes of stream for each.
    """
    work = 6 * products / (machine.products_g * 1e9)
    masks = 3 * 2 * bytes_per_party / (machine.stream_gb * 1e9)
    return (work + masks) / min(machine.cores, 3) + bytes_per_party / (machine.wire_gb * 1e9)


def _best(f: Callable[[], object], repeats: int = 5) -> float:
    f()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return min(times)
