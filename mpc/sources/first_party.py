"""Rank 0 makes the items and takes the corrections itself: what CrypTen does by default."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mpc.correlated.items import Item
from mpc.correlated.seeded import Maker, SeededSource
from mpc.party import Buffer, Party
from mpc.prg import SEED_BYTES
from mpc.ring import Array


class FirstPartySource(SeededSource):
    """As CrypTen's `TrustedFirstParty`: rank 0 knows every mask, all others know their own.

    What all others draw from the seeds that rank 0 gave them, rank 0 draws, too; its own share is
    what makes the sums right. Cost: 1 round at the start, and none from then on.
    """

    name: ClassVar[str] = "first party"
    assumption: ClassVar[str] = "rank 0 looks at nothing: it could see everything"

    def __init__(self, party: Party) -> None:
        """Rank 0 draws the seeds and sends each party its own."""
        drawn = [party.seed("a party's seed") for _ in range(party.size)]
        if party.rank == 0:
            party.exchange({p: [np.frombuffer(drawn[p], np.uint8)] for p in party.others}, {})
            seed = drawn[0]
        else:
            buffer = Buffer((SEED_BYTES,), np.dtype(np.uint8))
            seed = party.exchange({}, {0: [buffer]})[0][0].tobytes()
        # Whose seed is last is who takes the corrections.
        self._maker = Maker([*drawn[1:], drawn[0]]) if party.rank == 0 else None
        super().__init__(seed, is_last=party.rank == 0, memory=party.memory)

    def _corrections(self, number: int, item: Item) -> list[Array]:
        assert self._maker is not None  # asked of rank 0 alone
        return self._maker.corrections(number, item)
