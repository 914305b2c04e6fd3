"""Kernels for a GPU, run on the CPU: the same texts under g++, a thread block at a time.

With RADMPC_TEST_CARD=cuda the same tests run on a card instead.
"""

from __future__ import annotations

import ctypes
import os
import random
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from kernels.cuda.card import gpu
from kernels.cuda.launch import Gpu
from kernels.cuda.source import ROOT
from tests.kernels.emulator import card
from tests.kernels.emulator.guarded import Guarded
from tests.kernels.emulator.spans import Spans

HERE = Path(__file__).parent
FLAGS = (
    "-std=c++17",
    "-O1",
    "-g",
    "-U_FORTIFY_SOURCE",
    "-fPIC",
    "-shared",
    "-fno-strict-aliasing",
    "-Wall",
    "-Wextra",
    # What no card would do as the CPU does: a trap, which needs no library beside it.
    "-fsanitize=alignment,shift,signed-integer-overflow,bounds,integer-divide-by-zero",
    "-fsanitize-undefined-trap-on-error",
)
QUIET = ("-Wno-unknown-pragmas", "-Wno-unused-function", "-Wno-unused-parameter", "-Wno-clobbered")
MOST_ARGUMENTS = 24
ONE_AT_A_TIME = threading.Lock()  # parties are threads, and the emulator is one card


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


@cache
def library(source: str, *kind: str) -> ctypes.CDLL:
    """A source compiled by g++ for the emulator of a kind of card."""
    built = Path(_folder().name) / f"{source}{''.join(kind)}.so"
    text = ROOT / "cuda" / f"{source}.cu"
    kinds = [f"-D{name}" for name in ("EMULATED", *kind)]
    line = [os.environ.get("CXX", "g++"), *FLAGS, *QUIET, "-Werror", *kinds, f"-I{HERE}"]
    subprocess.run([*line, "-x", "c++", str(text), "-o", str(built)], check=True)
    found = ctypes.CDLL(str(built))
    found.emulate.restype = ctypes.c_char_p
    return found


def emulate(
    source: str,
    kernel: str,
    grid: tuple[int, int, int],
    block: int,
    arguments: Sequence[Any],
    shared: int = 0,
    *,
    kind: Sequence[str] = (),
) -> None:
    """See `kernels.cuda.launch.Launch`. The order of threads is drawn anew each time."""
    assert 0 < block <= 1024 and min(grid) > 0 and max(grid[1:]) < 1 << 16
    assert len(arguments) <= MOST_ARGUMENTS
    for i, a in enumerate(arguments):
        assert isinstance(a, np.ndarray | int), f"argument {i} of {kernel} is a {type(a).__name__}"
    spans = Spans(arguments)
    copies = {low: Guarded(low, high) for low, high in spans.bounds}
    there = {low: copy.address for low, copy in copies.items()}
    words = (ctypes.c_uint64 * MOST_ARGUMENTS)()
    for i, a in enumerate(arguments):
        words[i] = spans.moved(a, there) % (1 << 64)
    with ONE_AT_A_TIME:
        said = _run(library(source, *kind), kernel, grid, block, words, len(arguments), shared)
    assert said is None, f"{kernel}: {said.decode()}"
    assert all([copy.back() for copy in copies.values()]), f"{kernel} wrote beside an array"


def _run(found, kernel, grid, block, words, count, shared):
    return found.emulate(
        getattr(found, kernel),
        words,
        count,
        (ctypes.c_uint * 3)(*grid),
        (ctypes.c_uint * 3)(block, 1, 1),
        ctypes.c_long(shared),
        random.getrandbits(32),
    )


ON_A_CARD = os.environ.get("RADMPC_TEST_CARD") == "cuda"
launch = card.launch if ON_A_CARD else emulate


def _gpu() -> Gpu:
    """With the sizes of the card that is there."""
    if not ON_A_CARD:
        return Gpu(np, launch, cores=2, shared_bytes=227 << 10)
    real = gpu(0)
    return replace(real, xp=np, launch=launch, gemm=None)


GPU = _gpu()
