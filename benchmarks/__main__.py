"""python -m benchmarks CASE… [--json FILE]: starts its own ranks, prints a row for each case."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.cases import CASES
from benchmarks.peers.beside import SHARED, as_json, machine_rates, side_by_side
from benchmarks.peers.chart import draw
from benchmarks.roofline import measure
from benchmarks.runner import Result, run
from mpc.errors import MpcError
from mpc.launch import abort_all, mpirun, run_under_mpi, under_mpirun
from mpc.party import Party

PARTIES = 3
HEAD = (
    f"{'case':12} {'protocol':8} {'batch':>5} {'seconds':>9} {'rounds':>7} "
    f"{'MB a party':>11} {'peak MiB':>9}"
)


def main(arguments: list[str] | None = None) -> int:
    """Parse, start ranks if this is not one, run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    listed = f"{', '.join(CASES)}; cnn@8 is cnn with a batch of 8"
    parser.add_argument("cases", nargs="*", metavar="CASE", help=listed)
    parser.add_argument("--json", type=Path, help="write the rows there as well")
    parser.add_argument("--batch", type=int, help="another batch than the case's own")
    parser.add_argument("--repeats", type=int, help="another number of repeats")
    parser.add_argument("--width", type=int, default=64, help="bits of a comparison (default 64)")
    parser.add_argument("--peers", action="store_true", help="run each peer beside ours")
    parser.add_argument(
        "--sittings", type=int, default=2, help="with --peers: how often (default 2)"
    )
    parser.add_argument("--roofline", action="store_true", help="what this machine can do")
    parser.add_argument("--chart", type=Path, help="with --peers: draw the table there")
    options = parser.parse_args(arguments)
    unknown = sorted({name for name, _ in map(_sized, options.cases)} - set(CASES))
    if unknown:
        parser.error(f"no case {', '.join(unknown)}: choose from {', '.join(CASES)}")
    if options.peers:
        return _beside(options)
    names = options.cases or [name for name in CASES if name in SHARED]
    if not under_mpirun():
        passed = sys.argv[1:] if arguments is None else arguments
        line, environment = mpirun(PARTIES, ["-m", "benchmarks", *passed])
        return subprocess.run(line, env=environment, check=False).returncode

    if options.roofline:
        return _roofline(options)

    def program(party: Party) -> list[Result]:
        rows = []
        if party.rank == 0:
            print(HEAD, flush=True)
        for name, batch in map(_sized, names):
            case = CASES[name]
            row = run(
                party,
                case,
                protocol="rep3",
                width=options.width,
                batch=batch or options.batch or case.batch,
                repeats=options.repeats or case.repeats,
            )
            if party.rank == 0:
                print(format_row(row), flush=True)
            rows.append(row)
        if party.rank == 0 and options.json:
            options.json.write_text(json.dumps([r.as_dict() for r in rows], indent=2) + "\n")
        return rows

    try:
        run_under_mpi(program, parties=PARTIES)
    except MpcError as error:
        print(error, file=sys.stderr)
        abort_all()
    return 0


def _sized(case: str) -> tuple[str, int]:
    """A case's name and its batch, 0 if none is given."""
    name, _, batch = case.partition("@")
    return name, int(batch) if batch.isdigit() else 0


def _roofline(options: argparse.Namespace) -> int:
    def program(party: Party) -> None:
        machine = measure(party)
        if party.rank == 0:
            print(json.dumps(machine.as_dict()), flush=True)
            if options.json:
                options.json.write_text(json.dumps(machine.as_dict(), indent=2) + "\n")

    run_under_mpi(program, parties=PARTIES)
    return 0


def _beside(options: argparse.Namespace) -> int:
    machine = machine_rates()
    print(json.dumps(machine.as_dict()), flush=True)
    rows = side_by_side(options.cases or SHARED, options.sittings)
    if options.json:
        made = {"machine": machine.as_dict(), "rows": as_json(rows, machine)}
        options.json.write_text(json.dumps(made, indent=2) + "\n")
    if options.chart:
        draw(rows, options.chart)
    return 0


def format_row(row: Result) -> str:
    """One line of the table under `HEAD`."""
    return (
        f"{row.case:12} {row.protocol:8} {row.batch or '':>5} {row.seconds:9.4f} {row.rounds:7d} "
        f"{row.bytes_per_party / 1e6:11.2f} {row.peak_mib:9.0f}"
    )


if __name__ == "__main__":
    sys.exit(main())
