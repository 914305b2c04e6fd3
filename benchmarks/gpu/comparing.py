"""What one party of `rep3` computes for comparisons, with its messages left on the card.

Nothing is copied to the host and nothing waits for a peer: what a peer would send is words that
were made before. So the signs are nobody's, and only the time means something.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kernels import prg
from kernels.machines import Memory
from mpc.party import Buffer, Party
from mpc.ring import WORD, Array
from mpc.shares import Rep3
from mpc.transport.silent import SilentTransport
from protocols.base import CHUNK_ON_CARDS
from protocols.rep3 import Rep3Protocol

ALIGNED = 64  # words: where arrays of their own would begin
NONCE = bytes(12)


class Unconnected(Party):
    """The first of three parties; its peers say uniform words, and hear nothing.

    Roles turn, so over three parts of the work it computes what each of the parties does.
    """

    def __init__(self, memory: Memory, words: int) -> None:
        """Make what peers will say, so many words again and again."""
        super().__init__(SilentTransport(0, 3), memory=memory)
        self._said, self._at = self._uniform(words), 0

    def exchange(
        self,
        send: Mapping[int, Sequence[Array]],
        expect: Mapping[int, Sequence[Buffer | Array]],
    ) -> dict[int, list[Array]]:
        """One round, metered as it would be.

        What comes is a view: who writes to it changes what is said later, which is as uniform.
        """
        heard = {p: [self._next(b) for b in buffers] for p, buffers in expect.items()}
        self.meter.round(*({p: sum(a.nbytes for a in of[p]) for p in of} for of in (send, heard)))
        return heard

    def _next(self, told: Buffer | Array) -> Array:
        if told.dtype != WORD:  # keys and coins: on the host, as they always are
            return np.frombuffer(self.seed("said"), np.uint8)[: math.prod(told.shape)].copy()
        size = math.prod(told.shape)
        if size > self._said.size:
            self._said = self._uniform(size)
        if self._at + size > self._said.size:
            self._at = 0
        heard = self._said[self._at : self._at + size].reshape(told.shape)
        self._at += -(-size // ALIGNED) * ALIGNED
        return heard

    def _uniform(self, words: int) -> Array:
        return prg.random(words, self.seed("said"), NONCE, self.memory)


def sign_bits(
    memory: Memory, values: int, words: int, chunk: int = CHUNK_ON_CARDS
) -> Callable[[], Any]:
    """Signs of so many shared values, `chunk` at once, at one party.

    Memory on a card: 16 bytes a value for the shares and 1/4 byte for the result, the `words` that
    peers say, and 33 bytes for each of the elements that are compared at once:
    3.2 GB for 10^8 values, 2^25 at a time.
    """
    party = Unconnected(memory, words)
    protocol = Rep3Protocol(party)
    protocol.chunk = chunk
    own, after = (prg.random(values, party.seed("share"), NONCE, memory) for _ in range(2))
    return lambda: protocol.sign_bit(Rep3(own, after))
