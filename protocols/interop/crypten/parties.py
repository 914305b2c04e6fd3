"""CrypTen's `run_multiprocess` where mpirun has started the parties already."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from mpc.errors import UsageError
from mpc.party import Party
from protocols.interop.crypten.communicator import MpiCommunicator
from protocols.interop.crypten.importing import crypten

Function = Callable[..., Any]


def run_multiprocess(world_size: int, maxsize: int | None = None) -> Callable[[Function], Function]:
    """A replacement of CrypTen's decorator: the function runs here, as the party of this rank.

    What it returns is a list with this party's value at its place and None elsewhere: what another
    party found out is not this one's to see.

    Args:
        world_size: how many parties the function needs.
        maxsize: of the queue that CrypTen's own has; there is none here.
    """

    def decorator(func: Function) -> Function:
        @functools.wraps(func)
        def in_place(*args: Any, **kwargs: Any) -> list[Any]:
            """Run it.

            Raises:
                UsageError: mpirun started another number of ranks.
            """
            is_new = not crypten.is_initialized()
            try:
                if is_new:
                    crypten.init()
                party = _party(world_size)
                value = _run(party, func, *args, **kwargs)
            except BaseException as error:
                if is_new:
                    MpiCommunicator.abandon(type(error).__name__)
                raise
            if is_new:
                crypten.uninit()
            return [value if rank == party.rank else None for rank in range(party.size)]

        return in_place

    return decorator


def _run(party: Party, func: Function, *args: Any, **kwargs: Any) -> Any:
    try:
        return func(*args, **kwargs)
    except BaseException as error:
        party.close(type(error).__name__)  # so that nobody waits for this one
        raise


def _party(world_size: int) -> Party:
    communicator = MpiCommunicator.get()
    if communicator is None:
        raise UsageError("CrypTen was initialised before accelerate(): call that one first")
    party = communicator.party
    if party.size != world_size:
        raise UsageError(
            f"{party.size} ranks were started, but the program asks for {world_size}: "
            f"mpirun -n {world_size}"
        )
    return party
