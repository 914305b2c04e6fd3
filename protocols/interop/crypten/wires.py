"""Messages between two of CrypTen's parties over MPI, looked at before they are received."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any

import numpy as np

from mpc.errors import NotOffered, OutOfStep, PeerLost
from mpc.ring import Array

if TYPE_CHECKING:
    from mpi4py import MPI

_TAG = 0
_LARGEST = (1 << 31) - 1  # bytes: MPI counts in 31 bits
_SPIN_S, _NAP_S = 2e-3, 1e-4
# MPI reads what is under way, whether or not anybody waits for it: it is kept until it is gone.
_UNDER_WAY: set[Sent] = set()
# What MPI may still write after a receive that failed: it stays in memory to the end.
_ABANDONED: list[Any] = []


class Sent:
    """A message under way; its memory is kept until it is gone."""

    def __init__(self, request: MPI.Request, array: Array, deadline_s: float) -> None:
        """Keep what MPI still reads, even if the caller does not keep this."""
        self._request, self._array, self._deadline_s = request, array, deadline_s
        _UNDER_WAY.add(self)

    def is_completed(self) -> bool:
        """Whether the memory may be changed."""
        if not self._request.Test():
            return False
        _UNDER_WAY.discard(self)
        return True

    def wait(self) -> None:
        """Until the memory may be changed.

        Raises:
            PeerLost: not before the deadline.
        """
        since = time.monotonic()
        while not self.is_completed():
            _pause(since, self._deadline_s, "a message that nobody takes")


class Coming:
    """A message that is waited for, and where it goes."""

    def __init__(self, wires: Wires, array: Array, source: int | None) -> None:
        """Nothing is received yet."""
        self._wires, self.array, self.source, self.done = wires, array, source, False

    def is_completed(self) -> bool:
        """Whether the message is there."""
        if not self.done:
            self._wires.look(self)
        return self.done

    def wait(self) -> None:
        """Until the message is there.

        Raises:
            PeerLost: not before the deadline.
            OutOfStep: it has another size, or an earlier one had; nothing is written.
        """
        since = time.monotonic()
        while not self.is_completed():
            _pause(since, self._wires.deadline_s, f"a message from {self.who}")

    @property
    def who(self) -> str:
        """For errors."""
        return "any party" if self.source is None else f"party {self.source}"


class Wires:
    """One party's end, on a communicator of its own."""

    def __init__(self, communicator: MPI.Intracomm, mpi: Any, deadline_s: float) -> None:
        """Duplicate the communicator, so that no other traffic meets this."""
        self._mpi, self.deadline_s = mpi, deadline_s
        self._comm = communicator.Dup()
        self._comm.Set_errhandler(mpi.ERRORS_RETURN)
        self._status = mpi.Status()
        # Messages of one sender go to those who wait in the order in which they began to.
        self._expected: dict[int | None, deque[Coming]] = defaultdict(deque)
        self._failed: str | None = None  # once who waits for what is no longer sure, nobody gets it

    def send(self, array: Array, peer: int) -> Sent:
        """Begin to send; the array is not to be changed before it is gone."""
        self._require_whole()
        _require_size(array)
        for earlier in [*_UNDER_WAY]:
            earlier.is_completed()  # lets go of those that nobody waits for
        request = self._comm.Isend([array, self._mpi.BYTE], peer, _TAG)
        return Sent(request, array, self.deadline_s)

    def receive(self, array: Array, source: int | None) -> Coming:
        """Begin to wait for a message of the size of an array, from one party or any."""
        self._require_whole()
        _require_size(array)
        coming = Coming(self, array, source)
        self._expected[source].append(coming)
        return coming

    def look(self, wanted: Coming) -> None:
        """Receive what has come from whom one waits for, in order.

        Raises:
            OutOfStep: a message had another size than was waited for, now or before.
        """
        self._require_whole()
        queue = self._expected[wanted.source]
        source = self._mpi.ANY_SOURCE if wanted.source is None else wanted.source
        while queue and not wanted.done:
            message = self._comm.Improbe(source, _TAG, self._status)
            if message is None:
                return
            coming, nbytes = queue.popleft(), self._status.Get_count(self._mpi.BYTE)
            if nbytes != coming.array.nbytes:
                sender = self._status.Get_source()
                self._failed = f"party {sender} sent {nbytes} bytes, not {coming.array.nbytes}"
                self._require_whole()
            try:
                message.Recv([coming.array, self._mpi.BYTE])
            except BaseException:
                _ABANDONED.append((message, coming))
                self._failed = f"a message from {coming.who} was not received"
                raise
            coming.done = True

    def _require_whole(self) -> None:
        if self._failed is not None:
            raise OutOfStep(self._failed)

    def close(self) -> None:
        """Free the communicator. Every party calls it."""
        self._comm.Free()


def _pause(since: float, deadline_s: float, what: str) -> None:
    waited = time.monotonic() - since
    if waited > deadline_s:
        raise PeerLost(f"waited {deadline_s:g} s for {what}")
    time.sleep(0 if waited < _SPIN_S else _NAP_S)


def _require_size(array: Array) -> None:
    if array.nbytes > _LARGEST:
        raise NotOffered(f"a message of {array.nbytes} bytes: send parts below {_LARGEST}")


def as_bytes(array: Array) -> Array:
    """An array's memory as bytes; a copy where it has gaps."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
