"""Copies between a card and the host, through page-locked memory: at the bus's own rate.

CuPy's pool keeps what was page-locked, so a buffer is made once for messages of a size. Where the
system lets no more be locked, memory is the ordinary one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from kernels.array import Array, Shape

_NOT_READY = 600  # CUDA's status of an event that is still to come


class Staging:
    """The copies of all cards of this process, whose parties may be threads.

    Args:
        cupy: the module.
        cupyx: its other one.
    """

    def __init__(self, cupy: Any, cupyx: Any) -> None:
        """Nothing is under way."""
        self.cupy, self._cupyx = cupy, cupyx
        self._under_way: deque[tuple[Any, Any]] = deque()
        self._lock = threading.Lock()
        self._streams = threading.local()

    def room(self, shape: Shape, dtype: Any) -> Array:
        """An array of the host, not filled in."""
        if not prod(shape):
            return np.empty(shape, dtype)
        try:
            locked: Array = self._cupyx.empty_pinned(shape, dtype)
        except self.cupy.cuda.runtime.CUDARuntimeError:
            return np.empty(shape, dtype)
        return locked

    def get(self, a: Any) -> Array:
        """A copy on the host. It is whole: the card's stream is waited for."""
        out = self.room(a.shape, a.dtype)
        if a.size:
            a.get(out=out)
        return out

    def settle(self, a: Any) -> None:
        """Wait for all that this thread's stream was told on the card of an array."""
        with a.device:
            self.cupy.cuda.get_current_stream().synchronize()

    def crossing(self, a: Any) -> StagedCrossing:
        """Begin the copies of a round, on the card of an array."""
        return StagedCrossing(self, a.device)

    def streams(self, device: Any) -> tuple[Any, Any]:
        """To the host and from it, of this thread on a card: a bus carries both ways at once.

        Threads have their own, or one party's copies would wait for what another's card computes.
        """
        known = vars(self._streams)
        if (key := str(device.id)) not in known:
            make = self.cupy.cuda.Stream
            known[key] = make(non_blocking=True), make(non_blocking=True)
        pair: tuple[Any, Any] = known[key]
        return pair

    def record(self, stream: Any) -> Any:
        """An event that comes when a stream has done all that it was told so far."""
        return stream.record(self.cupy.cuda.Event(disable_timing=True))

    def over(self, event: Any) -> bool:
        """Whether an event has come.

        Raises:
            CUDARuntimeError: it never will, since the card failed. CuPy's own `done` says no.
        """
        runtime = self.cupy.cuda.runtime
        status = int(runtime.eventQuery(event.ptr))
        if status not in (0, _NOT_READY):
            raise runtime.CUDARuntimeError(status)
        return not status

    def hold(self, event: Any, held: Any) -> None:
        """Until an event; and let go of what was held until events that have come meanwhile."""
        with self._lock:
            self._under_way.append((event, held))
            while self._under_way and self._under_way[0][0].done:
                self._under_way.popleft()


class StagedCrossing:
    """See `Crossing`. Copies are made in the order in which they are started, each way.

    What makes it safe to copy beside the current stream, which computes and in whose order CuPy's
    pool gives out the card's memory:

    - Both streams first wait for all that the current one was told. So what is fetched has been
      computed, and nobody still uses what lay before where something lands.
    - What is fetched stays as it is while the round lasts: it is held here, and the thread that
      might change it is the one that waits for the round. A copy is sent once its event has come.
    - The current stream waits for what landed before it does what it is told after the round, were
      it only to use the same memory for something else.
    - Page-locked memory is held here until the round is over, and what has landed until an event
      after it: let go before, it might be given to the next message while the card still reads it.
    """

    def __init__(self, staging: Staging, device: Any) -> None:
        """Wait for the current stream, on the card."""
        self._staging, self._device = staging, device
        self._held: list[Any] = []
        self._landed: list[Array] = []
        with device:
            self._current = staging.cupy.cuda.get_current_stream()
            self._out, self._back = staging.streams(device)
            so_far = staging.record(self._current)
            self._out.wait_event(so_far)
            self._back.wait_event(so_far)

    def fetch(self, piece: Any) -> tuple[Array, Callable[[], bool]]:
        """See `Crossing.fetch`."""
        room = self.room(piece.nbytes)
        self._held += [piece, room]  # before the copy starts, in case of an interruption
        with self._device:
            piece.get(stream=self._out, out=room, blocking=False)
            copied = self._staging.record(self._out)
        return room, lambda: self._staging.over(copied)

    def room(self, nbytes: int) -> Array:
        """See `Crossing.room`. Of a power of two, so that pieces of all sizes use few again."""
        return self._staging.room((1 << (nbytes - 1).bit_length(),), np.uint8)[:nbytes]

    def land(self, piece: Any, came: Array) -> None:
        """See `Crossing.land`."""
        self._held.append(piece)
        self._landed.append(came)
        with self._device:
            piece.set(came, stream=self._back)

    def join(self) -> None:
        """See `Crossing.join`."""
        if self._landed:
            with self._device:
                landed = self._staging.record(self._back)
                self._current.wait_event(landed)
            self._staging.hold(landed, self._landed)
