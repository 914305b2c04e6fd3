"""Products whose left side is windows in an image, on Hopper's units: see src/cuda/windows.cu.

Convolutions and their gradients are such products, and so is a plain one, of one tap. The image is
split into digits once, and tiles gather windows out of them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, lru_cache
from math import prod
from typing import Any
from warnings import warn

import numpy as np

from kernels.array import Array
from kernels.cuda import words as word_by_word
from kernels.cuda.digits import BY_CHUNK, CHUNK, THREADS, depth_of, kernel_of, planes_of, row_bytes
from kernels.cuda.launch import Gpu
from kernels.cuda.operand import NONE, ONES, Gather, Side, Target

TILE = 64  # rows and columns of a block
STAGES, ATOM = 6, 256  # of its shared memory; what a stage begins at
MOST_CHUNKS = 32767 // CHUNK  # of a block mod 2^64: its sums of the largest digits stay below 2^31
LEAST_CHUNKS, WAVES = 32, 4  # where several blocks share a tile: chunks of each, blocks for a core
MOST_PLANES = 1 << 31  # bytes of a side's planes, which are made whole
MOST_POSITIONS = 1 << 30  # of a dimension, and rows of an image, which a kernel counts in 32 bits
WEYL = 0x9E3779B97F4A7C15  # odd, and of no pattern
UNSOUND = (
    "products of windows fail on this card, or differ from those word by word, and are not used: "
    "please report this, with the card and its driver"
)
LEAST_ROWS, LEAST_TAPS, LEAST_PRODUCTS = 64, 2, 1 << 28  # see `suits`


def suits(gpu: Gpu, target: Target, a: Side, b: Side) -> bool:
    """Whether a product had better be made so.

    It has to have several taps, or a word would be split no less often than elsewhere; work enough
    for all cores; little padding; and the card has to be trusted with it.
    """
    if not (gpu.hopper and len(target.offsets) == len(a.offsets) == len(b.offsets) == 1):
        return False
    if not _plain(b.gather) or a.gather.column != b.gather.column:
        return False
    image, taps = sides(a, b)
    words = len(a.terms) * image.depth
    return (
        min(a.rows, b.rows) >= LEAST_ROWS
        and prod(a.gather.column[1:]) >= LEAST_TAPS
        and a.rows * b.rows * a.depth * len(a.terms) >= LEAST_PRODUCTS
        and 4 * depth_of(image) <= 5 * words
        and _countable(a, b, image, taps)
        and sound(gpu)
    )


def _countable(a: Side, b: Side, image: Side, taps: Side) -> bool:
    """Whether places and positions fit the 32 bits that the kernel counts them in."""
    return (
        max(side.rows * row_bytes(side) for side in (image, taps)) <= MOST_PLANES
        and max(a.rows, b.rows, image.rows, _reach(a.gather)) < MOST_POSITIONS
    )


@cache
def sound(gpu: Gpu) -> bool:
    """Whether a small product on this card is the one word by word; tried once.

    What matrix units read from shared memory they are told of in bits that no compiler checks: a
    card or a driver that takes them otherwise shall not spoil anything. All stages of shared memory
    are used again, and blocks with odd and even numbers of chunks share a tile.
    """
    try:
        same = _same_as_words(gpu)
    except MemoryError:  # CuPy's is one: it says nothing of these units
        raise
    except Exception as error:  # a compiler or a driver that does not take it; there are other ways
        warn(f"{UNSOUND} ({type(error).__name__})", stacklevel=2)
        return False
    if not same:
        warn(UNSOUND, stacklevel=2)
    return same


def _same_as_words(gpu: Gpu) -> bool:
    xp, m, depth, taps = gpu.xp, 70, 200, 11
    row, one = (0, 0, depth), (0, 0, 1)
    a = Gather((1, 1, 1, m), (depth, 1, 1, taps), 0, 1, one, one, (0, 0, -1), (1, 1, m), row)
    b = Gather(
        (m, *ONES), (depth, 1, 1, taps), depth * taps, 1, NONE, ONES, NONE, (1, 1, taps), row
    )
    target = Target(m, 0, m, 1)
    for word in (np.uint64, np.uint32):
        x, y = (_some(xp, n * depth, word) for n in (m, m * taps))
        made, expected = (xp.zeros((m, m), word) for _ in range(2))
        sides = Side(a, ((x, None),)), Side(b, ((y, None),))
        product(gpu, made, target, *sides)
        word_by_word.product(gpu, expected, target, *sides)
        if bool((made != expected).any()):
            return False
    return True


def _some(xp: Any, n: int, word: Any) -> Array:
    """Words whose digits take all values."""
    found: Array = xp.arange(1, n + 1).astype(word) ** 5 * word(WEYL % 2 ** (8 * word().itemsize))
    return found


def product(gpu: Gpu, out: Array, target: Target, a: Side, b: Side) -> None:
    """Do out += a b^T, where the rows of `a` are windows and `b` has a row for each column.

    Args:
        gpu: a card of Hopper's kind.
        out: what is added to, exactly mod 2^64 or 2^32, by its dtype.
        target: where in it; one product.
        a: windows: each row's parts 1 to 3 and each column's say where it is in the image.
        b: with columns of the same parts, all of which are there.
    """
    if not _plain(b.gather) or a.gather.column != b.gather.column or len(a.terms) != len(b.terms):
        raise ValueError(f"{a.gather} and {b.gather} have no product as windows and taps")
    if not (a.rows and b.rows and a.depth):
        return
    image, taps = sides(a, b)
    if not _countable(a, b, image, taps):
        raise ValueError(f"{a.rows} windows of {a.depth} and {b.rows} columns are too many")
    size, count = out.dtype.itemsize, prod(a.gather.column[1:])
    left, right = (planes_of(gpu, side, order=BY_CHUNK) for side in (image, taps))
    tiles = -(-a.rows // TILE) * -(-b.rows // TILE)
    splits = _splits(gpu, tiles, count * left.depth // CHUNK, size)
    arguments = (
        out.reshape(-1)[target.offsets[0] :],
        target.inner,
        target.outer_step,
        target.inner_step,
        target.column_step,
        left.digits,
        gpu.table(a.gather.words),
        a.rows,
        right.digits,
        b.rows,
        left.depth,
        count,
        splits,
    )
    stage = size * 2 * TILE * CHUNK + TILE * CHUNK  # digits of both sides, and zeros
    shared = STAGES * stage + ATOM
    kernel = kernel_of("windows", out.dtype)
    gpu.launch("windows", kernel, (tiles * splits, 1, 1), THREADS, arguments, shared)


def _splits(gpu: Gpu, tiles: int, chunks: int, size: int) -> int:
    """Blocks of a tile: as many as sums need, and where there are few tiles, as cores can use."""
    needed = -(-chunks // MOST_CHUNKS) if size == 8 else 1
    # Not rounded up, which would begin another wave for a few blocks.
    useful = min(WAVES * gpu.cores // tiles, chunks // LEAST_CHUNKS)
    return max(needed, useful, 1)


def sides(a: Side, b: Side) -> tuple[Side, Side]:
    """The image, a row for each position; and a row for each column of the result and each tap."""
    image, taps = _gathers(a.gather, b.gather)
    return replace(a, gather=image), replace(b, gather=taps)


@lru_cache(maxsize=1024)
def _gathers(a: Gather, b: Gather) -> tuple[Gather, Gather]:
    depth = (a.column[0], *ONES)
    positions = (a.row[0], a.limit[0], a.limit[1], a.limit[2])
    image = Gather(positions, depth, *_steps(a), ONES, limit=a.limit, step=a.step)
    sizes = b.column[1:]
    taps = Gather((b.row[0], *sizes), depth, *_steps(b), ONES, limit=sizes, step=b.step)
    return image, taps


def _steps(g: Gather) -> tuple[int, int]:
    return g.row_step, g.column_step


def _plain(g: Gather) -> bool:
    """Whether a side's columns are all there, one position for each tap."""
    return g.row[1:] == ONES and all(
        size == 1 or (by, origin, limit) == (1, 0, size)
        for size, by, origin, limit in zip(
            g.column[1:], g.by_column, g.origin, g.limit, strict=True
        )
    )


def _reach(g: Gather) -> int:
    """How far from zero a position may be."""
    return max(
        abs(g.origin[d])
        + abs(g.by_row[d]) * (g.row[d + 1] - 1)
        + abs(g.by_column[d]) * (g.column[d + 1] - 1)
        for d in range(len(NONE))
    )
