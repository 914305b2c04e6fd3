"""Two parties: ours, CrypTen's, and CrypTen's own program on our words, in one sitting.

Ours is additive sharing with its correlated randomness made ahead, CrypTen's has it from its first
party. The third is CrypTen's program, unchanged, run by `python -m protocols.interop.crypten`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.cases import CASES
from benchmarks.peers.beside import CRYPTEN, HERE, LIMIT_S, SHARED
from benchmarks.ranks import ROOT, measured
from mpc.launch import mpirun

HEAD = (
    f"{'case':12} {'ours':>8} {'CrypTen':>8} {'ratio':>6}   {'MB':>8} {'CrypTen':>8} {'ratio':>6}"
    f"   {'offline':>8} {'MB':>7}   {'CrypTen on ours':>15} {'ratio':>6}"
)


def report(cases: Sequence[str], sittings: int) -> list[dict[str, Any]]:
    """Each case, the three alternately, as often as asked for; kept is the best of each.

    Raises:
        CalledProcessError: our own ranks failed, and have said why.
    """
    rows: dict[str, dict[str, Any]] = {}
    print(HEAD, flush=True)
    for _ in range(sittings):
        for case in cases or SHARED:
            row = rows.setdefault(case, {"case": case, "batch": CASES[case].batch})
            mine = measured(case, "--protocol", "additive", parties=2)[0]
            _better(row, "ours", mine["best"])
            row |= {name: mine[name] for name in ("rounds", "bytes_per_party")}
            row |= {name: mine[name] for name in ("offline_seconds", "offline_bytes")}
            for name, found in (("crypten", _crypten(case)), ("accelerated", _accelerated(case))):
                if found is not None:
                    _better(row, name, min(found["seconds"]))
                    row[f"{name}_bytes"] = found["bytes"]
            print(_line(row), flush=True)
    return list(rows.values())


def _better(row: dict[str, Any], name: str, seconds: float) -> None:
    row[name] = min(row.get(name, seconds), seconds)


def _crypten(case: str) -> dict[str, Any] | None:
    if not CRYPTEN.python.exists():
        print("crypten is not set up: run ./scripts/peers crypten", file=sys.stderr)
        return None
    line = [str(CRYPTEN.python), str(HERE / CRYPTEN.program), "2", case, str(CASES[case].batch)]
    return _said(line, dict(os.environ))


def _accelerated(case: str) -> dict[str, Any] | None:
    if not CRYPTEN.python.exists():
        return None
    program = [str(HERE / CRYPTEN.program), "2", case, str(CASES[case].batch)]
    line, environment = mpirun(2, ["-m", "protocols.interop.crypten", *program])
    line = [str(CRYPTEN.python) if part == sys.executable else part for part in line]
    return _said(line, environment | {"PYTHONPATH": str(ROOT)})


def _said(line: list[str], environment: dict[str, str]) -> dict[str, Any] | None:
    """The last line of JSON that a program prints; None if it fails, after its own last words."""
    try:
        ran = subprocess.run(
            line, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    rows = [row for row in ran.stdout.splitlines() if row.startswith("{")]
    if not rows:
        print("\n".join(ran.stderr.splitlines()[-3:]), file=sys.stderr)
        return None
    found: dict[str, Any] = json.loads(rows[-1])
    return found


def _line(row: dict[str, Any]) -> str:
    def seconds(name: str) -> str:
        return f"{row[name]:8.3f}" if name in row else f"{'-':>8}"

    def ratio(one: str, other: str) -> str:
        found = one in row and row.get(other)
        return f"{row[one] / row[other]:6.3f}" if found else f"{'-':>6}"

    theirs = f"{row['crypten_bytes'] / 1e6:8.1f}" if "crypten_bytes" in row else f"{'-':>8}"
    return (
        f"{row['case']:12} {seconds('ours')} {seconds('crypten')} {ratio('ours', 'crypten')}   "
        f"{row['bytes_per_party'] / 1e6:8.1f} {theirs} {ratio('bytes_per_party', 'crypten_bytes')}"
        f"   {row['offline_seconds']:8.3f} {row['offline_bytes'] / 1e6:7.1f}   "
        f"{seconds('accelerated'):>15} {ratio('accelerated', 'crypten')}"
    )
