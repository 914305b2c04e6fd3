"""Copies between a card and the host, through page-locked memory: at the bus's own rate.

CuPy's pool keeps what was page-locked, so a buffer is made once for messages of a size.
"""

from __future__ import annotations

from collections import deque
from math import prod
from typing import Any

import numpy as np

from kernels.array import Array, Shape


class Staging:
    """The copies of all cards of this process.

    Args:
        cupy: the module.
        cupyx: its other one.
    """

    def __init__(self, cupy: Any, cupyx: Any) -> None:
        """Nothing is under way."""
        self._cupy, self._cupyx = cupy, cupyx
        self._under_way: deque[tuple[Any, Array]] = deque()

    def room(self, shape: Shape, dtype: Any) -> Array:
        """An array of the host, not filled in."""
        made: Array = (self._cupyx.empty_pinned if prod(shape) else np.empty)(shape, dtype)
        return made

    def get(self, a: Array) -> Array:
        """A copy on the host. It is whole: the card's stream is waited for, so it can be sent."""
        out = self.room(a.shape, a.dtype)
        if a.size:
            a.get(out=out)  # type: ignore[attr-defined]  # CuPy's
        return out

    def fill(self, a: Array) -> Array:
        """A copy on the current card, in the order of its stream; the host does not wait.

        Safe: the array is held until the card has read it. Let go before, its memory might be
        given to the next message meanwhile.
        """
        out: Array = self._cupy.empty(a.shape, a.dtype)
        if a.size:
            out.set(a)  # type: ignore[attr-defined]  # CuPy's
            self._under_way.append((self._cupy.cuda.get_current_stream().record(), a))
        while self._under_way and self._under_way[0][0].done:
            self._under_way.popleft()
        return out
