"""The emulator's place taken by a card: arrays are copied there for each launch, and back."""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np


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

    bounds = [np.lib.array_utils.byte_bounds(a) for a in arguments if isinstance(a, np.ndarray)]
    spans: list[list[int]] = []
    for low, high in sorted(bounds):
        if spans and low < spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], high)
        else:
            spans.append([low, high])
    there = {}
    for low, high in spans:
        # As far from a multiple of 256 as it is here: a card's own memory begins at one.
        here = np.frombuffer(ctypes.string_at(low, high - low), np.uint8)
        room = cupy.empty(high - low + 256, np.uint8)
        there[low] = room[low % 256 : low % 256 + high - low]
        there[low].set(here)

    def moved(a: Any) -> int:
        if not isinstance(a, np.ndarray):
            return int(a)
        at = a.ctypes.data
        low = max((low for low, high in spans if low <= at < max(high, low + 1)), default=None)
        return 0 if low is None else there[low].data.ptr + at - low

    gpu(0).launch(source, kernel, grid, block, [moved(a) for a in arguments], shared)
    cupy.cuda.get_current_stream().synchronize()
    for low, high in spans:
        after = there[low].get().tobytes()
        if after != ctypes.string_at(low, high - low):  # what was only read may be read-only
            ctypes.memmove(low, after, high - low)
