"""How many studies each site has: all that a plan knows of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from mpc.errors import UsageError
from protocols.cli.job import Job
from protocols.cli.reading import read_cohort, read_new
from protocols.radiology.cohort import Split, split
from protocols.radiology.settings import Intake
from protocols.radiology.site import UNLABELLED, Site, Study


class Cohort(NamedTuple):
    """Numbers of studies by rank: to train on, to test on, to classify."""

    train: tuple[int, ...] = ()
    test: tuple[int, ...] = ()
    new: tuple[int, ...] = ()


def count_studies(job: Job, command: str, told: Mapping[str, str] | None = None) -> Cohort:
    """What the sites have, from their folders here, or as told for sites that are elsewhere.

    Args:
        job: the job.
        command: "train" or "infer".
        told: by site, "N" studies, or for training "N+M" to train and to test on.

    Raises:
        UsageError: a site's studies are not here, and nobody said how many there are.
    """
    told = dict(told or {})
    names = [site.name for site in job.sites]
    if strangers := sorted(set(told) - set(names)):
        raise UsageError(f"there is no site {strangers[0]!r}: choose {', '.join(names)}")
    with TemporaryDirectory() as folder:  # where the list of files that are not taken goes
        elsewhere = replace(job, output=Path(folder))
        if command == "infer":
            return Cohort(new=tuple(_new(elsewhere, rank, told) for rank in range(len(names))))
        both = [_split(elsewhere, rank, told) for rank in range(len(names))]
    return Cohort(train=tuple(n for n, _ in both), test=tuple(m for _, m in both))


def no_studies(intake: Intake, count: int, *, labelled: bool = True) -> Site:
    """A site of the right size with nothing on its images."""
    images = np.empty((count, *intake.shape), np.float32)
    images.fill(0)  # in memory that is really there: a real site's is
    labels = np.full(count, 0 if labelled else UNLABELLED, np.int64)
    patients = tuple(map(str, range(count)))
    tags = np.zeros((count, 0), np.float32)
    return Site(images, labels, (Study(""),) * count, patients, tags)


def _split(job: Job, rank: int, told: Mapping[str, str]) -> tuple[int, int]:
    site = job.sites[rank]
    if site.name in told:
        found = re.fullmatch(r"(\d+)(?:\+(\d+))?", told[site.name])
        if found is None or not int(found[1]) or found[2] == "0":
            raise UsageError(f"studies of {site.name}: write N, or N+M to train and to test on")
        if found[2]:
            return int(found[1]), int(found[2])
        whole = no_studies(replace(job.intake, size=1), int(found[1]))
        return _sizes(split(whole, job.evaluation.test_fraction, job.seed))
    if site.data is None or not site.data.exists():
        raise UsageError(_absent(site.name, "the studies", "--studies"))
    return _sizes(read_cohort(job, rank)[0])


def _new(job: Job, rank: int, told: Mapping[str, str]) -> int:
    site = job.sites[rank]
    if site.name in told:
        if not re.fullmatch(r"\d+", told[site.name]):
            raise UsageError(f"new studies of {site.name}: write a number")
        return int(told[site.name])
    if site.new is None:
        return 0
    if not site.new.exists():
        raise UsageError(_absent(site.name, "the new studies", "--studies"))
    found = read_new(job, rank)
    return len(found) if found is not None else 0


def _sizes(both: Split) -> tuple[int, int]:
    return len(both.train), len(both.test)


def _absent(name: str, what: str, option: str) -> str:
    return f"{what} of {name} are not on this machine: say how many with {option} {name}=N"


def parse_told(values: Sequence[str]) -> dict[str, str]:
    """`SITE=N` of the command line, by site."""
    told = {}
    for value in values:
        name, equals, count = value.rpartition("=")
        if not equals:
            raise UsageError(f"--studies {value}: write SITE=N")
        told[name] = count
    return told
