"""CrypTen programs of one party, each of which checks itself.

`python -m tests.interop.body RESULTS` is one rank under mpirun. All programs run one after the
other; what came of each is written as JSON by rank 0. The first that fails ends the job, since its
peers may wait for it.
"""

import json
import sys
import traceback
from pathlib import Path

from mpc.launch import abort_all
from protocols.interop.crypten import accelerate
from protocols.interop.crypten.importing import crypten
from tests.interop import computing, converting, talking

PROGRAMS = [
    f
    for module in (computing, converting, talking)
    for name, f in vars(module).items()
    if getattr(f, "__module__", "") == module.__name__
    and name.islower()
    and not name.startswith("_")
]


def main():
    results = {}
    accelerate()
    crypten.init()
    rank = crypten.communicator.get().get_rank()
    for program in PROGRAMS:
        try:
            program()
            results[program.__name__] = "passed"
        except BaseException:
            print(f"rank {rank}: {program.__name__}", file=sys.stderr)
            traceback.print_exc()
            abort_all(1, after_s=0.5)
        if rank == 0:
            Path(sys.argv[1]).write_text(json.dumps(results))
    crypten.uninit()


if __name__ == "__main__":
    main()
