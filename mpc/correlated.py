"""Randomness that parties hold in common without sending it: pairwise keys of three parties.

Key k_i is held by party i and the party before it, like the term x_i of a replicated sharing. A word drawn from k_i
is uniform to the one party that lacks the key. (Araki, Furukawa, Lindell, Nof, Ohara, CCS 2016, section 2.)
"""

from __future__ import annotations

import hashlib

import numpy as np

from mpc.errors import UsageError
from mpc.party import Buffer, Party
from mpc.prg import PairedStreams, Stream
from mpc.ring import Array, Shape


class ReplicatedStreams:
    """One party's streams from the keys k_0, k_1, k_2, and a stream that all three know.

    Set-up: each party draws k_i and a coin from its own seed, sends k_i to the party before and the coin to both.
    Cost: 1 round, 96 bytes a party.
    """

    def __init__(self, party: Party) -> None:
        """Agree on the keys. Every party calls this at the same step."""
        if party.size != 3:
            raise UsageError(f"replicated sharing needs 3 parties, not {party.size}: use mpirun -n 3")
        key = np.frombuffer(party.seed("replicated key"), np.uint8).copy()
        coin = np.frombuffer(party.seed("public coin"), np.uint8).copy()
        before, after = (party.rank - 1) % 3, (party.rank + 1) % 3
        empty = _key_buffer()
        heard = party.exchange({before: [key, coin], after: [coin]}, {after: empty * 2, before: empty})
        keys = {party.rank: key.tobytes(), after: heard[after][0].tobytes()}
        coins = {party.rank: coin, after: heard[after][1], before: heard[before][0]}
        public = hashlib.sha256(b"".join(coins[r].tobytes() for r in range(3))).digest()
        self._ranks = (party.rank, after)
        self._common = {r: Stream(k, "common") for r, k in keys.items()}
        self.zero = PairedStreams(*(Stream(keys[r], "zero") for r in self._ranks))
        self.private = party.stream("private words")
        self.public = Stream(public, "public coins")

    def holds(self, component: int) -> bool:
        """Whether this party knows key k_component."""
        return component % 3 in self._ranks

    def common(self, component: int, shape: Shape) -> Array:
        """The next words from k_component: the same at its two holders, uniform to the third party.

        Only the holders may call it, and both must, in the same order.
        """
        return self._common[component % 3].random(shape)


def _key_buffer() -> list[Buffer]:
    return [Buffer((32,), np.dtype(np.uint8))]
