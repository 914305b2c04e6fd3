"""From a job's paths to the studies of one site, divided into training and test."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from mpc.errors import UsageError
from mpc.files import write_whole
from protocols.cli.job import Job
from protocols.radiology.cohort import Split, deal, split
from protocols.radiology.errors import IntakeError
from protocols.radiology.intake import read_site
from protocols.radiology.npz import load_npz
from protocols.radiology.settings import Intake
from protocols.radiology.site import Problem, Site

PROBLEMS = "problems-{command}.csv"  # in a site's folder
T = TypeVar("T")


def read_cohort(job: Job, rank: int) -> tuple[Split, tuple[Problem, ...]]:
    """A site's own studies, and the files that were not taken and why.

    Raises:
        UsageError: nothing to read, or with on_error = "fail" a file that cannot be used.
    """
    site = job.sites[rank]
    data, labels = site.data, site.labels
    if data is None:
        raise UsageError(f'site {site.name} of the job names no data: add data = "folder"')
    if data.suffix == ".npz":
        return _from_npz(job, rank, data), ()
    if labels is None:
        raise UsageError(f'site {site.name} of the job names no labels: add labels = "file.csv"')
    path = problems_path(job, rank, "train")
    whole = _listing(job.intake, path, lambda intake: read_site(data, labels, intake))
    return split(whole, job.evaluation.test_fraction, job.seed), whole.problems


def read_new(job: Job, rank: int) -> Site | None:
    """The studies that a site wants classified; None if it has none."""
    new = job.sites[rank].new
    path = problems_path(job, rank, "infer")
    if new is None:
        path.unlink(missing_ok=True)
        return None
    return _listing(job.intake, path, lambda intake: read_site(new, None, intake))


def problems_path(job: Job, rank: int, command: str) -> Path:
    """Where a site finds which files its latest run of a command did not take, and why."""
    return job.folder(rank) / PROBLEMS.format(command=command)


def _listing(intake: Intake, path: Path, read: Callable[[Intake], Site]) -> Site:
    """Read a site, with the files that cannot be used listed at `path`.

    A file's name may be a patient's: it is in that file alone, never in a message, which ends
    wherever mpirun was started.
    """
    path.unlink(missing_ok=True)
    try:
        site = read(replace(intake, on_error="skip"))
    except IntakeError as error:
        headline, _, listed = str(error).partition(":\n")
        if not listed:
            raise
        rows = [line.strip().partition(": ")[::2] for line in listed.splitlines()]
        _write(path, rows)
        raise UsageError(f"{headline}; they are listed in {path}") from None
    if site.problems:
        _write(path, site.problems)
        if intake.on_error == "fail":
            raise UsageError(
                f"{len(site.problems)} of this site's files cannot be used, and the job says to "
                f"stop then; they are listed in {path}"
            )
    return site


def _write(path: Path, problems: Sequence[tuple[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("file", "reason"), *problems])
    # A name on the disk need not be UTF-8; its bytes are kept as they are.
    write_whole(path, text.getvalue().encode(errors="surrogateescape"))


def _from_npz(job: Job, rank: int, path: Path) -> Split:
    """The file's own split; sites that name the same file get equal parts of it."""
    parts = load_npz(path, job.intake)
    sharing = [r for r, site in enumerate(job.sites) if site.data == path]
    count, turn = len(sharing), sharing.index(rank)
    if count == 1:
        return Split(parts.train, parts.test)
    return Split(deal(parts.train, count, job.seed)[turn], deal(parts.test, count, job.seed)[turn])
