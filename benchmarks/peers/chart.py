"""The side-by-side table as a chart: seconds, logarithmic, one group of bars for each case."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.peers.beside import PEERS, Row

COLOURS = ("#1f5fa8", "#b0601f", "#d9a066", "#5a8f5a", "#a3c4a3")


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write the chart; the ending of the path says in which format."""
    names = ["radmpc", *(p.name for p in PEERS)]
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(names)
    for k, name in enumerate(names):
        at, heights = [], []
        for i, row in enumerate(rows):
            seconds = row.ours if name == "radmpc" else row.peers.get(name)
            if seconds is not None:
                at.append(i + (k - (len(names) - 1) / 2) * width)
                heights.append(seconds)
        axes.bar(at, heights, width, label=name, color=COLOURS[k % len(COLOURS)])
    axes.set_yscale("log")
    axes.set_ylabel("seconds, best of all sittings")
    axes.set_xticks(range(len(rows)), [row.case for row in rows])
    axes.legend(frameon=False, ncols=len(names))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
