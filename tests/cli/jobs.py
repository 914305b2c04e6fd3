"""Small jobs for tests: their files, and ways to run them under mpirun and in this process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ranks import LAUNCHER_FAILED
from kernels.machines import Memory
from mpc.launch import mpirun, run_parties
from mpc.sources import InsecureSource
from protocols.cli.console import Console
from protocols.cli.jobfile import read_job
from protocols.cli.start import Run, session_of

ROOT = Path(__file__).resolve().parents[2]
SITES = ("north", "south", "west")
FOUR = (*SITES, "east")
RADMPC = ("-m", "protocols.cli")
LAUNCHERS = ("OMPI_", "PMI", "SLURM_", "PRTE_")


def toml(value: Any) -> str:
    """A value as TOML writes it; JSON does for all that the tests need."""
    return json.dumps([*value] if isinstance(value, tuple) else value)


def write_job(
    path: Path,
    sites: Sequence[Mapping[str, Any]] | None = None,
    *,
    top: Mapping[str, Any] | None = None,
    names: Sequence[str] = SITES,
    **tables: Mapping[str, Any],
) -> Path:
    """A job file. Small by default: 16 pixels, one epoch, a model that is fast."""
    if sites is None:
        sites = [
            {
                "name": name,
                "data": f"cohort/{name}",
                "labels": f"cohort/{name}/labels.csv",
                "new": f"new/{name}",
            }
            for name in names
        ]
    parts = {
        "intake": {"size": 16, "classes": ["benign", "malignant"]},
        "model": {"name": "radcnn"},
        "training": {"epochs": 1, "batch": 16},
    }
    for name, table in tables.items():
        parts[name] = {**parts.get(name, {}), **table}
    lines = [f"{k} = {toml(v)}" for k, v in {"output": "out", **(top or {})}.items()]
    for site in sites:
        lines += ["[[site]]", *(f"{k} = {toml(v)}" for k, v in site.items())]
    for name, table in parts.items():
        lines += [f"[{name}]", *(f"{k} = {toml(v)}" for k, v in table.items())]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def environment(**more: str) -> dict[str, str]:
    """This process's, without a launcher's variables, and with radmpc to be found."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHERS)}
    return kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | more


@dataclass(frozen=True)
class Ran:
    """What a command ended with."""

    code: int
    out: str
    err: str

    @property
    def complaints(self) -> list[str]:
        """What radmpc said on standard error, line by line."""
        return [line for line in self.err.splitlines() if line.startswith("radmpc: ")]


def radmpc(*arguments: object, cwd: Path | None = None) -> Ran:
    """`radmpc ARGUMENTS`, outside mpirun."""
    line = [sys.executable, *RADMPC, *map(str, arguments)]
    ran = subprocess.run(
        line, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=200, check=False
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def start_ranks(*commands: Sequence[object]) -> subprocess.Popen[str]:
    """One mpirun that starts a rank for each Python command, as sites with own files do."""
    line, variables = mpirun(1, list(map(str, commands[0])))
    for command in commands[1:]:
        line += [":", "-n", "1", sys.executable, *map(str, command)]
    added = {k: v for k, v in variables.items() if os.environ.get(k) != v}
    return subprocess.Popen(
        line,
        env=environment(**added),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ranks(*commands: Sequence[object]) -> Ran:
    """As `start_ranks`, to the end; again if mpirun's own server did not start."""
    ran = ranks_once(*commands)
    return ranks_once(*commands) if ran.code == LAUNCHER_FAILED else ran


def ranks_once(*commands: Sequence[object]) -> Ran:
    """As `start_ranks`, to the end."""
    with start_ranks(*commands) as started:
        try:
            out, err = started.communicate(timeout=200)
        except subprocess.TimeoutExpired:
            started.kill()
            raise
    return Ran(started.returncode, out, err)


def here(
    paths: Path | Sequence[Path],
    program: Callable[[Run], Any],
    *,
    deadline_s: float = 60,
    memories: Sequence[Memory] = (),
) -> list[Any]:
    """Run a job's program with a thread for each party; what each returned, or what it raised.

    Under "additive" the parties share the insecure source. `memories` are where they keep shares.
    """
    first = read_job(paths if isinstance(paths, Path) else paths[0])
    parties = len(first.sites)
    jobs = [first] * parties if isinstance(paths, Path) else [read_job(path) for path in paths]
    outcomes: list[Any] = [None] * parties

    def at_party(party: Any) -> None:
        job = jobs[party.rank]
        party.name = job.sites[party.rank].name
        if memories:
            party.memory = memories[party.rank]
        party.introduce()
        try:
            source = InsecureSource(party) if job.protocol == "additive" else None
            session = session_of(job, party, source)
            run = Run(job, party, session, Console(party.rank, party.name), source)
            outcomes[party.rank] = program(run)
        except Exception as error:
            outcomes[party.rank] = error
            raise

    try:
        run_parties(parties, at_party, deadline_s=deadline_s)
    except Exception as error:
        if all(outcome is None for outcome in outcomes):
            raise error
    return outcomes


def files(folder: Path) -> set[str]:
    """Every file in a folder, by its path in it."""
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
