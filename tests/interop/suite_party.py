"""What each party of CrypTen's tests imports first: radmpc, and `accelerate()` where asked for."""

import os
from multiprocessing.context import ForkServerProcess

import torch

from protocols.interop.crypten import accelerate

SWITCH, SEED = "RADMPC_CRYPTEN_TESTS_ACCELERATED", "RADMPC_CRYPTEN_TESTS_SEED"

if os.environ.get(SWITCH) == "1":
    accelerate(mpi=False)


class Party(ForkServerProcess):
    """A process in the environment of who starts it, as a spawned one; the server's is older."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._environment = dict(os.environ)

    def run(self):
        os.environ.update(self._environment)
        # Both ways get the same inputs: a test that trains a model overflows from some starts,
        # accelerated or not. Masks have seeds of their own.
        torch.manual_seed(int(os.environ[SEED]))
        super().run()
