"""Timing of a case at one rank: a warm-up, repeats between barriers, and what one repeat sent."""

from __future__ import annotations

import resource
import statistics
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.cases import Case
from benchmarks.material import asked, made_ahead, making
from benchmarks.waiting import watched
from mpc.party import Party
from protocols.base import CHUNK, CHUNK_ON_CARDS
from protocols.nn import Session

HEAD = (
    f"{'case':12} {'protocol':8} {'batch':>5} {'seconds':>9} {'rounds':>7} "
    f"{'MB a party':>11} {'peak MiB':>9} {'waiting':>9}  device"
)


@dataclass(frozen=True)
class Result:
    """One row: seconds are a median over repeats, bytes what each party sends on average.

    Of the seconds, `waiting` is what a rank is in exchanges on average, the rest computing; with
    shares on a card its copies to and from the host, and what they wait for, count as waiting. The
    device is "cpu", or the card's name; the peak is the host's memory. What is offline is a
    dealer's work for one repeat, on one core, and what it sends.
    """

    case: str
    protocol: str
    parties: int
    device: str
    batch: int
    seconds: float
    best: float
    rounds: int
    bytes_per_party: int
    peak_mib: float
    waiting: float = 0.0
    offline_seconds: float = 0.0
    offline_bytes: int = 0

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return asdict(self)


def run(
    party: Party,
    case: Case,
    *,
    protocol: str,
    width: int,
    batch: int,
    repeats: int,
    around: Party | None = None,
    device: str = "cpu",
) -> Result:
    """Time one case. Every rank calls it; the result is the same at all of them.

    Args:
        party: runs the case.
        case: the workload.
        protocol: as of `Session`.
        width: bits of a comparison.
        batch: size of the case.
        repeats: how often it is timed, after a warm-up.
        around: exchanges barriers and results; another than `party` where its wires are slow on
            purpose, so that a barrier is not timed with the case.
        device: what is said of where the party keeps its shares.
    """
    around = around or party
    with ExitStack() as stack:
        source, offline = None, (0.0, 0)
        chunk = CHUNK if party.device == "cpu" else CHUNK_ON_CARDS
        if protocol == "additive":
            steps = 1 + repeats
            needed = asked(party, case, width=width, chunk=chunk, batch=batch, steps=steps)
            source = made_ahead(party, needed.items, stack)
            if party.rank == 0:
                offline = making(needed.step, party.size)
        session = Session(party, protocol=protocol, width=width, source=source, chunk=chunk)
        return _timed(party, case, session, batch, repeats, around, offline, device)


def _timed(
    party: Party,
    case: Case,
    session: Session,
    batch: int,
    repeats: int,
    around: Party,
    offline: tuple[float, int],
    device: str,
) -> Result:
    step = case.prepare(session, batch)
    step()
    times, waits = [], []
    for _ in range(repeats):
        _finish(party)
        _barrier(around)
        rounds, sent = party.meter.total.rounds, party.meter.total.sent_bytes
        start = time.perf_counter()
        with watched(party) as wires:
            step()
        rounds, sent = party.meter.total.rounds - rounds, party.meter.total.sent_bytes - sent
        _finish(party)
        done = time.perf_counter()
        _barrier(around)
        times.append(time.perf_counter() - start)
        waits.append(wires.seconds + time.perf_counter() - done)
    waiting = statistics.median(waits)
    mine = np.array([statistics.median(times), min(times), sent, _peak_mib(), *offline, waiting])
    all_ranks = np.stack([row for (row,) in around.broadcast(mine).values()])
    return Result(
        case=case.name,
        protocol=session.protocol.name,
        parties=party.size,
        device=device,
        batch=batch,
        seconds=round(float(all_ranks[:, 0].max()), 5),
        best=round(float(all_ranks[:, 1].max()), 5),
        rounds=rounds,
        bytes_per_party=round(float(all_ranks[:, 2].mean())),
        peak_mib=round(float(all_ranks[:, 3].max()), 1),
        waiting=round(float(all_ranks[:, 6].mean()), 5),
        offline_seconds=round(float(all_ranks[:, 4].max()), 5),
        offline_bytes=int(all_ranks[:, 5].max()),
    )


def format_row(row: Result) -> str:
    """One line of the table under `HEAD`."""
    return (
        f"{row.case:12} {row.protocol:8} {row.batch or '':>5} {row.seconds:9.4f} {row.rounds:7d} "
        f"{row.bytes_per_party / 1e6:11.2f} {row.peak_mib:9.0f} {row.waiting:9.4f}  {row.device}"
        + (
            f"   offline {row.offline_seconds:.3f} s, {row.offline_bytes / 1e6:.2f} MB"
            if row.offline_bytes
            else ""
        )
    )


def _barrier(party: Party) -> None:
    party.broadcast(np.zeros(1, np.uint8))


def _finish(party: Party) -> None:
    """Wait for what was started on a card: a copy to the host comes after all of it."""
    if party.device != "cpu":
        party.memory.get(party.xp.zeros(1, np.uint8))


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
