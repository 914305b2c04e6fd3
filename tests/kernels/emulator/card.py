"""The emulator's place taken by a card: arrays are copied there for each launch, and back."""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.kernels.emulator.spans import Spans


def launch(
    source: str,
    kernel: str,
    grid: tuple[int, int, int],
    block: int,
    arguments: Sequence[Any],
    shared: int = 0,
) -> None:
    """See `kernels.cuda.launch.Launch`. Arrays that share memory here share it there."""
    import cupy

    from kernels.cuda.card import gpu

    spans, there = Spans(arguments), {}
    for low, high in spans.bounds:
        # As far from a multiple of 256 as it is here: a card's own memory begins at one.
        here = np.frombuffer(ctypes.string_at(low, high - low), np.uint8)
        room = cupy.empty(high - low + 256, np.uint8)
        there[low] = room[low % 256 : low % 256 + high - low]
        there[low].set(here)
    begins = {low: array.data.ptr for low, array in there.items()}
    gpu(0).launch(source, kernel, grid, block, [spans.moved(a, begins) for a in arguments], shared)
    cupy.cuda.get_current_stream().synchronize()
    for low, high in spans.bounds:
        after = there[low].get().tobytes()
        if after != ctypes.string_at(low, high - low):  # what was only read may be read-only
            ctypes.memmove(low, after, high - low)
