"""No source at all: what would be needed is listed, for a plan."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mpc.correlated.items import Field, Item, Mask
from mpc.correlated.seeded import Dealt, Source
from mpc.errors import UsageError
from mpc.party import Party
from mpc.ring import Array
from mpc.transport.silent import SilentTransport


class CountedSource(Source):
    """Zeros, and the list of items that were asked for. It serves a party without peers alone.

    Args:
        party: one whose transport is silent.

    Raises:
        UsageError: the party has peers, whom zeros would not protect from each other.
    """

    name: ClassVar[str] = "counted"
    assumption: ClassVar[str] = "there are no parties and no data"

    def __init__(self, party: Party) -> None:
        """Start with none."""
        if not isinstance(party.transport, SilentTransport):
            raise UsageError("items are counted where nothing is sent: see SilentTransport")
        self.items: list[Item] = []

    def take(self, item: Item) -> Dealt:
        """Note the item."""
        self.items.append(item)
        masks, products = ([_zeros(f) for f in of] for of in (item.masks(), item.products()))
        return Dealt(len(self.items) - 1, masks, products)

    def mask(self, mask: Mask, field: Field) -> Array:
        """See `Source.mask`."""
        return _zeros(field)


def _zeros(field: Field) -> Array:
    return np.zeros(field.shape, field.dtype)
