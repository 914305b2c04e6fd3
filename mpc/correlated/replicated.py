"""Randomness that parties hold in common without sending it: pairwise keys of three parties.

Key k_i is held by party i and the party before it, like the term x_i of a replicated sharing. A
word drawn from k_i is uniform to the one party that lacks the key. (Araki, Furukawa, Lindell, Nof,
Ohara, CCS 2016, section 2.)
"""

from __future__ import annotations

from kernels.machines import HOST, Memory
from mpc.prg import PairedStreams, Stream
from mpc.ring import Array, Shape


class ReplicatedStreams:
    """One party's streams from the keys k_0, k_1, k_2, and a stream that all three know.

    Args:
        rank: the party's.
        keys: k_rank and k_(rank + 1).
        public: a seed that all three made together.
        private: a stream that only this party knows.
        memory: where words are drawn; public coins are on the host, as all that is public.
    """

    def __init__(
        self,
        rank: int,
        keys: dict[int, bytes],
        public: bytes,
        private: Stream,
        memory: Memory = HOST,
    ) -> None:
        """Start the streams; each key is used in one object only."""
        self._ranks = (rank, (rank + 1) % 3)
        self._common = {r: Stream(keys[r], "common", memory) for r in self._ranks}
        self.zero = PairedStreams(*(Stream(keys[r], "zero") for r in self._ranks))
        self.private = private
        self.public = Stream(public, "public coins")

    def holds(self, component: int) -> bool:
        """Whether this party knows key k_component."""
        return component % 3 in self._ranks

    def common(self, component: int, shape: Shape) -> Array:
        """The next words from k_component: the same at its two holders, uniform to the third party.

        Only the holders may call it, and both must, in the same order.
        """
        return self._common[component % 3].random(shape)
