"""Links between sites, emulated on one machine: a transport that delivers when a real link would.

A party's messages leave through one queue of the link's bandwidth, whichever peer they go to, and
travel for half a round trip. There are no headers, no losses and no slow start. Only what is sent
is slowed down: two messages may arrive at one party at once.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mpc.errors import UsageError
from mpc.party import Party
from mpc.transport.base import Incoming, Outgoing, Transport

# A sleep ends up to this late, so the last part of a wait spins, letting other ranks go first.
_SPIN_NS = 200_000


@dataclass(frozen=True)
class Network:
    """How far apart the parties are, and how much each can send.

    Args:
        rtt_s: round trip between any two parties, seconds.
        bandwidth: what each party can send to all its peers together, bits a second.
    """

    rtt_s: float
    bandwidth: float

    def __post_init__(self) -> None:
        """Refuse what no link can be."""
        if not (self.rtt_s >= 0 and self.bandwidth > 0):
            raise UsageError(f"{self}: a round trip is not negative, a bandwidth is above 0")

    def __str__(self) -> str:
        """For people, in ms and Mbit/s."""
        return f"{self.rtt_s * 1e3:g} ms round trip, {self.bandwidth / 1e6:g} Mbit/s a party"


class Egress:
    """The queue through which all messages of one party leave."""

    def __init__(self, network: Network) -> None:
        """Begin with an empty queue."""
        self._network, self._free_ns = network, 0

    def arrival_ns(self, nbytes: int, now_ns: int) -> int:
        """When a message arrives that is handed over now, in nanoseconds of the same clock."""
        sending_ns = math.ceil(nbytes * 8e9 / self._network.bandwidth)
        self._free_ns = max(now_ns, self._free_ns) + sending_ns
        return self._free_ns + math.ceil(self._network.rtt_s * 5e8)


def wait_until(moment_ns: int) -> None:
    """Return at a moment of `time.monotonic_ns`, or at once if it is past."""
    while (left_ns := moment_ns - time.monotonic_ns()) > 0:
        if left_ns > _SPIN_NS:
            time.sleep((left_ns - _SPIN_NS) / 1e9)
        else:
            os.sched_yield()


class ShapedTransport:
    """Any transport between processes of one machine, as slow as a network.

    With the arrays for each peer goes one word more: when they arrive, as `time.monotonic_ns` of
    the sender, which all processes of a machine read alike. Who receives waits for the latest
    arrival of the round; who receives nothing does not wait. A `Party` above meters neither the
    word nor the wait.

    Args:
        inner: carries the messages.
        network: what it is made to look like.
        now_ns: the clock, nanoseconds.
        wait: returns when that clock shows the moment it is given.
    """

    def __init__(
        self,
        inner: Transport,
        network: Network,
        *,
        now_ns: Callable[[], int] = time.monotonic_ns,
        wait: Callable[[int], None] = wait_until,
    ) -> None:
        """Stand before a transport; nothing is sent yet."""
        self._inner, self._egress = inner, Egress(network)
        self._now_ns, self._wait = now_ns, wait
        self.rank, self.size = inner.rank, inner.size

    def exchange(self, step: int, send: Outgoing, receive: Incoming, deadline_s: float) -> None:
        """See `Transport.exchange`. The deadline is for the transport inside, before the wait."""
        now_ns, outgoing = self._now_ns(), {}
        for peer, arrays in send.items():
            if arrays:
                arrival_ns = self._egress.arrival_ns(sum(a.nbytes for a in arrays), now_ns)
                outgoing[peer] = [*arrays, np.array([arrival_ns], np.uint64)]
        arrivals = {peer: np.zeros(1, np.uint64) for peer, buffers in receive.items() if buffers}
        incoming = {peer: [*receive[peer], arrival] for peer, arrival in arrivals.items()}
        self._inner.exchange(step, outgoing, incoming, deadline_s)
        if arrivals:
            self._wait(max(int(arrival[0]) for arrival in arrivals.values()))

    def close(self, reason: str | None = None) -> None:
        """Close the transport inside."""
        self._inner.close(reason)


def far_apart(party: Party, network: Network) -> Party:
    """The same party over the same wires, as slow as a network, with a meter of its own.

    All parties make theirs at the same point of the program. It is not closed: the party that it
    was made from closes the wires.
    """
    shaped = ShapedTransport(party.transport, network)
    return Party(shaped, deadline_s=party.deadline_s, name=party.name)
