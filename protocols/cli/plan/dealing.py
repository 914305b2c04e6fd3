"""What correlated randomness costs to make: how much of each kind, and how long it takes here."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mpc.correlated.items import Item
from mpc.correlated.seeded import Maker
from mpc.prg import fresh_seed
from protocols.cli.plan.opening import opening_seconds
from protocols.cli.plan.repeats import Part, times_used, unnamed

LATER = 1 << 62  # a number of an item that may name any mask


@dataclass(frozen=True)
class Dealing:
    """What is dealt.

    Args:
        kinds: of each kind how many items, and the bytes of their corrections.
        places: bytes of corrections, by metered path.
        seconds: that a dealer computes on this machine.
        opening_s: seconds of a byte, to read it at the last party, from memory, and to open it.
    """

    kinds: Mapping[str, tuple[int, int]]
    places: Mapping[str, int]
    seconds: float
    opening_s: float

    @property
    def items(self) -> int:
        """How many in all."""
        return sum(count for count, _ in self.kinds.values())

    @property
    def nbytes(self) -> int:
        """Of corrections, which go to the last party; all else is drawn from seeds."""
        return sum(size for _, size in self.kinds.values())


def dealing(
    parts: Sequence[Part],
    items: Sequence[Item],
    labels: Sequence[str],
    parties: int,
    *,
    stored: bool,
) -> Dealing:
    """Count what a dry run asked for, and make one item of each description.

    Of `stored` items it is found out how long they take to open.
    """
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    places: Counter[str] = Counter()
    alike: Counter[Item] = Counter()
    one: dict[Item, Item] = {}
    for number, times in times_used(parts).items():
        item = items[number]
        counts[item.kind] += times
        sizes[item.kind] += times * item.correction_bytes
        places[labels[number]] += times * item.correction_bytes
        alike[unnamed(item)] += times
        one[unnamed(item)] = item
    maker = Maker([fresh_seed() for _ in range(parties)])
    seconds = sum(times * _seconds(maker, one[item]) for item, times in alike.items())
    kinds = {kind: (count, sizes[kind]) for kind, count in sorted(counts.items())}
    return Dealing(kinds, places, seconds, opening_seconds() if stored else 0.0)


def _seconds(maker: Maker, item: Item) -> float:
    """Of one making; the second, since the first one touches memory for the first time."""
    maker.corrections(LATER, item)
    start = time.perf_counter()
    maker.corrections(LATER, item)
    return time.perf_counter() - start
