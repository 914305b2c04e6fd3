"""Copies between a card and the host, through page-locked memory: at the bus's own rate.

CuPy's pool keeps what was page-locked, so a buffer is made once for messages of a size. Where the
system lets no more be locked, memory is the ordinary one.
"""

from __future__ import annotations

import threading
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
        self._lock = threading.Lock()  # parties may be threads of one process

    def room(self, shape: Shape, dtype: Any) -> Array:
        """An array of the host, not filled in."""
        if not prod(shape):
            return np.empty(shape, dtype)
        try:
            locked: Array = self._cupyx.empty_pinned(shape, dtype)
        except self._cupy.cuda.runtime.CUDARuntimeError:
            return np.empty(shape, dtype)
        return locked

    def get(self, a: Any) -> Array:
        """A copy on the host. It is whole: the card's stream is waited for, so it can be sent."""
        out = self.room(a.shape, a.dtype)
        if a.size:
            a.get(out=out)
        return out

    def take(self, a: Array) -> Array:
        """A copy on the current card, in the order of its stream; the host does not wait.

        The card may read the array later, so nobody may write to it any more. It is held until
        then: let go before, its memory might be given to the next message meanwhile.
        """
        out = self._cupy.empty(a.shape, a.dtype)
        if a.size:
            out.set(a)
            self._hold(self._cupy.cuda.get_current_stream().record(), a)
        made: Array = out
        return made

    def _hold(self, read: Any, a: Array) -> None:
        """Until an event; and let go of what was read meanwhile."""
        with self._lock:
            self._under_way.append((read, a))
            while self._under_way and self._under_way[0][0].done:
                self._under_way.popleft()
