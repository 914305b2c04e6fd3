"""A transport without peers: what is sent goes nowhere, and what is expected is zeros.

For counting what a program would send. Whoever runs on it computes on nothing.
"""

from __future__ import annotations

from mpc.transport.base import Incoming, Outgoing


class SilentTransport:
    """Rank `rank` of `size`, of whom there are no others."""

    def __init__(self, rank: int, size: int) -> None:
        """Nothing is opened."""
        self.rank, self.size = rank, size

    def exchange(self, step: int, send: Outgoing, receive: Incoming, deadline_s: float) -> None:
        """See `Transport.exchange`: fills with zeros."""
        for arrays in receive.values():
            for array in arrays:
                array.fill(0)

    def close(self, reason: str | None = None) -> None:
        """See `Transport.close`."""
