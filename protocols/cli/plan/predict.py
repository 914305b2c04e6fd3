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

    What was measured of ranks in lockstep has in it that they share cores and wait for the slowest
    of them; a dealer, who was not there, would share the cores too. The last rank alone has items
    to ask for or to open, and the others wait.

    Args:
        network: what is between the parties.
        compute: seconds by path, of each rank that was measured.
        ranks: rounds and bytes, by path, at each rank.
        dealt: for additive sharing.
        source: where that has its randomness from.
    """
    beside = len(ranks) + (source == "dealer")
    crowd = 1.0 if network.apart else max(1.0, beside / max(network.cores, len(ranks)))
    found = {}
    for path in sorted({path for costs in (*compute, *ranks) for path in costs}):
        counts = [costs.get(path, Count()) for costs in ranks]
        found[path] = Seconds(
            crowd * sum(of.get(path, 0.0) for of in compute) / len(compute),
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
