"""What a run leaves: the numbers it made, as `manifest.json` and `report.html` in SITE/COMMAND/ of the output."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from protocols.cli.manifest import versions, write_manifest
from protocols.cli.report import write_report
from protocols.cli.start import Run
from protocols.radiology.site import Problem
from protocols.training.evaluate import Evaluation


@dataclass
class Record:
    """The numbers of a run, as they come."""

    command: str
    problems: Sequence[Problem]
    started: float
    clock: float
    studies: dict[str, int] = field(default_factory=dict)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    evaluation: Evaluation | None = None
    seen: tuple[int, int] = (0, 0)

    @staticmethod
    def begin(run: Run, command: str, problems: Sequence[Problem]) -> Record:
        """Start the clock."""
        total = run.party.meter.total
        seen = (total.rounds, total.sent_bytes)
        return Record(command, problems, time.time(), time.perf_counter(), seen=seen)

    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self.clock

    def end_epoch(self, run: Run, epoch: int, loss: float, accuracy: float, seconds: float) -> None:
        """Note an epoch and what it sent."""
        total = run.party.meter.total
        rounds, sent = self.seen
        self.seen = (total.rounds, total.sent_bytes)
        self.epochs.append(
            {
                "epoch": epoch,
                "loss": loss,
                "accuracy": accuracy,
                "seconds": seconds,
                "rounds": total.rounds - rounds,
                "bytes": total.sent_bytes - sent,
            }
        )

    def auc_interval(self) -> tuple[float, float, float] | None:
        """Area under the ROC curve and its 95 % interval, if there is one."""
        return self.evaluation.auc_interval() if self.evaluation is not None else None


def write_record(run: Run, record: Record) -> None:
    """Write this site's manifest and report."""
    run.party.meter.settle()
    openings = [
        {"what": o.what, "shape": list(o.shape), "to": _name(run, o.to), "reason": o.reason}
        for o in run.session.openings
    ]
    manifest = {
        "command": record.command,
        "job": run.job.common(),
        "digest": run.job.digest().hex(),
        "versions": versions(),
        "party": {"rank": run.party.rank, "name": run.party.name},
        "parties": [run.party.names[r] for r in range(run.party.size)],
        "assumptions": asdict(run.session.protocol.assumptions),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(record.started)),
        "seconds": record.seconds(),
        "total": run.party.meter.total.as_dict(),
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
        "settings": run.job.common(),
        "digest": manifest["digest"],
        "versions": manifest["versions"],
        "sites": [_site(run, record, rank) for rank in range(len(run.job.sites))],
        "epochs": record.epochs,
        "evaluation": manifest["evaluation"],
        "plaintext": None,
        "opened": _summed(openings),
        "layers": layers(run),
    }
    write_report(run.folder / record.command / "report.html", report)


def layers(run: Run) -> list[dict[str, Any]]:
    """Seconds, rounds and bytes by layer: the head of each metered path, largest first."""
    rows: dict[str, list[float]] = defaultdict(lambda: [0.0, 0, 0])
    for path, count in run.party.meter.operations.items():
        row = rows[path.partition("/")[0]]
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
