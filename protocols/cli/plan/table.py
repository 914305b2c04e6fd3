"""A plan as text."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from protocols.cli.plan.choice import Choice, assumed, duration, size
from protocols.cli.plan.estimate import Estimate

WIDTH = 110


def plan_table(title: str, estimates: Sequence[Estimate], choice: Choice) -> str:
    """A table of each protocol by layer, one of all in all, and the recommendation."""
    text = io.StringIO()
    out = Console(file=text, width=WIDTH, highlight=False, markup=False)
    for estimate in estimates:
        out.print(_layers(estimate))
        if estimate.dealt is not None:
            out.print(_dealt(estimate))
    out.print(_whole(title, estimates))
    out.print(f"recommended: {choice.name}: {choice.reason}", soft_wrap=True)
    for estimate in estimates:
        out.print(f"assumed by {assumed(estimate)}", soft_wrap=True)
    return text.getvalue()


def _layers(estimate: Estimate) -> Table:
    table = Table(title=f"{estimate.name}, by layer")
    table.add_column("layer")
    for head in ("rounds", "sent by a party: mean", "most", "dealt", "time"):
        table.add_column(head, justify="right")
    for name, layer in estimate.layers.items():
        table.add_row(
            name,
            f"{layer.rounds:,}",
            size(sum(layer.sent) / len(layer.sent)),
            size(max(layer.sent)),
            size(layer.dealt) if layer.dealt else "",
            duration(layer.seconds.total),
        )
    return table


def _dealt(estimate: Estimate) -> Table:
    table = Table(title=f"{estimate.name}: correlated randomness")
    table.add_column("kind")
    for head in ("items", "sent to the last party"):
        table.add_column(head, justify="right")
    for kind, (count, nbytes) in (estimate.dealt.kinds if estimate.dealt else {}).items():
        table.add_row(kind, f"{count:,}", size(nbytes))
    return table


def _whole(title: str, estimates: Sequence[Estimate]) -> Table:
    table = Table(title=title)
    table.add_column("in all")
    for estimate in estimates:
        table.add_column(estimate.name, justify="right")
    rows: dict[str, list[str]] = {
        "rounds": [f"{e.rounds:,}" for e in estimates],
        "sent by a party, mean": [size(sum(e.sent) / len(e.sent)) for e in estimates],
        "sent by a party, most": [size(max(e.sent)) for e in estimates],
        "dealt, to the last party": [size(e.dealt.nbytes) if e.dealt else "" for e in estimates],
        "dealer computes": [duration(e.dealt.seconds) if e.dealt else "" for e in estimates],
        "memory of a rank": [size(e.peak_bytes) for e in estimates],
        "compute": [duration(e.seconds.compute) for e in estimates],
        "wait for rounds": [duration(e.seconds.rounds) for e in estimates],
        "send": [duration(e.seconds.wire) for e in estimates],
        "wait for items": [duration(e.seconds.items) for e in estimates],
        "time": [duration(e.seconds.total) for e in estimates],
    }
    for head, cells in rows.items():
        table.add_row(head, *cells)
    return table
