"""What each party of CrypTen's tests imports first: radmpc, and `accelerate()` where asked for."""

import os
from multiprocessing.context import ForkServerProcess

from protocols.interop.crypten import accelerate

SWITCH = "RADMPC_CRYPTEN_TESTS_ACCELERATED"

if os.environ.get(SWITCH) == "1":
    accelerate(mpi=False)


class Party(ForkServerProcess):
    """A process in the environment of who starts it, as a spawned one; the server's is older."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._environment = dict(os.environ)

    def run(self):
        os.environ.update(self._environment)
        super().run()
