"""`radmpc plan JOB.toml`: rounds, bytes, memory and time of a job before it is run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from mpc.errors import UsageError
from mpc.files import write_whole
from protocols.cli.job import Job, read_job
from protocols.cli.manifest import plain, versions
from protocols.cli.plan.choice import recommended
from protocols.cli.plan.cohort import count_studies
from protocols.cli.plan.estimate import estimate, variants
from protocols.cli.plan.rates import Network, this_machine, told
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
        UsageError: the job will not do, or how many studies there are is not known.
    """
    if (rtt is None) != (bandwidth is None):
        raise UsageError("--rtt and --bandwidth tell of a network together: give both, or neither")
    job = read_job(path)
    cohort = count_studies(job, command, studies)
    if command == "infer" and not sum(cohort.new):
        raise UsageError('no site names new studies: add new = "folder" to a [[site]] of the job')
    network = _network(job, rtt, bandwidth)
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


def _network(job: Job, rtt: str | None, bandwidth: str | None) -> Network:
    if rtt is not None and bandwidth is not None:
        return told(rtt, bandwidth)
    return this_machine(len(job.sites))


def _studies(command: str, counts: Mapping[str, tuple[int, ...]]) -> str:
    if command == "infer":
        return f"{sum(counts['new'])} new studies"
    return f"{sum(counts['train'])} studies to train on and {sum(counts['test'])} to test on"
