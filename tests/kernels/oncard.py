"""Arrays that stand for a card's: NumPy's memory, a kind of their own, worked on by the emulator.

Whoever makes a plain NumPy array on the way (a copy to the host, on a real card) is found out:
kernels refuse arrays of two kinds.
"""

from typing import Any

import numpy as np

from kernels.cuda.launch import Gpu
from kernels.cuda.machine import CudaMachine
from kernels.machines import Memory, make_known
from tests.kernels import emulator


class OnCard(np.ndarray):
    """An array as a card would have it."""

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """What NumPy's functions make of it stays on the card, as with CuPy."""
        return on_card(super().__array_function__(function, types, args, kwargs))


def on_card(found: Any) -> Any:
    return found.view(OnCard) if isinstance(found, np.ndarray) else found


class Library:
    """NumPy, making arrays on the card."""

    def __getattr__(self, name: str) -> Any:
        function = getattr(np, name)
        if isinstance(function, type) or not callable(function):
            return function
        return lambda *args, **kwargs: on_card(function(*args, **kwargs))


def launch(source, kernel, grid, block, arguments, shared=0):
    """The emulator's, for arrays that are on the card."""
    for a in arguments:
        assert type(a) in (OnCard, int), f"{kernel} was given a {type(a).__name__} of the host"
    emulator.launch(source, kernel, grid, block, arguments, shared)


GPU = Gpu(Library(), launch, cores=emulator.GPU.cores, shared_bytes=emulator.GPU.shared_bytes)
CARD = Memory(GPU.xp, CudaMachine(GPU), get=lambda a: np.array(a, subok=False))
make_known(OnCard, CARD)
