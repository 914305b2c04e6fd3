"""A transport for a plan: what is public is heard as in a real run, what is secret is zeros.

Digests, names, shapes and counts steer a run, so they have to be right; shares do not, and a plan
has none. The former travel as bytes or signed integers, the latter as ring elements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mpc.ring import Array
from mpc.transport.base import Incoming, Outgoing, Transport
from mpc.transport.silent import SilentTransport
from protocols.cli.plan.lockstep import Lockstep

_PUBLIC = (np.dtype(np.uint8), np.dtype(np.int64))


class Rehearsal(SilentTransport):
    """A rank among ranks that rehearse the same run, over wires that carry what is public.

    Args:
        wires: to the others.
    """

    def __init__(self, wires: Transport) -> None:
        """Nothing was heard yet."""
        super().__init__(wires.rank, wires.size)
        self._wires = wires
        self.heard: list[bytes] = []

    def exchange(self, step: int, send: Outgoing, receive: Incoming, deadline_s: float) -> None:
        """See `Transport.exchange`."""
        super().exchange(step, send, receive, deadline_s)
        incoming = _public(receive)
        self._wires.exchange(step, _public(send), incoming, deadline_s)
        self.heard += [array.tobytes() for arrays in incoming.values() for array in arrays]

    def close(self, reason: str | None = None) -> None:
        """See `Transport.close`."""
        self._wires.close(reason)


class Replay(SilentTransport):
    """A rank alone, who hears again what one like it heard before.

    Args:
        rank: whose part is played.
        size: how many there were.
        heard: what was public.
        lockstep: with others, who are waited for.
    """

    def __init__(
        self, rank: int, size: int, heard: Sequence[bytes], lockstep: Lockstep | None = None
    ) -> None:
        """Start at the beginning."""
        super().__init__(rank, size)
        self._heard, self._lockstep = iter(heard), lockstep

    def exchange(self, step: int, send: Outgoing, receive: Incoming, deadline_s: float) -> None:
        """See `Transport.exchange`."""
        super().exchange(step, send, receive, deadline_s)
        if self._lockstep is not None:
            self._lockstep.reach(step, receive)
        for arrays in _public(receive).values():
            for array in arrays:
                array.reshape(-1).view(np.uint8)[:] = np.frombuffer(next(self._heard), np.uint8)


def _public(messages: Mapping[int, Sequence[Array]]) -> dict[int, list[Array]]:
    kept = {peer: [a for a in arrays if a.dtype in _PUBLIC] for peer, arrays in messages.items()}
    return {peer: arrays for peer, arrays in kept.items() if arrays}
