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
    dealer: float = 0.0  # made while the parties wait

    @property
    def total(self) -> float:
        """All of it."""
        return self.compute + self.rounds + self.wire + self.dealer


def predicted(
    network: Network,
    compute: Mapping[str, float],
    ranks: Sequence[Mapping[str, Count]],
    dealt: Dealing | None,
    source: str | None,
) -> dict[str, Seconds]:
    """By metered path.

    On one machine the ranks, a dealer's too, share the cores: all of them compute as long as one
    does, times ranks over cores. On machines of their own they compute side by side. A dealer that
    answers while the parties compute is waited for: it makes the items, a request and its answer
    are a round, and their bytes go over its wire.

    Args:
        network: what is between the parties.
        compute: seconds of one rank alone, by path.
        ranks: rounds and bytes, by path, at each rank.
        dealt: for additive sharing.
        source: where that has its randomness from.
    """
    beside = len(ranks) + (source == "dealer")
    crowd = 1.0 if network.apart else max(1.0, beside / network.cores)
    found = {}
    for path in sorted({*compute, *(path for costs in ranks for path in costs)}):
        counts = [costs.get(path, Count()) for costs in ranks]
        found[path] = Seconds(
            compute.get(path, 0.0) * crowd,
            counts[0].rounds * network.round_s,
            max(c.sent_bytes for c in counts) / network.bytes_per_s,
            _waiting(network, dealt, path) if dealt is not None and source == "dealer" else 0.0,
        )
    return found


def _waiting(network: Network, dealt: Dealing, path: str) -> float:
    """For a dealer; its work is spread over the paths by the bytes that it sends."""
    size = dealt.places.get(path, 0)
    share = size / max(dealt.nbytes, 1)
    whole = dealt.seconds + dealt.items * network.round_s
    return share * whole + size / network.bytes_per_s


def summed(parts: Sequence[Seconds]) -> Seconds:
    """Of several paths."""
    return Seconds(
        sum(p.compute for p in parts),
        sum(p.rounds for p in parts),
        sum(p.wire for p in parts),
        sum(p.dealer for p in parts),
    )
