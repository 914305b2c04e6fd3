"""What each party of CrypTen's tests imports first: radmpc, and `accelerate()` where asked for."""

import os

from protocols.interop.crypten import accelerate

SWITCH = "RADMPC_CRYPTEN_TESTS_ACCELERATED"

if os.environ.get(SWITCH) == "1":
    accelerate(mpi=False)
