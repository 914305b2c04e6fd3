"""`radmpc infer`: classify new studies with the shared model; each site gets its own results and no other's."""

from __future__ import annotations

from mpc.errors import UsageError
from protocols.cli.reading import read_new
from protocols.cli.record import Record, write_record
from protocols.cli.start import Run
from protocols.cli.train import make_model
from protocols.inference import classify
from protocols.radiology.results import write_predictions
from protocols.training import checkpoint


def infer(run: Run) -> None:
    """One party's part of an inference job."""
    job, session = run.job, run.session
    site = run.together("read its new studies", lambda: read_new(job, run.party.rank))
    problems = site.problems if site is not None else ()
    for problem in problems:
        run.console.note(f"not taken: {problem.file}: {problem.reason}")
    record = Record.begin(run, "infer", problems)
    model = run.together("build the model", lambda: make_model(job))
    key = run.together("use its key file", lambda: checkpoint.read_key(run.key_path))
    path = run.folder / "model.share"
    run.together("read its share of the model", lambda: checkpoint.read_share(session, path, key))
    checkpoint.load(session, model, path, key)
    count = 0
    for rank in range(session.size):
        mine = rank == run.party.rank
        has = run.announce(rank, int(mine and site is not None and len(site) > 0))
        if not has:
            continue
        with session.at("sharing"):
            images = session.share(site.images if mine and site is not None else None, owner=rank)
        if tuple(images.shape[1:]) != job.intake.shape:
            raise UsageError(
                f"the studies of {run.party.names[rank]} have shape {tuple(images.shape[1:])}, "
                f"not {job.intake.shape}"
            )
        count += len(images)
        chances = classify(session, model, images, owner=rank)
        if chances is not None and site is not None:
            names = job.intake.class_names
            written = write_predictions(run.folder / "infer", site.studies, chances, names)
            run.console.note(f"{len(site)} studies classified: {written[0]} and {written[1].name}")
    record.studies = {"classified": count}
    write_record(run, record)
    run.console.say(f"{count} studies classified in {record.seconds():.1f} s")
