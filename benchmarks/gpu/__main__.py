"""`scripts/gpu-check`: every test that takes a card, then rates beside the card's own ceilings."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# What takes a card, and what must be there beside torch, CuPy and mpi4py.
TESTS = {
    "tests/kernels": (),
    "tests/mpc/test_ring.py": ("cryptography",),
    "tests/mpc/test_party_memory.py": ("cryptography",),
    "tests/protocols": ("cryptography",),
    "tests/nn/test_card.py": ("cryptography",),
    "tests/nn/test_card_inference.py": ("cryptography",),
    "tests/nn/test_handover.py": ("cryptography",),
    "tests/mpi/test_cards.py": ("cryptography",),
    "tests/cli/test_devices.py": ("cryptography", "pydicom", "rich", "matplotlib"),
}
MINUTES = 8.0
FOR_TESTS, FOR_TRAINING = 0.5, 45.0  # of the time, at most; seconds of a training, at least

Found = dict[str, Any]
Part = Callable[[], Iterator[Mapping[str, Any]]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Check and measure; returns an exit code: 1 where a part failed or had no time left."""
    parser = argparse.ArgumentParser(prog="scripts/gpu-check", description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), help="what is written")
    parser.add_argument("--no-tests", action="store_true", help="measure only")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="about, in all (default 8)")
    options = parser.parse_args(arguments)

    from kernels.cuda.card import DeviceError, devices

    try:
        names = devices()
    except DeviceError as error:
        print(f"radmpc: {error}", file=sys.stderr)
        return 2
    print(f"card: {names[0]}", flush=True)
    end = time.monotonic() + 60 * options.minutes
    found: Found = {"card": names[0], "failed": {}}
    parts: dict[str, Part] = {} if options.no_tests else {"tests": lambda: _tests(end)}
    keep(found, parts | measuring(end), options.json, end)
    print(f"as JSON: {options.json}")
    return 1 if found["failed"] else 0


def keep(found: Found, parts: Mapping[str, Part], path: Path, end: float) -> None:
    """Add what each part finds and write all of it, after each; one that fails loses only itself.

    What failed is in `found["failed"]` by its name, with why in one line. So is what was not begun
    by `end`.
    """
    for name, part in parts.items():
        try:
            if time.monotonic() >= end:
                raise TimeoutError("not begun: the time was over")
            for more in part():
                for key, value in more.items():
                    found[key] = _joined(found.get(key), value)
                _write(found, path)
        except Exception as error:  # whatever it is, the other parts are still worth their time
            found["failed"][name] = _one_line(error)
            print(f"failed: {name}", file=sys.stderr)
            traceback.print_exc()
            _write(found, path)


def _joined(before: Any, value: Any) -> Any:
    return (before or type(value)()) + value if isinstance(value, list) else (before or {}) | value


def _write(found: Found, path: Path) -> None:
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _tests(end: float) -> Iterator[Found]:
    """Of the kernels each launch goes to the card, and of the rest each party's shares."""
    paths, left_out = [], {}
    for path, needs in TESTS.items():
        if missing := [name for name in needs if find_spec(name) is None]:
            left_out[path] = f"needs {', '.join(missing)}"
            print(f"not run here: {path}, which {left_out[path]}", flush=True)
        else:
            paths.append(path)
    yield {"tests": {"left_out": left_out, "passed": False}}
    # Another version of pytest will do, and what one of a library warns of is no kernel's fault.
    warnings = ("Deprecation", "PendingDeprecation", "Future")
    lenient = ["-ominversion=8", *(f"-Wdefault::{kind}Warning" for kind in warnings)]
    # Most of a test is its own Python: several share the card. pytest-benchmark would warn of it.
    several = (
        ["-n", str(min(12, os.cpu_count() or 1)), "-pno:benchmark"] if find_spec("xdist") else []
    )
    command = [sys.executable, "-m", "pytest", "-q", "-k", "cuda or card", *lenient, *several]
    command += paths
    environment = os.environ | {"RADMPC_TEST_CARD": "cuda"}
    limit_s = FOR_TESTS * (end - time.monotonic())
    ran = subprocess.run(command, cwd=ROOT, env=environment, timeout=limit_s, check=False)
    if ran.returncode:
        raise AssertionError(f"pytest ended with {ran.returncode}")
    yield {"tests": {"passed": True}}


def measuring(end: float) -> dict[str, Part]:
    """Ceilings, rates and a training: by name, each printed as it comes."""
    from benchmarks.gpu.cases import CASES
    from benchmarks.gpu.ceilings import CEILINGS

    parts: dict[str, Part] = {}
    for name, ceiling in CEILINGS.items():
        parts[name] = lambda name=name, ceiling=ceiling: _ceiling(name, ceiling)
    for name, case in CASES.items():
        parts[name] = lambda case=case: _rates(case)
    return parts | {"training": lambda: _training(end)}


def _ceiling(name: str, ceiling: Callable[[Any], float]) -> Iterator[Found]:
    cupy = _library()
    value = ceiling(cupy)
    print(f"{name:64}{value:12.3e}", flush=True)
    yield {"ceilings": {name: value}}


def _rates(case: Callable[[Any], Iterator[Any]]) -> Iterator[Found]:
    for rate in case(_library()):
        asked = f"   asked {rate.asked:.1e}" if rate.asked else ""
        print(f"{rate.case:64}{rate.rate:12.3e} {rate.unit} a second{asked}", flush=True)
        yield {"rates": [vars(rate)]}


def _training(end: float) -> Iterator[Found]:
    from benchmarks.gpu.training import DEVICES, format_row, training

    _library()  # the ranks need the memory that cases left
    limit_s = max(FOR_TRAINING, (end - time.monotonic()) / len(DEVICES))
    for rows in training(limit_s=limit_s):
        if "ratio" in rows:
            print(f"{rows['ratio']:.1f} times as fast as the CPU, asked {rows['asked']:.0f}")
        else:
            print(format_row([*rows.values()][-1]), flush=True)
        yield {"training": rows}


def _library() -> Any:
    """CuPy on the first card, with all of its memory free."""
    import cupy

    from kernels.cuda import card

    card.use(0)
    cupy.get_default_memory_pool().free_all_blocks()
    return cupy


if __name__ == "__main__":
    sys.exit(main())
