"""What a run leaves: its numbers, as `manifest.json` and `report.html` in SITE/COMMAND/."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from torch import nn

from mpc.correlated.seeded import SeededSource, Source
from mpc.sources import DealerSource, StoredSource
from protocols.cli.manifest import versions, write_manifest
from protocols.cli.reading import problems_path
from protocols.cli.report import write_report
from protocols.cli.start import Run
from protocols.radiology.site import Problem
from protocols.training.evaluate import Evaluation

PLACES = ("sharing", "evaluation")  # set by the commands, beside the layers
REST = "loss, optimizer and the rest"


@dataclass
class Record:
    """The numbers of a run, as they come."""

    command: str
    started: datetime
    clock: float
    problems: Sequence[Problem] = ()
    studies: dict[str, int] = field(default_factory=dict)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    evaluation: Evaluation | None = None
    layers: frozenset[str] = frozenset()
    seen: tuple[int, int] = (0, 0)

    @staticmethod
    def begin(run: Run, command: str) -> Record:
        """Start the clock."""
        record = Record(command, datetime.now(UTC), time.perf_counter())
        record.lap(run)
        return record

    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self.clock

    def watch(self, model: nn.Module) -> None:
        """Remember what the meter calls the layers of a model."""
        self.layers = frozenset(
            f"{name} {type(module).__name__}".strip()
            for name, module in model.named_modules()
            if next(module.children(), None) is None
        )

    def lap(self, run: Run) -> tuple[int, int]:
        """Rounds and bytes sent since this was last asked."""
        total, (rounds, sent) = run.party.meter.total, self.seen
        self.seen = (total.rounds, total.sent_bytes)
        return total.rounds - rounds, total.sent_bytes - sent

    def auc_interval(self) -> tuple[float, float, float] | None:
        """Area under the ROC curve and its 95 % interval, if there is one."""
        return self.evaluation.auc_interval() if self.evaluation is not None else None


def tell_problems(run: Run, record: Record) -> None:
    """Say how many files this site did not take, and where they are listed; no name is said."""
    if count := len(record.problems):
        listed = problems_path(run.job, run.party.rank, record.command)
        run.console.note(f"{count} file{'s' * (count != 1)} not taken: {listed}")


def write_record(run: Run, record: Record) -> None:
    """Write this site's manifest and report."""
    run.party.meter.settle()
    total = run.party.meter.total
    openings = [
        {"what": o.what, "shape": list(o.shape), "to": _name(run, o.to), "reason": o.reason}
        for o in run.session.openings
    ]
    assumptions = asdict(run.session.protocol.assumptions)
    used = {"device": run.party.device, "chunk": run.session.protocol.chunk}
    manifest = {
        "command": record.command,
        "job": run.job.common(),
        "digest": run.job.digest().hex(),
        **used,
        "versions": versions(),
        "party": {"rank": run.party.rank, "name": run.party.name},
        "parties": [run.party.names[r] for r in range(run.party.size)],
        "protocol": run.session.protocol.name,
        "assumptions": assumptions,
        "source": dealt(run.source),
        "started": record.started.isoformat(timespec="seconds"),
        "seconds": record.seconds(),
        "total": total.as_dict(),
        "operations": {k: v.as_dict() for k, v in sorted(run.party.meter.operations.items())},
        "opened": openings,
        "studies": record.studies,
        "files_not_taken": len(record.problems),
        "epochs": record.epochs,
        "evaluation": _evaluation(run, record),
    }
    write_manifest(run.folder / record.command / "manifest.json", manifest)
    report = {
        "title": f"{run.job.name} — {record.command}, {run.party.name}",
        "settings": run.job.common() | used,
        "digest": manifest["digest"],
        "versions": manifest["versions"],
        "studies": record.studies,
        "protocol": {
            "name": run.session.protocol.name,
            "computing": len(run.job.sites),
            **assumptions,
        },
        "source": manifest["source"],
        "sites": [_site(run, record, rank) for rank in range(len(run.job.sites))],
        "epochs": record.epochs,
        "evaluation": manifest["evaluation"],
        "opened": _summed(openings),
        "layers": layers(run, record),
        "whole": {
            "seconds": manifest["seconds"],
            "rounds": total.rounds,
            "bytes": total.sent_bytes,
        },
    }
    write_report(run.folder / record.command / "report.html", report)


def dealt(source: Source | None) -> dict[str, Any] | None:
    """Where correlated randomness came from, who is trusted for it, how much was used up.

    `served` is how many items of each kind; `corrections_bytes` what came with them, at the last
    party alone; `skipped` how many were passed over, which the plan foresaw and the run did not
    need; `left` how many the file has still.
    """
    if source is None:
        return None
    found: dict[str, Any] = {"name": source.name, "assumption": source.assumption}
    found["served"] = (
        dict(sorted(source.served.items())) if isinstance(source, SeededSource) else {}
    )
    if isinstance(source, DealerSource | StoredSource):
        found["corrections_bytes"] = source.corrections_bytes
    if isinstance(source, StoredSource):
        found |= {"skipped": source.skipped, "left": source.left}
    return found


def layers(run: Run, record: Record) -> list[dict[str, Any]]:
    """Seconds, rounds and bytes by layer, largest first.

    A layer is the head of a metered path, its name and its kind; a name may hold a slash. What is
    in no layer is the loss, the optimizer and the loop.
    """
    known = sorted(record.layers.union(PLACES), key=len, reverse=True)
    rows: dict[str, list[float]] = defaultdict(lambda: [0.0, 0, 0])
    for path, count in run.party.meter.operations.items():
        head = next((k for k in known if f"{path}/".startswith(f"{k}/")), REST)
        row = rows[head]
        row[0] += count.seconds
        row[1] += count.rounds
        row[2] += count.sent_bytes
    ordered = sorted(rows.items(), key=lambda item: -item[1][0])
    return [
        {"name": name, "seconds": s, "rounds": int(r), "bytes": int(b)}
        for name, (s, r, b) in ordered
    ]


def _site(run: Run, record: Record, rank: int) -> dict[str, Any]:
    """This site's own files by name; of the others nothing but the name is known here."""
    mine = rank == run.party.rank
    problems = [(p.file, p.reason) for p in record.problems] if mine else None
    return {"name": run.party.names[rank], "problems": problems}


def _evaluation(run: Run, record: Record) -> dict[str, Any] | None:
    e, interval = record.evaluation, record.auc_interval()
    if e is None:
        return None
    found: dict[str, Any] = {
        "accuracy": e.accuracy,
        "confusion": e.confusion.tolist(),
        "classes": list(run.job.intake.class_names),
        "confidence": 0.95,
    }
    if interval is not None:
        found |= dict(zip(("auc", "auc_low", "auc_high"), interval, strict=True))
    if e.true_positives is not None and e.false_positives is not None and interval is not None:
        negative, positive = (int(n) for n in e.confusion.sum(1))
        found["tpr"] = [0.0, *(e.true_positives / positive).tolist(), 1.0]
        found["fpr"] = [0.0, *(e.false_positives / negative).tolist(), 1.0]
    return found


def _summed(openings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Openings that differ in nothing, once."""
    seen: dict[str, dict[str, Any]] = {}
    for opening in openings:
        seen.setdefault(repr(opening), opening)
    return list(seen.values())


def _name(run: Run, rank: int | None) -> str | None:
    return None if rank is None else run.party.names[rank]
