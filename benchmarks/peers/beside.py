"""Ours and theirs alternately, in one sitting on one machine: `python -m benchmarks --peers`.

Each peer and each case runs in a process of its own, one after the other, never two at once; then
all of it again. Kept is the best of each, since what disturbs a run only ever makes it slower.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES
from benchmarks.ranks import ROOT, measured
from benchmarks.roofline import Machine, floor_seconds

HERE = Path(__file__).resolve().parent
LIMIT_S = 900.0
SHARED = ("matmul1024", "relu1M", "mul1M", "cnn", "cnntrain", "resnet")


@dataclass(frozen=True)
class Peer:
    """A toolkit as it is run here: its environment, our program for it, and its setting."""

    name: str
    environment: str
    program: str
    setting: str

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        return ROOT / ".peers" / self.environment / "bin" / "python"

    def times(self, case: str, batch: int, *, repeats: int | None = None) -> list[float]:
        """Seconds of each repeat of a case, none if it could not be run.

        Args:
            case: one of `SHARED`.
            batch: its size.
            repeats: another number than the peer's own; CrypTen's program alone takes one.
        """
        asked = [self.setting, case, str(batch), *([] if repeats is None else [str(repeats)])]
        line = [str(self.python), str(HERE / self.program), *asked]
        try:
            ran = subprocess.run(line, capture_output=True, timeout=LIMIT_S, check=False)
        except subprocess.TimeoutExpired:
            return []
        rows = [r for r in ran.stdout.decode(errors="replace").splitlines() if r.startswith("{")]
        return [float(s) for s in json.loads(rows[-1])["seconds"]] if rows else []


CRYPTEN = Peer("CrypTen 2PC", "crypten", "crypten_peer.py", "2")
PEERS = (
    CRYPTEN,
    Peer("CrypTen 3PC", "crypten", "crypten_peer.py", "3"),
    Peer("SPU aby3 3PC", "spu", "spu_peer.py", "aby3"),
    Peer("SPU semi2k 2PC", "spu", "spu_peer.py", "semi2k"),
)


@dataclass
class Row:
    """One case: our best seconds, and each peer's."""

    case: str
    batch: int
    ours: float
    rounds: int
    bytes_per_party: int
    peers: dict[str, float | None]

    @property
    def fastest(self) -> tuple[str, float] | None:
        """The fastest peer that ran."""
        ran = [(name, s) for name, s in self.peers.items() if s is not None]
        return min(ran, key=lambda pair: pair[1]) if ran else None


def ours(case: str) -> dict[str, Any]:
    """Our own row of a case, from ranks of its own."""
    row: dict[str, Any] = measured(case)[0]
    return row


def machine_rates() -> Machine:
    """What this machine can do, from ranks of its own."""
    return Machine(**measured("--roofline"))


def side_by_side(cases: Sequence[str], sittings: int) -> list[Row]:
    """Every case, ours and each peer's, alternately, as often as asked for."""
    missing = [p for p in PEERS if not p.python.exists()]
    if missing:
        names = ", ".join(sorted({p.environment for p in missing}))
        print(f"not set up: {names}; run ./scripts/peers", file=sys.stderr)
    present, rows = [p for p in PEERS if p.python.exists()], {}
    for sitting in range(sittings):
        for case in cases:
            mine = ours(case)
            row = rows.setdefault(
                case,
                Row(
                    case,
                    CASES[case].batch,
                    mine["best"],
                    int(mine["rounds"]),
                    int(mine["bytes_per_party"]),
                    {p.name: None for p in PEERS},
                ),
            )
            row.ours = min(row.ours, mine["best"])
            for peer in present:
                before = row.peers[peer.name]
                times = peer.times(case, row.batch) + ([] if before is None else [before])
                row.peers[peer.name] = min(times, default=None)
            print(format_row(row) + f"   (sitting {sitting + 1})", flush=True)
    return list(rows.values())


def format_row(row: Row) -> str:
    """One line: ours, each peer, and the ratio to the fastest."""
    theirs = "  ".join(
        f"{name} {'-' if s is None else f'{s:.3f}'}" for name, s in row.peers.items()
    )
    fastest = row.fastest
    ratio = f"{fastest[1] / row.ours:.1f}x faster than {fastest[0]}" if fastest else "no peer ran"
    return f"{row.case:12} ours {row.ours:.4f}  {theirs}  {ratio}"


def as_json(rows: Sequence[Row], machine: Machine) -> list[dict[str, object]]:
    """Plain values, with the ratio to the fastest peer and the floor on this machine."""
    made: list[dict[str, object]] = []
    for row in rows:
        products = CASES[row.case].products * max(row.batch, 1)
        floor = floor_seconds(machine, products=products, bytes_per_party=row.bytes_per_party)
        fastest = row.fastest
        ratio = None if fastest is None else row.ours / fastest[1]
        made.append(asdict(row) | {"ratio_to_fastest_peer": ratio, "floor": round(floor, 4)})
    return made
