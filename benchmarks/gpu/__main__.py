"""`scripts/gpu-check`: every test that takes a card, then rates beside the card's own ceilings."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What takes a card, and what must be there beside torch, CuPy and mpi4py.
TESTS = {
    "tests/kernels": (),
    "tests/protocols": ("cryptography",),
    "tests/nn/test_card.py": ("cryptography",),
    "tests/cli/test_devices.py": ("cryptography", "pydicom", "rich", "matplotlib"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Check and measure; returns an exit code."""
    parser = argparse.ArgumentParser(prog="scripts/gpu-check", description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), help="what is written")
    parser.add_argument("--no-tests", action="store_true", help="measure only")
    options = parser.parse_args(arguments)

    from kernels.cuda.card import DeviceError, devices

    try:
        names = devices()
    except DeviceError as error:
        print(f"radmpc: {error}", file=sys.stderr)
        return 2
    print(f"card: {names[0]}", flush=True)
    passed = None if options.no_tests else _tests()
    found: dict[str, object] = {"card": names[0], "tests_passed": passed}
    for part in chain([{}], _measured()):  # what the tests said is kept, whatever comes
        found |= part
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"as JSON: {options.json}")
    return 1 if passed is False else 0


def _tests() -> bool:
    """Of the kernels each launch goes to the card, and of the rest each party's shares."""
    paths = []
    for path, needs in TESTS.items():
        if missing := [name for name in needs if find_spec(name) is None]:
            print(f"not run here: {path}, which needs {', '.join(missing)}", flush=True)
        else:
            paths.append(path)
    command = [sys.executable, "-m", "pytest", "-q", "-k", "cuda or card", *paths]
    environment = os.environ | {"RADMPC_TEST_CARD": "cuda"}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


def _measured() -> Iterator[dict[str, object]]:
    """Ceilings and rates, printed as they come; all so far after each."""
    import cupy
    import torch

    from benchmarks.gpu.cases import rates
    from benchmarks.gpu.ceilings import ceilings
    from kernels.cuda import card

    card.use(0)
    limits = ceilings(cupy, torch)
    for name, value in limits.items():
        print(f"{name:52}{value:12.3e}", flush=True)
    yield {"ceilings": limits}
    rows: list[object] = []
    for rate in rates(cupy):
        asked = f"   asked {rate.asked:.1e}" if rate.asked else ""
        print(f"{rate.case:52}{rate.rate:12.3e} {rate.unit} a second{asked}", flush=True)
        rows.append(vars(rate))
        yield {"rates": rows}


if __name__ == "__main__":
    sys.exit(main())
