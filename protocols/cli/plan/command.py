"""`radmpc plan JOB.toml`: rounds, bytes, memory and time of a job before it is run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from mpc.errors import UsageError
from mpc.files import write_whole
from protocols.cli.jobfile import read_job
from protocols.cli.manifest import plain, versions
from protocols.cli.plan.choice import recommended
from protocols.cli.plan.cohort import count_studies
from protocols.cli.plan.estimate import estimate, variants
from protocols.cli.plan.rates import this_machine, told
from protocols.cli.plan.table import plan_table


def plan(
    path: Path,
    command: str,
    *,
    studies: Mapping[str, str] | None = None,
    rtt: str | None = None,
    bandwidth: str | None = None,
    to: Path | None = None,
) -> int:
    """Print what a command of a job will cost under every protocol that fits its sites.

    Args:
        path: the job file.
        command: "train" or "infer".
        studies: for sites whose files are not here, how many.
        rtt: between the parties, such as "40ms"; with `bandwidth`. Without both, the parties are
            ranks on this machine.
        bandwidth: of each party, such as "100Mbit".
        to: where the plan is written as JSON, too.

    Raises:
        UsageError: the job will not do, how many studies there are is not known, or there is no
            place for the JSON file.
    """
    if (rtt is None) != (bandwidth is None):
        raise UsageError("--rtt and --bandwidth tell of a network together: give both, or neither")
    network = None if rtt is None or bandwidth is None else told(rtt, bandwidth)
    if to is not None:
        _check_place(to)
    job = read_job(path)
    cohort = count_studies(job, command, studies)
    network = network or this_machine(job.ranks(command))
    estimates = [estimate(each, command, cohort, network) for each in variants(job)]
    choice = recommended(estimates)
    where = f"{rtt}, {bandwidth}" if network.apart else "all on this machine"
    title = f"{job.name}: {command} with {_studies(command, cohort._asdict())}, {where}"
    print(plan_table(title, estimates, choice), end="")
    if to is not None:
        found = {
            "job": job.common(),
            "command": command,
            "versions": versions(),
            "studies": cohort._asdict(),
            "network": asdict(network),
            "protocols": [e.as_dict() for e in estimates],
            "recommended": asdict(choice),
        }
        text = json.dumps(plain(found), indent=2, allow_nan=False)
        write_whole(to, text.encode() + b"\n")
        print(f"as JSON: {to}")
    return 0


def _check_place(to: Path) -> None:
    """Before the work, not after it."""
    if to.is_dir():
        raise UsageError(f"--json {to}: this is a folder: name a file")
    if not to.parent.is_dir():
        raise UsageError(f"--json {to}: there is no folder {to.parent}: make it first")
    if not os.access(to.parent, os.W_OK | os.X_OK):
        raise UsageError(f"--json {to}: you may not write into {to.parent}")


def _studies(command: str, counts: Mapping[str, tuple[int, ...]]) -> str:
    if command == "infer":
        return f"{sum(counts['new'])} new studies"
    return f"{sum(counts['train'])} studies to train on and {sum(counts['test'])} to test on"
