"""CrypTen's own tests with and without `accelerate()`, and the difference.

`python -m tests.interop.suite PATH [MODULE…]`; scripts/crypten-tests starts it. PATH is a checkout
of CrypTen's repository at 0.4.1, or where pip installed it, which has the tests as well. They run
as they are, with parties that they spawn, on one torch. Exit status 1 where something passes
without and fails with.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.interop.suite_party import SEED, SWITCH

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("arithmetic", "binary", "mpc", "nn", "autograd", "gradients", "optim")


def outcomes(
    path: Path, module: str, *, accelerated: bool, limit_s: int, seed: int = 0
) -> dict[str, dict]:
    """What became of each test of a module, by its name."""
    environment = os.environ | {
        SWITCH: str(int(accelerated)),
        SEED: str(seed),
        "PYTHONPATH": os.pathsep.join([str(path), str(ROOT)]),
        "OMP_NUM_THREADS": "1",
    }
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.json"
        program = ROOT / "tests" / "interop" / "suite_main.py"
        line = [sys.executable, str(program), f"test.test_{module}", str(results), str(limit_s)]
        ran = subprocess.run(
            line, cwd=path, env=environment, capture_output=True, text=True, check=False
        )
        if not results.exists():
            sys.exit(f"test_{module} could not be run:\n{ran.stderr[-2000:]}")
        return json.loads(results.read_text())


def compared(without: dict[str, dict], with_: dict[str, dict]) -> tuple[list[str], list[str]]:
    """A line for each test whose outcome differs, and which of them got worse."""
    lines, worse = [], []
    for name in sorted(without | with_):
        one = without.get(name, {"outcome": "absent"})
        other = with_.get(name, {"outcome": "absent"})
        if one["outcome"] == other["outcome"]:
            continue
        lines.append(f"{name}: {one['outcome']} without, {other['outcome']} with")
        if one["outcome"] == "passed":
            worse.append(name)
            lines.append("    " + other.get("why", "").strip().replace("\n", "\n    "))
    return lines, worse


def main(arguments: list[str] | None = None) -> int:
    """Run, print, and say by the exit status whether anything got worse."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, help="a checkout of CrypTen, or where it is installed")
    parser.add_argument("modules", nargs="*", default=MODULES, help=f"of {' '.join(MODULES)}")
    parser.add_argument("--seed", type=int, default=0, help="of the tests' inputs, both ways")
    parser.add_argument("--limit", type=int, default=600, help="seconds a test may take")
    asked = parser.parse_args(arguments)
    path = asked.path.resolve()
    if not (path / "test" / "test_arithmetic.py").exists():
        parser.error(f"{path} has no test/test_arithmetic.py")
    failed = False
    for module in asked.modules:
        ways = [
            outcomes(path, module, accelerated=a, limit_s=asked.limit, seed=asked.seed)
            for a in (False, True)
        ]
        counts = [Counter(entry["outcome"] for entry in way.values()) for way in ways]
        seconds = [sum(entry.get("seconds", 0) for entry in way.values()) for way in ways]
        said = [", ".join(f"{n} {what}" for what, n in sorted(c.items())) for c in counts]
        print(f"test_{module}: without {said[0]} ({seconds[0]:.0f} s)", end="; ")
        print(f"with {said[1]} ({seconds[1]:.0f} s)", flush=True)
        lines, worse = compared(*ways)
        for line in lines:
            print(f"  {line}", flush=True)
        failed = failed or bool(worse)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
