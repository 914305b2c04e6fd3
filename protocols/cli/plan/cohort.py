"""How many studies each site has: all that a plan knows of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, TypeVar

import numpy as np

from mpc.errors import UsageError
from protocols.cli.job import Job
from protocols.cli.reading import read_cohort, read_new
from protocols.radiology.cohort import Split, split
from protocols.radiology.settings import Intake
from protocols.radiology.site import UNLABELLED, Site, Study

T = TypeVar("T")


NONE_NEW = 'no site names new studies: add new = "folder" to a [[site]] of the job'


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
        UsageError: a site's studies are not here, and nobody said how many there are; or there
            are none.
    """
    told = dict(told or {})
    names = [site.name for site in job.sites]
    if strangers := sorted(set(told) - set(names)):
        raise UsageError(f"there is no site {strangers[0]!r}: choose {', '.join(names)}")
    numbers = {name: _numbers(name, command, text) for name, text in told.items()}
    if command == "infer" and not numbers and not any(site.new for site in job.sites):
        raise UsageError(NONE_NEW)
    with TemporaryDirectory() as folder:  # where the list of files that are not taken goes
        elsewhere = replace(job, output=Path(folder))
        if command == "infer":
            new = tuple(_new(elsewhere, rank, numbers) for rank in range(len(names)))
            if not sum(new):
                raise UsageError(NONE_NEW)
            return Cohort(new=new)
        both = [_split(elsewhere, rank, numbers) for rank in range(len(names))]
    return Cohort(train=tuple(n for n, _ in both), test=tuple(m for _, m in both))


def no_studies(intake: Intake, count: int, *, labelled: bool = True) -> Site:
    """A site of the right size with nothing on its images."""
    images = np.empty((count, *intake.shape), np.float32)
    images.fill(0)  # in memory that is really there: a real site's is
    labels = np.full(count, 0 if labelled else UNLABELLED, np.int64)
    patients = tuple(map(str, range(count)))
    tags = np.zeros((count, 0), np.float32)
    return Site(images, labels, (Study(""),) * count, patients, tags)


def _split(job: Job, rank: int, told: Mapping[str, Sequence[int]]) -> tuple[int, int]:
    site = job.sites[rank]
    match told.get(site.name):
        case (train, test):
            return train, test
        case (count,):
            whole = no_studies(replace(job.intake, size=1), count)
            fraction, seed = job.evaluation.test_fraction, job.seed
            return _sizes(_named(site.name, "train", lambda: split(whole, fraction, seed)))
    if site.data is None or not site.data.exists():
        raise UsageError(_absent(site.name, "the studies"))
    return _sizes(_named(site.name, "train", lambda: read_cohort(job, rank)[0]))


def _new(job: Job, rank: int, told: Mapping[str, Sequence[int]]) -> int:
    site = job.sites[rank]
    if site.name in told:
        return told[site.name][0]
    if site.new is None:
        return 0
    if not site.new.exists():
        raise UsageError(_absent(site.name, "the new studies"))
    found = _named(site.name, "infer", lambda: read_new(job, rank))
    return len(found) if found is not None else 0


def _numbers(name: str, command: str, text: str) -> list[int]:
    """N, or N+M for training; as many digits as a folder could have files."""
    most = 2 if command == "train" else 1
    parts = text.split("+")
    if len(parts) > most or not all(re.fullmatch("[0-9]{1,7}", part) for part in parts):
        parts = []
    numbers = [int(part) for part in parts]
    if command == "infer":
        if not numbers:
            raise UsageError(f"new studies of {name}: write a number from 0 to 9999999")
    elif not numbers or not all(numbers):
        raise UsageError(
            f"studies of {name}: write N, or N+M to train and to test on, each from 1 to 9999999"
        )
    return numbers


def _named(name: str, command: str, read: Callable[[], T]) -> T:
    """Read; a refusal names the site, and no listing, which is gone when the plan is made."""
    try:
        return read()
    except UsageError as error:
        text, listed, _ = str(error).partition("; they are listed in ")
        text = text.replace("this site's", "its")
        if listed:
            text += f"; run radmpc {command} there: it lists them"
        raise UsageError(text if f"site {name} " in text else f"{name}: {text}") from None


def _sizes(both: Split) -> tuple[int, int]:
    return len(both.train), len(both.test)


def _absent(name: str, what: str) -> str:
    return f"{what} of {name} are not on this machine: say how many with --studies {name}=N"


def parse_told(values: Sequence[str]) -> dict[str, str]:
    """`SITE=N` of the command line, by site."""
    told: dict[str, str] = {}
    for value in values:
        name, equals, count = value.rpartition("=")
        if not equals:
            raise UsageError(f"--studies {value}: write SITE=N")
        if name in told:
            raise UsageError(f"--studies says twice how many studies {name} has: say it once")
        told[name] = count
    return told
