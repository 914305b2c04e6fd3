"""python -m benchmarks CASE… [--json FILE]: starts its own ranks, prints a row for each case."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import epoch, roofline, sizes, wide_area
from benchmarks.cases import CASES, Case, sized
from benchmarks.devices import DEVICES, place, require
from benchmarks.peers import two_party
from benchmarks.peers.beside import SHARED, as_json, machine_rates, side_by_side
from benchmarks.peers.chart import draw
from benchmarks.ranks import PARTIES, on_this_rank, say, start, write
from benchmarks.runner import HEAD, format_row, run
from mpc.errors import UsageError
from mpc.launch import under_mpirun
from mpc.party import Party
from protocols.radiology.npz import load_npz

EPOCH_BATCH = 32


def main(arguments: list[str] | None = None) -> int:
    """Parse; then measure run by run, or start the ranks, or be one of them."""
    given = sys.argv[1:] if arguments is None else arguments
    options = _parse(given)
    if (
        options.peers
        or options.two_party
        or options.sizes
        or (options.epoch and not under_mpirun())
    ):
        return _run_by_run(options)
    if not under_mpirun():
        try:
            require(options.device)
        except UsageError as error:
            print(error, file=sys.stderr)
            return 2
        return start(given, options.parties)
    return on_this_rank(_program(options), options.json, options.parties)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    listed = f"{', '.join(CASES)}; cnn@8 is cnn with a batch of 8"
    parser.add_argument("cases", nargs="*", metavar="CASE", help=listed)
    parser.add_argument("--json", type=Path, help="write the rows there as well")
    parser.add_argument("--batch", type=int, help="another batch than the case's own")
    parser.add_argument("--repeats", type=int, help="another number of repeats")
    parser.add_argument("--width", type=int, default=64, help="bits of a comparison (default 64)")
    parser.add_argument(
        "--protocol", choices=("rep3", "additive"), default="rep3", help="of CASE (default rep3)"
    )
    parser.add_argument(
        "--device", choices=DEVICES, default="cpu", help="where shares are (default cpu)"
    )
    parser.add_argument("--parties", type=int, help="with additive: 2 to 4 (default 2)")
    parser.add_argument(
        "--sittings", type=int, default=2, help="with --peers, --two-party: how often (default 2)"
    )
    parser.add_argument("--chart", type=Path, help="with --peers: draw the table there")
    parser.add_argument("--data", type=Path, help="with --epoch: MedMNIST-style .npz")
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--peers", action="store_true", help="run each peer beside ours")
    modes.add_argument("--two-party", action="store_true", help="additive beside CrypTen 2PC")
    modes.add_argument("--roofline", action="store_true", help="what this machine can do")
    modes.add_argument("--sizes", action="store_true", help="cost against size, and memory")
    modes.add_argument("--epoch", action="store_true", help="an epoch of training, CrypTen beside")
    modes.add_argument(
        "--network",
        choices=wide_area.NETWORKS,
        help=f"emulate far links (cases: {', '.join(wide_area.CASES)}); rounds of each layer",
    )
    options = parser.parse_args(arguments)
    unknown = sorted({name for name, _ in map(sized, options.cases)} - set(CASES))
    if unknown:
        parser.error(f"no case {', '.join(unknown)}: choose from {', '.join(CASES)}")
    if options.cases and (options.sizes or options.epoch or options.roofline):
        parser.error("--sizes, --epoch and --roofline take no case")
    options.parties = options.parties or (2 if options.protocol == "additive" else PARTIES)
    if (options.protocol == "rep3") != (options.parties == PARTIES) and options.parties != 3:
        parser.error(f"{options.protocol} does not run with {options.parties} parties")
    others = (options.peers, options.two_party, options.roofline, options.sizes, options.epoch)
    if options.device != "cpu" and (any(others) or options.network):
        parser.error("--device cuda goes with cases alone")
    if options.epoch != (options.data is not None):
        parser.error("--epoch and --data go together")
    return options


# What the ranks do.


def _program(options: argparse.Namespace) -> Callable[[Party], object]:
    if options.roofline:
        return roofline.report
    if options.epoch:
        batch = options.batch or EPOCH_BATCH
        return lambda party: epoch.train(
            party, load_npz(options.data), batch=batch, width=options.width
        )
    if options.network:
        networks = wide_area.NETWORKS[options.network]
        asked = _asked(options, wide_area.CASES)
        repeats = options.repeats or 1
        return lambda party: wide_area.report(
            party, asked, networks, width=options.width, repeats=repeats
        )
    return lambda party: _cases(party, options)


def _asked(options: argparse.Namespace, default: tuple[str, ...]) -> list[tuple[Case, int]]:
    """The cases that were asked for, each with its batch."""
    found = [(CASES[name], batch) for name, batch in map(sized, options.cases or default)]
    return [(case, batch or options.batch or case.batch) for case, batch in found]


def _cases(party: Party, options: argparse.Namespace) -> list[dict[str, object]]:
    rows = []
    device = place(party, options.device)
    say(party, HEAD)
    for case, batch in _asked(options, SHARED):
        repeats = options.repeats or case.repeats
        row = run(
            party,
            case,
            protocol=options.protocol,
            width=options.width,
            batch=batch,
            repeats=repeats,
            device=device,
        )
        say(party, format_row(row))
        rows.append(row.as_dict())
    return rows


# What is measured run by run, each on ranks or in an environment of its own.


def _run_by_run(options: argparse.Namespace) -> int:
    modes = {"peers": _beside, "two_party": _two_party, "sizes": _sizes, "epoch": _epoch}
    compare = next(run for name, run in modes.items() if getattr(options, name))
    try:
        made = compare(options)
    except (UsageError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        write(made, options.json)
    return 0


def _beside(options: argparse.Namespace) -> dict[str, object]:
    machine = machine_rates()
    print(json.dumps(machine.as_dict()), flush=True)
    rows = side_by_side(options.cases or SHARED, options.sittings)
    if options.chart:
        draw(rows, options.chart)
    return {"machine": machine.as_dict(), "rows": as_json(rows, machine)}


def _two_party(options: argparse.Namespace) -> dict[str, object]:
    machine = machine_rates()
    rows = two_party.report(options.cases, options.sittings)
    return {"machine": machine.as_dict(), "rows": rows}


def _sizes(options: argparse.Namespace) -> list[dict[str, object]]:
    repeats = [] if options.repeats is None else ["--repeats", str(options.repeats)]
    return sizes.report(["--width", str(options.width), *repeats])


def _epoch(options: argparse.Namespace) -> dict[str, object]:
    batch = options.batch or EPOCH_BATCH
    return epoch.report(options.data, batch=batch, width=options.width)


if __name__ == "__main__":
    sys.exit(main())
