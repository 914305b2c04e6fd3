"""Ranks for a benchmark: started here, or by the benchmark that asks for a row of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mpc.errors import MpcError
from mpc.launch import abort_all, mpirun, run_under_mpi
from mpc.party import Party

PARTIES = 3
# What mpirun exits with where its own server did not start, before there was a rank. With Open MPI
# 5.0 that happens now and then ("listener thread failed to start"), and not twice in a row.
LAUNCHER_FAILED = 213
ROOT = Path(__file__).resolve().parents[1]


def start(arguments: Sequence[str], parties: int = PARTIES) -> int:
    """Run `python -m benchmarks` with these arguments at every rank; returns its exit code."""
    line, environment = mpirun(parties, ["-m", "benchmarks", *arguments])
    return subprocess.run(line, env=environment, check=False).returncode


def measured(*arguments: str, parties: int = PARTIES, limit_s: float | None = None) -> Any:
    """What `python -m benchmarks` writes with these arguments, from fresh ranks and in silence.

    Raises:
        CalledProcessError: the ranks failed, and have said why; or with 124, they were ended
            after `limit_s`.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        command = ["-m", "benchmarks", *arguments, "--json", str(out)]
        line, environment = mpirun(parties, command)
        if limit_s is not None:  # mpirun is asked to end, so that its ranks end with it
            line = ["timeout", "--kill-after=10", f"{limit_s:.0f}", *line]
        for _ in range(2):
            ran = subprocess.run(
                line, env=environment, stdout=subprocess.DEVNULL, check=False, cwd=ROOT
            )
            if ran.returncode != LAUNCHER_FAILED:
                break
        ran.check_returncode()
        return json.loads(out.read_text())


def on_this_rank(
    program: Callable[[Party], object], out: Path | None, parties: int = PARTIES
) -> int:
    """Run a program as one of the ranks; the first writes what it returns as JSON."""

    def written(party: Party) -> None:
        made = program(party)
        if party.rank == 0 and out is not None:
            write(made, out)

    try:
        run_under_mpi(written, parties=parties)
    except MpcError as error:
        print(error, file=sys.stderr)
        abort_all()
    return 0


def write(made: object, out: Path) -> None:
    """Plain values as JSON."""
    out.write_text(json.dumps(made, indent=2) + "\n")


def say(party: Party, text: str) -> None:
    """Print at the first rank."""
    if party.rank == 0:
        print(text, flush=True)
