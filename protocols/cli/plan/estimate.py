"""What a job costs under one protocol: everything that a plan says about it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from kernels import native
from mpc.meter import Count
from mpc.sources import DealerSource, StoredSource
from protocols.base import Assumptions
from protocols.cli.job import SITES, Job
from protocols.cli.model import make_model
from protocols.cli.plan.cohort import Cohort
from protocols.cli.plan.dealing import Dealing, dealing
from protocols.cli.plan.dry import dry_runs
from protocols.cli.plan.measure import measure
from protocols.cli.plan.predict import Seconds, predicted, summed
from protocols.cli.plan.rates import Network
from protocols.cli.plan.repeats import totals
from protocols.cli.record import PLACES, REST
from protocols.nn.session import PROTOCOLS


@dataclass(frozen=True)
class Layer:
    """A layer, or a part of a run beside the layers.

    Args:
        rounds: of every party.
        sent: bytes by rank.
        dealt: bytes of corrections.
        seconds: as predicted.
    """

    rounds: int
    sent: tuple[int, ...]
    dealt: int
    seconds: Seconds


@dataclass(frozen=True)
class Estimate:
    """A job under one protocol.

    Args:
        protocol: its name.
        source: of correlated randomness; None if it needs none.
        assumptions: what the protocol asks for.
        trust: what the source asks for.
        ranks: rounds and bytes by metered path, at each rank.
        layers: the same by layer, with seconds.
        dealt: correlated randomness; None if it needs none.
        peak_bytes: memory of a rank.
        threads: of a rank's kernels.
        chunk: elements compared at once.
    """

    protocol: str
    source: str | None
    assumptions: Assumptions
    trust: str | None
    ranks: Sequence[Mapping[str, Count]]
    layers: Mapping[str, Layer]
    dealt: Dealing | None
    peak_bytes: int
    threads: int
    chunk: int

    @property
    def name(self) -> str:
        """Protocol and source."""
        return f"{self.protocol}, {self.source}" if self.source else self.protocol

    @property
    def rounds(self) -> int:
        """Of every party."""
        return sum(layer.rounds for layer in self.layers.values())

    @property
    def sent(self) -> list[int]:
        """Bytes by rank."""
        return [sum(of) for of in zip(*(layer.sent for layer in self.layers.values()), strict=True)]

    @property
    def seconds(self) -> Seconds:
        """In all, without what is dealt ahead."""
        return summed([layer.seconds for layer in self.layers.values()])

    def as_dict(self) -> dict[str, Any]:
        """Plain values; exact counts of each rank under `parties`."""
        return {
            "protocol": self.protocol,
            "source": self.source,
            "assumptions": asdict(self.assumptions),
            "trust": self.trust,
            "rounds": self.rounds,
            "sent_bytes": {"mean": sum(self.sent) / len(self.sent), "max": max(self.sent)},
            "seconds": _plain(self.seconds),
            "threads": self.threads,
            "chunk": self.chunk,
            "peak_bytes": self.peak_bytes,
            "offline": _offline(self.dealt),
            "layers": {
                name: {
                    "rounds": layer.rounds,
                    "sent_bytes": list(layer.sent),
                    "dealt_bytes": layer.dealt,
                    "seconds": _plain(layer.seconds),
                }
                for name, layer in self.layers.items()
            },
            "parties": [
                {
                    "sent_bytes": sent,
                    "operations": {path: _counts(c) for path, c in sorted(costs.items())},
                }
                for sent, costs in zip(self.sent, self.ranks, strict=True)
            ],
        }


def variants(job: Job) -> list[Job]:
    """The job under each protocol that fits the number of its sites."""
    fitting = [name for name, counts in SITES.items() if len(job.sites) in counts]
    return [
        job
        if name == job.protocol
        else replace(job, protocol=name, source="file" if name == "additive" else None)
        for name in fitting
    ]


def estimate(job: Job, command: str, cohort: Cohort, network: Network) -> Estimate:
    """Run dry and measure."""
    parties = len(job.sites)
    beside = 1 if network.apart else job.ranks(command)
    threads = job.threads or max(1, native.threads() // beside)
    dry = dry_runs(job, command, cohort)
    ranks = totals([one.parts for one in dry])
    heard = [one.heard for one in (dry[:1] if network.apart else dry)]
    measured = measure(job, command, cohort, heard, threads)
    source = job.source_of(command)
    first, dealt = dry[0], None
    if source is not None:
        dealt = dealing(first.parts, first.items, first.labels, parties, stored=source == "file")
    seconds = predicted(network, measured.seconds, ranks, dealt, source)
    sources = {kind.name: kind.assumption for kind in (DealerSource, StoredSource)}
    return Estimate(
        protocol=job.protocol,
        source=source,
        assumptions=PROTOCOLS[job.protocol].assumptions,
        trust=sources.get(source) if source is not None else None,
        ranks=ranks,
        layers=_layers(job, ranks, seconds, dealt),
        dealt=dealt,
        peak_bytes=measured.peak_bytes,
        threads=threads,
        chunk=job.planned_chunk,
    )


def _layers(
    job: Job,
    ranks: Sequence[Mapping[str, Count]],
    seconds: Mapping[str, Seconds],
    dealt: Dealing | None,
) -> dict[str, Layer]:
    """By the layer that a path begins with; in the model's order, and then what is beside it."""
    order = [
        f"{name} {type(module).__name__}".strip()
        for name, module in make_model(job).named_modules()
        if next(module.children(), None) is None
    ]
    known = sorted({*order, *PLACES}, key=len, reverse=True)
    paths: dict[str, list[str]] = defaultdict(list)
    for path in seconds:
        paths[next((k for k in known if f"{path}/".startswith(f"{k}/")), REST)].append(path)
    return {
        name: Layer(
            sum(ranks[0][p].rounds for p in paths[name] if p in ranks[0]),
            tuple(sum(c[p].sent_bytes for p in paths[name] if p in c) for c in ranks),
            sum(dealt.places.get(p, 0) for p in paths[name]) if dealt is not None else 0,
            summed([seconds[p] for p in paths[name]]),
        )
        for name in (*order, *PLACES, REST)
        if name in paths
    }


def _offline(dealt: Dealing | None) -> dict[str, Any] | None:
    if dealt is None:
        return None
    kinds = {k: {"items": n, "bytes": size} for k, (n, size) in dealt.kinds.items()}
    return {"kinds": kinds, "bytes": dealt.nbytes, "seconds": round(dealt.seconds, 3)}


def _plain(seconds: Seconds) -> dict[str, float]:
    parts = asdict(seconds) | {"total": seconds.total}
    return {name: round(value, 4) for name, value in parts.items()}


def _counts(count: Count) -> dict[str, object]:
    found = count.as_dict()
    del found["seconds"]
    return found
