"""The work that is timed, and the rates that were asked for on an H100."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from benchmarks.gpu.timing import seconds
from kernels import prg
from kernels.cuda import card, convolutions, products, windows, words
from kernels.cuda.operand import Side, Target, matrix
from protocols.base import CHUNK, CHUNK_ON_CARDS

SIDE = 4096
IMAGES = (32, 256, 56, 56)
STREAM = 1 << 32  # bytes
LIMB_PRODUCTS = 10  # of the pairs of four limbs of 16 bits, those that matter mod 2^64
VALUES = 10**8
SAID = 1 << 26  # words that peers say: more than a card's cache, so that they come from its memory
MACS = "multiply-adds"


@dataclass(frozen=True)
class Rate:
    """Of a case: its name, work a second, the unit of work, and what was asked for."""

    case: str
    rate: float
    unit: str
    asked: float | None = None


Timed = Callable[[Any], Iterator[Rate]]


def random(cupy: Any, shape: tuple[int, ...], dtype: Any = np.uint64) -> Any:
    """Uniform words, others each time: never zeros, on which a card may run faster."""
    out = cupy.empty(shape, dtype)
    prg.fill(out, bytes(32), next(_NONCES).to_bytes(12, "little"))
    return out


_NONCES = count()


def ring(cupy: Any, dtype: Any, asked: float) -> Iterator[Rate]:
    """A product of large matrices as it is made, and each way to it; what two of them make is one.

    Raises:
        ArithmeticError: it is not.
    """
    gpu, name = card.gpu(cupy.cuda.Device().id), f"ring-{8 * np.dtype(dtype).itemsize} product"
    x, y, out = (random(cupy, (SIDE, SIDE), dtype) for _ in range(3))
    ours = replace(gpu, gemm=None)
    found = [cupy.zeros_like(out) for _ in range(2)]
    for way, made in zip((gpu, ours), found, strict=True):
        products.matmul_add(way, made, x, y)
    if wrong := int(cupy.count_nonzero(found[0] != found[1])):
        raise ArithmeticError(f"{wrong} of {out.size} elements differ between two ways")
    sides = (
        Side(matrix(SIDE, SIDE, SIDE, 1), ((x, None),)),
        Side(matrix(SIDE, SIDE, 1, SIDE), ((y, None),)),
    )
    target = Target(SIDE, 0, SIDE, 1)
    ways: dict[str, tuple[Callable[[], None], float | None]] = {
        "": (lambda: products.matmul_add(gpu, out, x, y), asked),
        ", by our kernel of digits": (lambda: products.matmul_add(ours, out, x, y), None),
        ", word by word": (lambda: words.product(gpu, out, target, *sides), None),
    }
    if gpu.hopper:
        ways[", by our kernel for windows"] = (
            lambda: windows.product(gpu, out, target, *sides),
            None,
        )
    for way_name, (work, wanted) in ways.items():
        yield Rate(f"{name} {SIDE}^3{way_name}", SIDE**3 / seconds(cupy, work), MACS, wanted)


def limbs(cupy: Any) -> Iterator[Rate]:
    """What a product by floating point would take at least."""
    a, b = (cupy.random.random((SIDE, SIDE)) for _ in range(2))
    took = LIMB_PRODUCTS * seconds(cupy, lambda: a @ b)
    yield Rate(f"ring-64 product {SIDE}^3, limbs in float64", SIDE**3 / took, MACS)


def convolution(cupy: Any) -> Iterator[Rate]:
    """A layer of a large network, as it is made and without Hopper's units; both make the same.

    Raises:
        ArithmeticError: they do not.
    """
    gpu, (batch, channels, *size) = card.gpu(cupy.cuda.Device().id), IMAGES
    image, weight = random(cupy, IMAGES), random(cupy, (channels, channels, 3, 3))
    walk, ways = ((1, 1), (1, 1), (1, 1), 1), (gpu, replace(gpu, hopper=False))
    found = [cupy.zeros(IMAGES, np.uint64) for _ in ways]
    for way, out in zip(ways, found, strict=True):
        convolutions.conv_add(way, convolutions.FORWARD, *walk, out, image, weight)
    if wrong := int(cupy.count_nonzero(found[0] != found[1])):
        raise ArithmeticError(f"{wrong} of {found[0].size} elements differ between two ways")
    shape = f"3x3, {channels} to {channels}, {size[0]}x{size[1]}, batch {batch}"
    for way, name, asked in zip(ways, ("", ", without windows' own"), (7e12, None), strict=True):
        took = seconds(
            cupy,
            lambda way=way: convolutions.conv_add(
                way, convolutions.FORWARD, *walk, found[0], image, weight
            ),
        )
        work = found[0].size * channels * 9
        yield Rate(f"convolution {shape}{name}", work / took, MACS, asked)


def chacha20(cupy: Any) -> Iterator[Rate]:
    """A stream as long as memory is fast."""
    stream = cupy.empty(STREAM // 8, np.uint64)
    found = STREAM / seconds(cupy, lambda: prg.fill(stream, bytes(32), bytes(12)))
    yield Rate("ChaCha20 to memory", found, "bytes", 600e9)


def signs(cupy: Any, values: int = VALUES, words: int = SAID) -> Iterator[Rate]:
    """Comparisons, as many at once as suit a card, and a CPU, and all: a launch costs time, too."""
    from benchmarks.gpu.comparing import sign_bits

    name = f"sign bit of {values:.0e} values, local work of one party".replace("e+0", "e")
    for at_once in (CHUNK_ON_CARDS, CHUNK, -(-values // 64) * 64):
        work = sign_bits(card.enable(), values, words, at_once)
        found = values / seconds(cupy, work)
        yield Rate(f"{name}, {at_once:,} at once", found, "comparisons", 3e9)
        del work  # its shares' memory is the next one's


CASES: dict[str, Timed] = {
    "ring-64 products": partial(ring, dtype=np.uint64, asked=10e12),
    "ring-32 products": partial(ring, dtype=np.uint32, asked=30e12),
    "limbs": limbs,
    "convolution": convolution,
    "ChaCha20": chacha20,
    "sign bits": signs,
}
