"""Parties as threads of one process: the MPI transport's twin, for tests and for trying out."""

from __future__ import annotations

import queue
import time

import numpy as np

from kernels.machines import beside, on_host
from mpc.errors import OutOfStep, PeerLost
from mpc.ring import Array
from mpc.transport.base import Incoming, Outgoing

_Message = tuple[int, list[Array]]


class LocalHub:
    """Wires between `size` parties: one queue for each ordered pair."""

    def __init__(self, size: int) -> None:
        """Lay the wires."""
        self.size = size
        self.wires: dict[tuple[int, int], queue.SimpleQueue[_Message]] = {
            (a, b): queue.SimpleQueue() for a in range(size) for b in range(size) if a != b
        }
        self.ended: dict[int, str] = {}

    def transport(self, rank: int) -> LocalTransport:
        """The end that belongs to one party."""
        return LocalTransport(self, rank)


class LocalTransport:
    """One party's end of a `LocalHub`."""

    def __init__(self, hub: LocalHub, rank: int) -> None:
        """Take the end of one rank."""
        self._hub, self.rank, self.size = hub, rank, hub.size

    def exchange(self, step: int, send: Outgoing, receive: Incoming, deadline_s: float) -> None:
        """See `Transport.exchange`. Arrays are copied, as a wire would."""
        for peer, arrays in send.items():
            copies = [np.array(on_host(a), copy=True) for a in arrays]
            self._hub.wires[self.rank, peer].put((step, copies))
        until = time.monotonic() + deadline_s
        for peer, buffers in receive.items():
            if not buffers:
                continue
            theirs, arrays = self._take(peer, step, until, deadline_s)
            if theirs != step:
                raise OutOfStep(f"step {step}: party {peer} is at step {theirs}")
            sizes, expected = [a.nbytes for a in arrays], [b.nbytes for b in buffers]
            if sizes != expected:
                raise OutOfStep(f"step {step}: party {peer} sent {sizes} bytes, not {expected}")
            for buffer, array in zip(buffers, arrays, strict=True):
                flat = buffer.reshape(-1).view(np.uint8)
                flat[:] = beside(array.reshape(-1).view(np.uint8), flat)

    def _take(self, peer: int, step: int, until: float, deadline_s: float) -> _Message:
        wire = self._hub.wires[peer, self.rank]
        while True:
            left = until - time.monotonic()
            try:
                return wire.get(timeout=max(0.0, min(0.05, left)))
            except queue.Empty:
                if peer in self._hub.ended and wire.empty():
                    why = self._hub.ended[peer]
                    raise PeerLost(f"step {step}: party {peer} ended: {why}") from None
                if left <= 0:
                    raise PeerLost(
                        f"step {step}: no answer from party {peer} in {deadline_s:g} s"
                    ) from None

    def close(self, reason: str | None = None) -> None:
        """Let the others see that this party ended, and why."""
        self._hub.ended.setdefault(self.rank, reason or "finished")
