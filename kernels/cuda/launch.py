"""What starts kernels: CuPy on a card (`card`), or in tests an emulator of a thread block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

import numpy as np

from kernels.array import Array

THREADS = 256  # of a block, where a kernel is one loop over elements
WAVES = 16  # blocks of such a kernel for each core of the card


# gemm(out, a, b) does out = a b^T, int32 from int8, as long as no sum wraps. Each is rows of an
# array; rows of a and b have the length of a multiple of 32, and their number is one of 16.
Gemm: TypeAlias = Callable[[Array, Array, Array], None]


class Launch(Protocol):
    """Starts a kernel."""

    def __call__(
        self,
        source: str,
        kernel: str,
        grid: tuple[int, int, int],
        block: int,
        arguments: Sequence[Any],
        shared: int = 0,
    ) -> None:
        """Start `kernel` of a source.

        Args:
            source: name of a text in kernels/src/cuda, without its suffix.
            kernel: name of an entry point in it.
            grid: blocks in each direction.
            block: threads of a block.
            arguments: arrays, whose pointers are handed on, and integers of 8 bytes.
            shared: bytes of dynamic shared memory.
        """


@dataclass(frozen=True, eq=False)
class Gpu:
    """A card, or what stands for one.

    Args:
        xp: the array library, `cupy`; it makes arrays in this card's memory.
        launch: starts kernels on it.
        cores: its streaming multiprocessors.
        shared_bytes: dynamic shared memory that a block may have.
        gemm: a library's product of signed bytes; None where there is none.
        hopper: whether it has the instructions of compute capability 9.0 alone.
        kept_bytes: of what may be kept of steady arrays, by each process that uses the card.
    """

    xp: Any
    launch: Launch
    cores: int
    shared_bytes: int
    gemm: Gemm | None = None
    hopper: bool = False
    kept_bytes: int = 2 << 30  # digits of 128 million weights in replicated shares

    def table(self, words: tuple[int, ...]) -> Array:
        """Integers of 8 bytes on the card, as a kernel reads sizes; the same ones are sent once."""
        return _table(self, words)

    def each(self, source: str, kernel: str, *arguments: Any, n: int) -> None:
        """Start a kernel that loops over n elements, with n as its last argument."""
        if n:
            blocks = min(-(-n // THREADS), WAVES * self.cores)
            self.launch(source, kernel, (blocks, 1, 1), THREADS, (*arguments, n))


@lru_cache(maxsize=4096)
def _table(gpu: Gpu, words: tuple[int, ...]) -> Array:
    found: Array = gpu.xp.asarray(np.array(words, np.int64))
    return found
