"""`radmpc infer`: classify new studies; each site gets its own results and no other's."""

from __future__ import annotations

import numpy as np

from mpc.errors import UsageError
from protocols.cli.desk import HERE, Desk
from protocols.cli.model import make_model
from protocols.cli.record import Record, tell_problems, write_record
from protocols.cli.start import Run
from protocols.inference import classify
from protocols.radiology.results import write_predictions
from protocols.radiology.site import Site


def infer(run: Run, epoch: int | None = None, desk: Desk = HERE) -> None:
    """One party's part of an inference job, with the weights at its end or after an epoch.

    What it reads and leaves is at its desk.
    """
    job, session = run.job, run.session
    record = Record.begin(run, "infer")
    site = desk.new(run)
    record.problems = site.problems if site is not None else ()
    tell_problems(run, record)
    model = run.together("build the model", lambda: make_model(job))
    desk.load(run, model, epoch)
    counts = [
        run.announce(rank, len(site) if site is not None and rank == run.party.rank else 0)
        for rank in range(session.size)
    ]
    if not sum(counts):
        raise UsageError('no site names new studies: add new = "folder" to a [[site]] of the job')
    mine: np.ndarray | None = None
    for rank in (r for r, count in enumerate(counts) if count):
        has = site if rank == run.party.rank else None
        with session.at("sharing"):
            images = session.share(has.images if has is not None else None, owner=rank)
        if tuple(images.shape[1:]) != job.intake.shape:
            raise UsageError(
                f"the studies of {run.party.names[rank]} have shape {tuple(images.shape[1:])}, "
                f"not {job.intake.shape}"
            )
        chances = classify(session, model, images, owner=rank)
        mine = mine if chances is None else chances
    record.studies = {"classified": sum(counts)}
    desk.set_aside(run, "infer")
    desk.leave(run, "write its results", lambda: _write(run, record, site, mine))
    run.console.say(f"{sum(counts)} studies classified in {record.seconds():.1f} s")


def _write(run: Run, record: Record, site: Site | None, chances: np.ndarray | None) -> None:
    if site is not None and chances is not None:
        names = run.job.intake.class_names
        written = write_predictions(run.folder / "infer", site.studies, chances, names)
        run.console.note(f"{len(site)} studies classified: {written[0]} and {written[1].name}")
    write_record(run, record)
