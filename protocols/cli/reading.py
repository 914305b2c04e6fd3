"""From a job's paths to the studies of one site, divided into training and test."""

from __future__ import annotations

from pathlib import Path

from mpc.errors import UsageError
from protocols.cli.job import Job
from protocols.radiology.cohort import Split, deal, load_npz, split
from protocols.radiology.intake import read_site
from protocols.radiology.site import Problem, Site


def read_cohort(job: Job, rank: int) -> tuple[Split, tuple[Problem, ...]]:
    """A site's own studies, and the files that were not taken and why.

    Raises:
        UsageError: nothing to read, or with on_error = "fail" a file that cannot be used.
    """
    site = job.sites[rank]
    if site.data is None:
        raise UsageError(f'site {site.name} of the job names no data: add data = "folder"')
    if site.data.suffix == ".npz":
        return _from_npz(job, rank, site.data), ()
    if site.labels is None:
        raise UsageError(f'site {site.name} of the job names no labels: add labels = "file.csv"')
    whole = read_site(site.data, site.labels, job.intake)
    return split(whole, job.evaluation.test_fraction, job.seed), whole.problems


def read_new(job: Job, rank: int) -> Site | None:
    """The studies that a site wants classified; None if it has none."""
    site = job.sites[rank]
    return None if site.new is None else read_site(site.new, None, job.intake)


def _from_npz(job: Job, rank: int, path: Path) -> Split:
    """The file's own split; sites that name the same file get equal parts of it."""
    parts = load_npz(path, job.intake)
    sharing = [r for r, site in enumerate(job.sites) if site.data == path]
    count, turn = len(sharing), sharing.index(rank)
    if count == 1:
        return Split(parts.train, parts.test)
    return Split(deal(parts.train, count, job.seed)[turn], deal(parts.test, count, job.seed)[turn])
