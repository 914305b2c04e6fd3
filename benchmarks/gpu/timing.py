"""Seconds of work on a card, by its own events."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

WARM, REPEATS = 2, 9
LIMIT_S = 3.0  # of a case, the first run aside


def seconds(cupy: Any, work: Callable[[], object], *, limit_s: float = LIMIT_S) -> float:
    """The median of several runs, after some that are not counted.

    The first run, which compiles, never counts. Of the others there are fewer where they would take
    longer than `limit_s` together, and at least one.
    """
    found: list[float] = []
    spent = 0.0
    for turn in range(1 + WARM + REPEATS):
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        work()
        end.record()
        end.synchronize()
        if turn == 0:
            continue
        took = cupy.cuda.get_elapsed_time(start, end) / 1e3
        spent += took
        if turn > WARM or spent > limit_s:
            found.append(took)
        if spent > limit_s:
            break
    return median(found)
