"""The memory of a launch's arrays: those that share some are one span, wherever it is copied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class Spans:
    """From where to where the arrays among these arguments lie.

    Args:
        arguments: of a launch; what is no array has no span.
    """

    def __init__(self, arguments: Sequence[Any]) -> None:
        """Join the arrays that overlap."""
        arrays = [a for a in arguments if isinstance(a, np.ndarray) and a.size]
        self.bounds: list[tuple[int, int]] = []
        for low, high in sorted(np.lib.array_utils.byte_bounds(a) for a in arrays):
            if self.bounds and low < self.bounds[-1][1]:
                low, before = self.bounds.pop()
                high = max(high, before)
            self.bounds.append((low, high))

    def moved(self, argument: Any, there: Mapping[int, int]) -> int:
        """What stands for an argument where each span begins at `there[low]`; 0 for no elements."""
        if not isinstance(argument, np.ndarray):
            return int(argument)
        at = argument.ctypes.data
        for low, high in self.bounds:
            if low <= at < high:
                return there[low] + at - low
        return 0
