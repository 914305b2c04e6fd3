"""python -m benchmarks CASE… [--json FILE]: starts its own ranks, prints a row for each case."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.cases import CASES
from benchmarks.peers.beside import SHARED, as_json, side_by_side
from benchmarks.peers.chart import draw
from benchmarks.runner import Result, run
from mpc.launch import mpirun, run_under_mpi, under_mpirun
from mpc.party import Party

PARTIES = 3
HEAD = (
    f"{'case':12} {'protocol':8} {'batch':>5} {'seconds':>9} {'rounds':>7} "
    f"{'MB a party':>11} {'peak MiB':>9}"
)


def main(arguments: list[str] | None = None) -> int:
    """Parse, start ranks if this is not one, run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--json", type=Path, help="write the rows there as well")
    parser.add_argument("--batch", type=int, help="another batch than the case's own")
    parser.add_argument("--repeats", type=int, help="another number of repeats")
    parser.add_argument("--width", type=int, default=64, help="bits of a comparison (default 64)")
    parser.add_argument("--peers", action="store_true", help="run each peer beside ours")
    parser.add_argument(
        "--sittings", type=int, default=2, help="with --peers: how often (default 2)"
    )
    parser.add_argument("--chart", type=Path, help="with --peers: draw the table there")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.cases) - set(CASES))
    if unknown:
        parser.error(f"no case {', '.join(unknown)}: choose from {', '.join(CASES)}")
    if options.peers:
        return _beside(options)
    names = options.cases or list(CASES)
    if not under_mpirun():
        passed = sys.argv[1:] if arguments is None else arguments
        line, environment = mpirun(PARTIES, ["-m", "benchmarks", *passed])
        return subprocess.run(line, env=environment, check=False).returncode

    def program(party: Party) -> list[Result]:
        rows = []
        if party.rank == 0:
            print(HEAD, flush=True)
        for name in names:
            case = CASES[name]
            row = run(
                party,
                case,
                protocol="rep3",
                width=options.width,
                batch=options.batch or case.batch,
                repeats=options.repeats or case.repeats,
            )
            if party.rank == 0:
                print(format_row(row), flush=True)
            rows.append(row)
        if party.rank == 0 and options.json:
            options.json.write_text(json.dumps([r.as_dict() for r in rows], indent=2) + "\n")
        return rows

    run_under_mpi(program, parties=PARTIES)
    return 0


def _beside(options: argparse.Namespace) -> int:
    rows = side_by_side(options.cases or SHARED, options.sittings)
    if options.json:
        options.json.write_text(json.dumps(as_json(rows), indent=2) + "\n")
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
