"""The command `radmpc`: train, infer, open, plan, deal, phantom, protocols, doctor, demo."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mpc import __version__
from mpc.errors import UsageError
from protocols.cli.console import complain
from protocols.cli.deal import deal_items
from protocols.cli.demo import demo
from protocols.cli.doctor import doctor
from protocols.cli.infer import infer
from protocols.cli.jobfile import check_names
from protocols.cli.plan.cohort import parse_told
from protocols.cli.plan.command import plan
from protocols.cli.release import check_site, release
from protocols.cli.start import USAGE, start
from protocols.cli.table import protocols_table
from protocols.cli.train import train
from protocols.radiology.phantom import write_cohort

__all__ = ["main"]

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns an exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    try:
        code = _dispatch(options, given)
        sys.stdout.flush()
        return code
    except UsageError as error:
        complain(str(error))
        return USAGE
    except MemoryError:
        complain(f"this {options.command} needs more memory than this machine has")
        return USAGE
    except BrokenPipeError:  # such as `radmpc protocols | head`; Python would complain at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        complain(f"{error.strerror or type(error).__name__}: {error.filename or options.command}")
        return USAGE
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED


def _dispatch(options: argparse.Namespace, given: Sequence[str]) -> int:
    match options.command:
        case "train":
            return start(options.job, train, given)
        case "infer":
            return start(options.job, lambda run: infer(run, options.epoch), given)
        case "open":
            return start(
                options.job,
                lambda run: release(run, options.to, options.epoch),
                given,
                check=lambda job: check_site(job, options.to),
            )
        case "plan":
            return plan(
                options.job,
                options.of,
                studies=parse_told(options.studies),
                rtt=options.rtt,
                bandwidth=options.bandwidth,
                to=options.json,
            )
        case "deal":
            return deal_items(options.job, options.of, parse_told(options.studies))
        case "phantom":
            return _phantom(options)
        case "protocols":
            print(protocols_table(), end="")
            return 0
        case "doctor":
            return doctor()
        case _:
            return demo(options.folder, small=options.small)


def _phantom(options: argparse.Namespace) -> int:
    sites = tuple(options.sites.split(","))
    check_names(sites)
    for site in sites:
        folder = options.folder / site
        if folder.exists() and (not folder.is_dir() or next(folder.iterdir(), None) is not None):
            raise UsageError(f"{folder} is there already, and is not empty: choose another folder")
    folders = write_cohort(
        options.folder,
        sites=sites,
        patients=options.patients,
        size=options.size,
        seed=options.seed,
    )
    for name, folder in folders.items():
        print(f"{name}: {len(list(folder.glob('*.dcm')))} studies in {folder}")
    return 0


def _epoch(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError("choose a whole number from 1 up")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="radmpc",
        description="Train and run a radiology CNN on secret-shared DICOM images.",
    )
    parser.add_argument("--version", action="version", version=f"radmpc {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    for name, text in (
        ("train", "train a model among the sites of a job"),
        ("infer", "classify each site's new studies; results go to that site alone"),
        ("open", "release a trained model to one site, as a PyTorch state dict"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("job", type=Path, metavar="JOB.toml")
        if name == "open":
            command.add_argument("--to", required=True, metavar="SITE", help="who gets it")
        if name != "train":
            command.add_argument(
                "--epoch",
                type=_epoch,
                metavar="N",
                help="the weights after this epoch, of which the last two are kept",
            )

    for name, text in (
        ("plan", "what a job will cost under each protocol: rounds, bytes, memory, time"),
        ("deal", "make a job's correlated randomness ahead, as files"),
    ):
        ahead = commands.add_parser(name, help=text, description=text)
        ahead.add_argument("job", type=Path, metavar="JOB.toml")
        ahead.add_argument(
            "--command",
            dest="of",
            choices=("train", "infer"),
            default="train",
            help="the command that will be run (default train)",
        )
        ahead.add_argument(
            "--studies",
            action="append",
            default=[],
            metavar="SITE=N",
            help="of a site whose files are not here: how many; N+M to train and to test on",
        )
        if name == "plan":
            ahead.add_argument("--rtt", metavar="TIME", help="round trip between sites: 40ms")
            ahead.add_argument("--bandwidth", metavar="RATE", help="of each site: 100Mbit")
            ahead.add_argument(
                "--json", type=Path, metavar="FILE", help="write the plan there, too"
            )

    phantom = commands.add_parser("phantom", help="write a reproducible cohort of CT-like files")
    phantom.add_argument("folder", type=Path)
    phantom.add_argument("--sites", default="north,south,west", help="names, with commas between")
    phantom.add_argument("--patients", type=int, default=80, help="at each site (default 80)")
    phantom.add_argument("--size", type=int, default=64, help="pixels a side (default 64)")
    phantom.add_argument("--seed", type=int, default=0, help="the same seed writes the same files")

    commands.add_parser("protocols", help="what each protocol assumes, withstands and costs")
    commands.add_parser("doctor", help="what this machine has: versions, MPI, cores, GPU, decoders")
    show = commands.add_parser("demo", help="the whole job on a phantom cohort, on this machine")
    show.add_argument("folder", type=Path, nargs="?", default=Path("demo"))
    show.add_argument("--small", action="store_true", help="fewer patients and epochs, for tests")
    return parser
