"""The items that a job will ask its source for: what `radmpc deal` makes."""

from __future__ import annotations

from dataclasses import replace

from mpc.correlated.items import Item
from protocols.cli.job import Job
from protocols.cli.plan.cohort import Cohort
from protocols.cli.plan.dry import dry_runs
from protocols.cli.plan.expand import expanded


def planned_items(job: Job, command: str, cohort: Cohort) -> list[Item]:
    """What every party of an additive job asks for, in order, with the numbers of a fresh source.

    Args:
        job: the job, whatever its protocol; its sites are the parties.
        command: "train" or "infer".
        cohort: how many studies: see `count_studies`.
    """
    job = replace(job, protocol="additive")
    first = dry_runs(job, command, cohort)[0]
    return expanded(first.parts, first.items)
