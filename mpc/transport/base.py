"""What a transport offers: one lock-step exchange of arrays whose shapes both sides know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from mpc.ring import Array

Outgoing = Mapping[int, Sequence[Array]]
Incoming = Mapping[int, Sequence[Array]]


class Transport(Protocol):
    """A party's end of the wires to its peers."""

    rank: int
    size: int

    def exchange(self, step: int, send: Outgoing, receive: Incoming, deadline_s: float) -> None:
        """Send arrays to peers and fill others with what they send, as one round.

        Arrays may lie on a card. What is sent from there was made by the thread's current stream,
        and what comes there is there for that stream.

        Args:
            step: number of the round, the same at every party.
            send: arrays for each peer, C-contiguous; they may be changed once the call returns.
            receive: arrays for each peer, filled in place; each has the size of what the peer
                sends.
            deadline_s: longest wait while nothing moves.

        Raises:
            PeerLost: a peer ended, or did not answer in time; names it.
            OutOfStep: a peer is at another step or sent another size; names it.
        """

    def close(self, reason: str | None = None) -> None:
        """Give up the wires; with a reason, tell the others why if that is possible."""


def readable(raw: bytes) -> str:
    """Text from a peer, fit for a log: what is not UTF-8 or not printable is replaced or left out.

    Line breaks, terminal escapes and marks that turn the direction of writing are not printable.
    """
    text = raw.rstrip(b"\0").decode(errors="replace")
    return "".join(c for c in text if c.isprintable()).strip()
