"""The work that is timed, and the rates that were asked for on an H100."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.gpu.timing import seconds
from kernels import prg
from kernels.conv import Geometry, conv
from kernels.cuda import card, products, words
from kernels.cuda.operand import Side, Target, matrix

SIDE = 4096
STREAM = 1 << 32  # bytes
LIMB_PRODUCTS = 10  # of the pairs of four limbs of 16 bits, those that matter mod 2^64


@dataclass(frozen=True)
class Rate:
    """Of a case: its name, work a second, the unit of work, and what was asked for."""

    case: str
    rate: float
    unit: str
    asked: float | None


def random(cupy: Any, shape: tuple[int, ...], dtype: Any = np.uint64) -> Any:
    """Uniform words: never zeros, on which a card may run faster."""
    out = cupy.empty(shape, dtype)
    prg.fill(out, bytes(32), bytes(12))
    return out


def rates(cupy: Any) -> Iterator[Rate]:
    """Each case, as it is measured."""
    gpu = card.gpu(cupy.cuda.Device().id)
    macs = SIDE**3
    for dtype, asked in ((np.uint64, 10e12), (np.uint32, 30e12)):
        bits = 8 * np.dtype(dtype).itemsize
        x, y, out = (random(cupy, (SIDE, SIDE), dtype) for _ in range(3))
        found = macs / seconds(cupy, _call(products.matmul_add, gpu, out, x, y))
        yield Rate(f"ring-{bits} product {SIDE}^3, digits", found, "multiply-adds", asked)
        sides = (
            Side(matrix(SIDE, SIDE, SIDE, 1), ((x, None),)),
            Side(matrix(SIDE, SIDE, 1, SIDE), ((y, None),)),
        )
        target = Target(SIDE, 0, SIDE, 1)
        found = macs / seconds(cupy, _call(words.product, gpu, out, target, *sides))
        yield Rate(f"ring-{bits} product {SIDE}^3, word by word", found, "multiply-adds", None)
    a, b = (cupy.random.random((SIDE, SIDE)) for _ in range(2))
    limbs = LIMB_PRODUCTS * seconds(cupy, lambda: a @ b)
    yield Rate(f"ring-64 product {SIDE}^3, limbs in float64", macs / limbs, "multiply-adds", None)
    geometry = Geometry((1, 1), (1, 1), (1, 1))
    image, weight = random(cupy, (32, 256, 56, 56)), random(cupy, (256, 256, 3, 3))
    out, f = cupy.zeros((32, 256, 56, 56), np.uint64), conv(geometry)
    macs = out.size * 256 * 9
    found = macs / seconds(cupy, lambda: f.add_to(out, image, weight))
    yield Rate("convolution 3x3, 256 to 256, 56x56, batch 32", found, "multiply-adds", 7e12)
    stream = cupy.empty(STREAM // 8, np.uint64)
    found = STREAM / seconds(cupy, lambda: prg.fill(stream, bytes(32), bytes(12)))
    yield Rate("ChaCha20 to memory", found, "bytes", 600e9)


def _call(f: Callable[..., None], *arguments: Any) -> Callable[[], None]:
    return lambda: f(*arguments)
