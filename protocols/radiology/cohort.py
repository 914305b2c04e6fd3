"""Dividing studies: into train and test by patient, and over sites."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mpc.errors import UsageError
from protocols.radiology.errors import IntakeError
from protocols.radiology.site import Site


class Split(NamedTuple):
    """The two sides of `split`; no patient is on both."""

    train: Site
    test: Site


def split(site: Site, test_fraction: float, seed: int) -> Split:
    """Set patients aside for testing, each with all their studies.

    Stratified by the label of a patient's first study: walking through the patients, sorted by
    label and shuffled within, every 1 / test_fraction-th is set aside. The same site (in the same
    order) and seed give the same split, whatever the tokens are.
    """
    if not 0 < test_fraction < 1:
        raise UsageError("the test fraction is more than 0 and less than 1")
    patients = _patients(site, seed)
    if len(patients) < 2:
        raise IntakeError("a split needs two patients, and there are fewer")
    marks = np.floor(np.arange(len(patients) + 1) * test_fraction + 0.5)
    aside = marks[1:] > marks[:-1]
    if aside.all() or not aside.any():
        aside[0] = not aside[0]
    test = sorted(i for rows, out in zip(patients, aside, strict=True) if out for i in rows)
    train = sorted(i for rows, out in zip(patients, aside, strict=True) if not out for i in rows)
    return Split(site.take(train), site.take(test))


def deal(site: Site, sites: int, seed: int) -> tuple[Site, ...]:
    """Deal one data set out to several sites, as evenly in size and labels as patients allow."""
    patients = _patients(site, seed)
    if not 1 <= sites <= len(patients):
        raise UsageError(f"{len(patients)} patients cannot be dealt to {sites} sites")
    return tuple(
        site.take(sorted(i for rows in patients[turn::sites] for i in rows))
        for turn in range(sites)
    )


def _patients(site: Site, seed: int) -> list[list[int]]:
    """Each patient's rows; patients sorted by label, and shuffled among those with the same."""
    rows: dict[str, list[int]] = {}
    for row, patient in enumerate(site.patients):
        rows.setdefault(patient, []).append(row)
    groups = list(rows.values())  # in order of appearance: tokens change from run to run
    order = np.random.default_rng(seed).permutation(len(groups))
    return sorted((groups[i] for i in order), key=lambda group: int(site.labels[group[0]]))
