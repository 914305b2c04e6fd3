"""Seconds of work on a card, by its own events."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

WARM, REPEATS = 3, 9


def seconds(cupy: Any, work: Callable[[], object]) -> float:
    """The median of several runs, after a few that are not counted."""
    for _ in range(WARM):
        work()
    found = []
    for _ in range(REPEATS):
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        work()
        end.record()
        end.synchronize()
        found.append(cupy.cuda.get_elapsed_time(start, end) / 1e3)
    return median(found)
