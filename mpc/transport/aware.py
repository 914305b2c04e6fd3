"""Whether the MPI of this process takes a card's memory as it takes the host's."""

from __future__ import annotations

import ctypes
from functools import cache

_CUDA = 0  # MPIX_GPU_SUPPORT_CUDA of MPICH


@cache
def takes_cards() -> bool:
    """Whether MPI says that it is CUDA-aware. One that cannot be asked is taken not to be."""
    from mpi4py import MPI  # importing it initialises MPI, without which there is no answer

    return asked(ctypes.CDLL(MPI.__file__))


def asked(mpi: ctypes.CDLL) -> bool:
    """What a library says, or one that it was linked with: that of mpi4py with MPI itself.

    Open MPI, MPICH and what came of them have the first question, and MPICH the second.
    """
    if (simply := getattr(mpi, "MPIX_Query_cuda_support", None)) is not None:
        return bool(simply())
    if (by_kind := getattr(mpi, "MPIX_GPU_query_support", None)) is not None:
        yes = ctypes.c_int(0)
        return by_kind(_CUDA, ctypes.byref(yes)) == 0 and bool(yes.value)
    return False
