"""Rank 0 makes the items: what CrypTen does unless told otherwise (TrustedFirstParty)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mpc.correlated.items import Item
from mpc.correlated.seeded import Dealt, Maker, SeededSource
from mpc.party import Buffer, Party
from mpc.prg import SEED_BYTES
from mpc.ring import Array


class FirstPartySource(SeededSource):
    """Items from rank 0, who knows every mask: it protects from all others, not from rank 0.

    Cost: 1 round at the start; 1 round and the bytes of its corrections for each item.
    """

    name: ClassVar[str] = "first party"
    assumption: ClassVar[str] = "rank 0 looks at nothing: it could see everything"

    def __init__(self, party: Party) -> None:
        """Rank 0 draws the seeds and sends each party its own."""
        self._party, self._last = party, party.size - 1
        drawn = [party.seed("a party's seed") for _ in range(party.size)]
        mine = drawn[0]
        if party.rank == 0:
            send = {p: [np.frombuffer(drawn[p], np.uint8)] for p in party.others}
            party.exchange(send, {})
        else:
            buffer = Buffer((SEED_BYTES,), np.dtype(np.uint8))
            mine = party.exchange({}, {0: [buffer]})[0][0].tobytes()
        self._maker = Maker(drawn) if party.rank == 0 else None
        super().__init__(mine, is_last=party.rank == self._last)

    def take(self, item: Item) -> Dealt:
        """See `Source.take`. Cost: 1 round."""
        if self._is_last:  # whose own part ends in `_corrections`
            return super().take(item)
        dealt = super().take(item)
        made = self._maker.corrections(dealt.number, item) if self._maker is not None else []
        self._party.exchange({self._last: made} if made else {}, {})
        return dealt

    def _corrections(self, number: int, item: Item) -> list[Array]:
        expect = [Buffer(field.shape, field.dtype) for field in item.products()]
        return self._party.exchange({}, {0: expect})[0]
