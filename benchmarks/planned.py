"""A plan beside the run: `python -m benchmarks.planned`, on a machine that does nothing else.

Not one of the cases, since it starts ranks of its own. Rounds and bytes must be equal, which the
tests prove; here the seconds are set beside each other.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from mpc.launch import mpirun
from protocols.cli.job import Job
from protocols.cli.jobfile import read_job
from protocols.cli.plan.cohort import count_studies
from protocols.cli.plan.estimate import estimate
from protocols.cli.plan.rates import this_machine
from protocols.cli.quiet import run_quietly
from protocols.radiology import write_cohort

SITES = ("north", "south", "west", "east")
JOB = """\
protocol = "{protocol}"
{source}
{sites}
[intake]
size = {size}
[training]
epochs = {epochs}
batch = {batch}
rate = 0.03
"""
RUNS = (("rep3", 3, None), ("additive", 2, "file"), ("additive", 2, "dealer"))
RUNS += (("additive", 3, "file"),)


def main(arguments: Sequence[str] | None = None) -> None:
    """Plan and run each of several jobs."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("patients", 80), ("size", 28), ("epochs", 3), ("batch", 32)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args(arguments)
    print(f"{'job':24}{'planned':>10}{'took':>10}{'planned / took':>16}", flush=True)
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_cohort(folder / "cohort", SITES, patients=options.patients, size=options.size, seed=0)
        for protocol, parties, source in RUNS:
            sites = "\n".join(
                f'[[site]]\nname = "{s}"\ndata = "cohort/{s}"\nlabels = "cohort/{s}/labels.csv"'
                for s in SITES[:parties]
            )
            text = JOB.format(
                protocol=protocol,
                source=f'source = "{source}"' if source else "",
                sites=sites,
                size=options.size,
                epochs=options.epochs,
                batch=options.batch,
            )
            path = folder / "job.toml"
            path.write_text(text, encoding="utf-8")
            compare(read_job(path), path)


def compare(job: Job, path: Path) -> None:
    """Print what was planned and what it took."""
    planned = estimate(job, "train", count_studies(job, "train"), this_machine(job.ranks("train")))
    if job.source == "file" and run_here(1, "deal", path):
        raise SystemExit("dealing failed")
    if run_here(job.ranks("train"), "train", path):
        raise SystemExit("the run failed")
    text = (job.folder(0) / "train" / "manifest.json").read_text(encoding="utf-8")
    took, expected = json.loads(text)["seconds"], planned.seconds.total
    name = f"{planned.name}, {len(job.sites)} sites"
    print(f"{name:24}{expected:9.1f}s{took:9.1f}s{expected / took:16.2f}   {planned.seconds}")
    shutil.rmtree(job.output)


def run_here(ranks: int, command: str, path: Path) -> int:
    """Run a command, silently; its exit code."""
    line, environment = mpirun(ranks, ["-m", "protocols.cli", command, str(path)])
    return run_quietly(["sh", "-c", 'exec "$0" "$@" >/dev/null', *line], environment)


if __name__ == "__main__":
    main()
