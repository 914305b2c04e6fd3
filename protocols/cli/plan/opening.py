"""How long a party's items from a file take to open: measured on a small file of them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from mpc.correlated.items import Item, Masked
from mpc.correlated.seeded import SeededSource
from mpc.party import Party
from mpc.sources import ListingSource, StoredSource
from mpc.sources.sealed import KEY_BYTES, deal
from mpc.transport.silent import SilentTransport

ITEMS, ELEMENTS = 16, 1 << 18  # a few MB each, as a layer's are


def opening_seconds() -> float:
    """Of a byte of corrections, at the party that has them: to read and to open what is sealed.

    The masks that come with an item are drawn in a dry run too, and are not counted here.
    """
    party = Party(SilentTransport(1, 2), deadline_s=float("inf"))
    items: list[Item] = [Masked(ELEMENTS, fraction=16)] * ITEMS
    with TemporaryDirectory() as name:
        paths = [Path(name) / str(rank) for rank in range(party.size)]
        keys = [os.urandom(KEY_BYTES) for _ in paths]
        size = deal(paths, keys, items)
        stored = StoredSource(paths[-1], keys[-1], party)
        try:
            opened = _seconds(stored, items)
        finally:
            stored.close()
    return max(opened - _seconds(ListingSource(party), items), 0.0) / size


def _seconds(source: SeededSource, items: list[Item]) -> float:
    start = time.perf_counter()
    for item in items:
        source.take(item)
    return time.perf_counter() - start
