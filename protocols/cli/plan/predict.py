"""How long a job will take, from what it computes, how often it waits and how much it sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mpc.meter import Count
from protocols.cli.plan.dealing import Dealing
from protocols.cli.plan.rates import Network


@dataclass(frozen=True)
class Seconds:
    """Of a run, or a part of it, by what they are spent on."""

    compute: float
    rounds: float
    wire: float
    items: float = 0.0  # made by a dealer, or opened from a file, while the parties wait

    @property
    def total(self) -> float:
        """All of it."""
        return self.compute + self.rounds + self.wire + self.items


def predicted(
    network: Network,
    compute: Sequence[Mapping[str, float]],
    ranks: Sequence[Mapping[str, Count]],
    dealt: Dealing | None,
    source: str | None,
) -> dict[str, Seconds]:
    """By metered path.

    The ranks wait for the slowest of them in each round. On one machine they share the cores, a
    dealer's rank too: all of them compute as long as the mean of them does, times ranks over cores,
    if that is longer. The last rank alone has items to ask for or to open, and the others wait.

    Args:
        network: what is between the parties.
        compute: seconds of a rank alone, by path; of those that were measured.
        ranks: rounds and bytes, by path, at each rank.
        dealt: for additive sharing.
        source: where that has its randomness from.
    """
    beside = len(ranks) + (source == "dealer")
    crowd = 0.0 if network.apart else beside / network.cores
    found = {}
    for path in sorted({path for costs in (*compute, *ranks) for path in costs}):
        counts = [costs.get(path, Count()) for costs in ranks]
        alone = [of.get(path, 0.0) for of in compute]
        found[path] = Seconds(
            max(*alone, crowd * sum(alone) / len(alone)),
            counts[0].rounds * network.round_s,
            max(c.sent_bytes for c in counts) / network.bytes_per_s,
            _waiting(network, dealt, path, source) if dealt is not None else 0.0,
        )
    return found


def _waiting(network: Network, dealt: Dealing, path: str, source: str | None) -> float:
    """For a dealer, or for items to be opened, by the bytes that belong to a path.

    A dealer makes the items while the parties wait, a request and its answer are a round, and the
    corrections go over its wire.
    """
    size = dealt.places.get(path, 0)
    if source != "dealer":
        return size * dealt.opening_s
    share = size / max(dealt.nbytes, 1)
    whole = dealt.seconds + dealt.items * network.round_s
    return share * whole + size / network.bytes_per_s


def summed(parts: Sequence[Seconds]) -> Seconds:
    """Of several paths."""
    return Seconds(
        sum(p.compute for p in parts),
        sum(p.rounds for p in parts),
        sum(p.wire for p in parts),
        sum(p.items for p in parts),
    )
