"""Cost against size: `python -m benchmarks --sizes`. Nothing should grow faster than its input.

Each row has ranks of its own, so that its peak memory is its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.ranks import measured

# Images of the network, elements of the rectification.
LADDERS: Mapping[str, Sequence[int]] = {
    "cnn": (1, 8, 32, 128),
    "relu": (10**3, 10**4, 10**5, 10**6, 10**7),
}
HEAD = (
    f"{'case':12} {'inputs':>9} {'seconds':>9} {'rounds':>7} {'bytes a party':>14} "
    f"{'peak MiB':>9} {'us an input':>12} {'to the row before':>18}"
)


@dataclass(frozen=True)
class Row:
    """One size of a case.

    Args:
        case: its name.
        inputs: images or elements.
        seconds: median over the repeats.
        rounds: of one repeat.
        bytes_per_party: sent in one repeat, on average over the parties.
        peak_mib: of the rank that took most, MiB.
        growth: seconds an input over those of the size before; above 1, time grew faster than
            the input. None for the first size.
    """

    case: str
    inputs: int
    seconds: float
    rounds: int
    bytes_per_party: int
    peak_mib: float
    growth: float | None

    @property
    def seconds_each(self) -> float:
        """Seconds for each image or element."""
        return self.seconds / self.inputs

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return asdict(self) | {"seconds_each": self.seconds_each}


def climb(case: str, sizes: Sequence[int], passed: Sequence[str] = ()) -> Iterator[Row]:
    """A case at each size in turn; `passed` goes to each run of `python -m benchmarks`."""
    before: Row | None = None
    for size in sizes:
        (result,) = measured(f"{case}@{size}", *passed)
        before = follow(before, result)
        yield before


def follow(before: Row | None, result: Mapping[str, Any]) -> Row:
    """The row of a measured result, compared with the row of the size before."""
    seconds, inputs = float(result["seconds"]), int(result["batch"])
    return Row(
        case=str(result["case"]),
        inputs=inputs,
        seconds=seconds,
        rounds=int(result["rounds"]),
        bytes_per_party=int(result["bytes_per_party"]),
        peak_mib=float(result["peak_mib"]),
        growth=None if before is None else seconds / inputs / before.seconds_each,
    )


def report(passed: Sequence[str] = ()) -> list[dict[str, object]]:
    """Print and return a row for every size in `LADDERS`."""
    print(HEAD, flush=True)
    rows = []
    for case, sizes in LADDERS.items():
        for row in climb(case, sizes, passed):
            print(format_row(row), flush=True)
            rows.append(row.as_dict())
    return rows


def format_row(row: Row) -> str:
    """One line of the table under `HEAD`."""
    growth = "" if row.growth is None else f"{row.growth:.2f}"
    return (
        f"{row.case:12} {row.inputs:9d} {row.seconds:9.4f} {row.rounds:7d} "
        f"{row.bytes_per_party:14d} {row.peak_mib:9.0f} {row.seconds_each * 1e6:12.3f} "
        f"{growth:>18}"
    )
