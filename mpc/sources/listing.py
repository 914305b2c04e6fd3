"""A source for a plan: it lists what is asked for and draws what a party would draw itself."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mpc.correlated.items import Item
from mpc.correlated.seeded import Dealt, SeededSource
from mpc.errors import UsageError
from mpc.party import Party
from mpc.ring import Array
from mpc.transport.silent import SilentTransport


class ListingSource(SeededSource):
    """Masks of a seed of its own, and zeros for what a dealer would have sent.

    The work is that of a real party, so a dry run can be timed. It serves a party without peers
    alone, since zeros would protect nobody.

    Args:
        party: one whose transport is silent.

    Raises:
        UsageError: the party has peers.
    """

    name: ClassVar[str] = "listing"
    assumption: ClassVar[str] = "there are no parties and no data"

    def __init__(self, party: Party) -> None:
        """Start with an empty list."""
        if not isinstance(party.transport, SilentTransport):
            raise UsageError("items are listed where nothing is sent: see SilentTransport")
        is_last = party.rank == party.size - 1
        super().__init__(party.seed("a plan's masks"), is_last=is_last, memory=party.memory)
        self._meter = party.meter
        self.items: list[Item] = []
        self.labels: list[str] = []

    def take(self, item: Item) -> Dealt:
        """Note the item, and where in the model it is asked for."""
        self.items.append(item)
        self.labels.append(self._meter.label)
        return super().take(item)

    def _corrections(self, number: int, item: Item) -> list[Array]:
        """Zeros, in memory that is really there: a real party's is."""
        made = [np.empty(field.shape, field.dtype) for field in item.products()]
        for array in made:
            array.fill(0)
        return made
