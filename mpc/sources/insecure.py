"""A source for tests: every party knows all the seeds, so nothing is hidden from any of them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mpc.correlated.items import Item
from mpc.correlated.seeded import Maker, SeededSource
from mpc.errors import UsageError
from mpc.party import Buffer, Party
from mpc.prg import SEED_BYTES
from mpc.ring import Array
from mpc.transport.local import LocalTransport


class InsecureSource(SeededSource):
    """Items that all parties could work out. It serves parties that are threads of one process.

    Cost: 1 round at the start, and none for items.

    Raises:
        UsageError: the parties are not all in this process; such as under mpirun.
    """

    name: ClassVar[str] = "insecure"
    assumption: ClassVar[str] = "nobody looks: for tests within one process alone"

    def __init__(self, party: Party) -> None:
        """Tell all parties all seeds."""
        if not isinstance(party.transport, LocalTransport):
            raise UsageError(
                "the insecure source is for tests within one process: use a dealer or a file"
            )
        mine = b"".join(party.seed("a party's seed") for _ in range(party.size))
        seeds = np.frombuffer(mine, np.uint8).reshape(party.size, SEED_BYTES)
        if party.rank == 0:
            party.exchange({p: [seeds] for p in party.others}, {})
        else:
            (seeds,) = party.exchange({}, {0: [Buffer.like(seeds)]})[0]
        self._maker = Maker([row.tobytes() for row in seeds])
        is_last = party.rank == party.size - 1
        super().__init__(seeds[party.rank].tobytes(), is_last=is_last, memory=party.memory)

    def _corrections(self, number: int, item: Item) -> list[Array]:
        return self._maker.corrections(number, item)
