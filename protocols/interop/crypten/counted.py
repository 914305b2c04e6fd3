"""CrypTen's count of rounds, bytes and seconds, with those of our protocols."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

from mpc.transport.base import Incoming, Outgoing
from mpc.transport.mpi import MpiTransport
from protocols.interop.crypten.overhead import setting

Method = TypeVar("Method", bound=Callable[..., Any])


def timed(method: Method) -> Method:
    """Among one party nothing is sent, and what was given comes back. Otherwise, time it."""

    @functools.wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.world_size == 1 and args:
            return [args[0]] if method.__name__ in ("gather", "all_gather") else args[0]
        since = time.perf_counter()
        try:
            return method(self, *args, **kwargs)
        finally:
            self._log_communication_time(time.perf_counter() - since)

    return cast("Method", wrapper)


class Counted(MpiTransport):
    """Wires that tell CrypTen's counters of every round: ours are more than CrypTen asks for."""

    def __init__(self, world: Any, count: Callable[[int], None]) -> None:
        super().__init__(world)
        self._count = count

    def exchange(self, step: int, send: Outgoing, receive: Incoming, deadline_s: float) -> None:
        """See `Transport.exchange`."""
        super().exchange(step, send, receive, deadline_s)
        if setting("communicator", "verbose"):
            both = (*send.values(), *receive.values())
            self._count(sum(array.nbytes for arrays in both for array in arrays))
