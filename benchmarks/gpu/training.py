"""A step of training on a card and on the CPU beside it, by `python -m benchmarks`.

Three parties over MPI either way: with cards they share what this machine has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.ranks import measured

CASE, REPEATS = "cnntrain@128", 3
ASKED = 10.0  # times as fast as the CPU
DEVICES = ("cuda", "cpu")


def training(case: str = CASE, *, limit_s: float) -> Iterator[dict[str, Any]]:
    """The row of each device as it comes, and then how many times as fast the card was.

    Args:
        case: its name, and its batch after an @.
        limit_s: longest that either may take.

    Raises:
        CalledProcessError: a run failed, or took longer; its ranks have said why.
        UsageError: there is no mpirun here.
    """
    rows: dict[str, Any] = {"asked": ASKED}
    for device in DEVICES:
        asked = (case, "--device", device, "--repeats", str(REPEATS))
        (rows[device],) = measured(*asked, limit_s=limit_s)
        yield dict(rows)
    rows["ratio"] = rows["cpu"]["seconds"] / rows["cuda"]["seconds"]
    yield rows


def format_row(row: Mapping[str, Any]) -> str:
    """What a step took, and of what that is made."""
    title = f"{row['case']}, batch {row['batch']}, {row['device']}"
    return (
        f"{title:64}{row['seconds']:12.4f} s a step, of which "
        f"{row['seconds'] - row['waiting']:.4f} computing and {row['waiting']:.4f} waiting"
    )
