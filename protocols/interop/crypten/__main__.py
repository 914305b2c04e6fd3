"""An unchanged CrypTen program: `mpirun -n 2 python -m protocols.interop.crypten PROGRAM`.

What follows the program's name are its arguments. Without mpirun, CrypTen's own processes are the
parties, as far as the program forks them (`run_multiprocess` does).
"""

from __future__ import annotations

import runpy
import sys
import traceback
from pathlib import Path

from mpc.errors import MpcError
from mpc.launch import abort_all, under_mpirun
from protocols.interop.crypten.acceleration import accelerate


def main() -> None:
    """Run the program as `__main__`."""
    if len(sys.argv) < 2 or not Path(sys.argv[1]).exists():
        print("usage: python -m protocols.interop.crypten PROGRAM [ARGUMENTS…]", file=sys.stderr)
        raise SystemExit(2)
    accelerate()
    program = sys.argv[1]
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(program).resolve().parent)  # as where Python itself runs it
    try:
        runpy.run_path(program, run_name="__main__")
    except Exception as error:
        if not under_mpirun():
            raise
        # Code and line, and the kind of error; its text might quote a value, unless it is ours.
        frames = "".join(traceback.format_tb(error.__traceback__))
        text = f": {error}" if isinstance(error, MpcError) else ""
        print(f"{frames}{type(error).__name__}{text}", file=sys.stderr)
        abort_all(1, after_s=1.0)  # leaving Python would wait for every rank


if __name__ == "__main__":
    main()
