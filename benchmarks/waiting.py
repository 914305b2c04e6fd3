"""How long a rank is in exchanges, which is waiting for its peers and for what they send."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from mpc.party import Party
from mpc.transport.base import Incoming, Outgoing, Transport


class Watched:
    """Any transport, and the seconds that were spent in its exchanges.

    Where shares are on a card, copies between it and the host are in them, and what is left of the
    card's own work, which those wait for.
    """

    def __init__(self, inner: Transport) -> None:
        """Stand before a transport."""
        self._inner, self.seconds = inner, 0.0
        self.rank, self.size = inner.rank, inner.size

    def exchange(self, step: int, send: Outgoing, receive: Incoming, deadline_s: float) -> None:
        """See `Transport.exchange`."""
        start = time.perf_counter()
        try:
            self._inner.exchange(step, send, receive, deadline_s)
        finally:
            self.seconds += time.perf_counter() - start

    def close(self, reason: str | None = None) -> None:
        """See `Transport.close`."""
        self._inner.close(reason)


@contextmanager
def watched(party: Party) -> Iterator[Watched]:
    """Watch a party's wires for a while."""
    before = party.transport
    found = Watched(before)
    party.transport = found
    try:
        yield found
    finally:
        party.transport = before
