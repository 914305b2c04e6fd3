"""Bit planes on a card, one launch each: see `kernels.bits`."""

from __future__ import annotations

from typing import Any

from kernels.array import Array
from kernels.cuda.launch import THREADS, WAVES, Gpu

TILE_THREADS = 128  # of a block, and the words it takes at a time: as in src/cuda/planes.cu
TILE_WORDS = 16
TILE_BYTES = 64 * (TILE_WORDS + 1) * 8
BLOCK = 4  # bits of a carry block
MOST_ROWS = 65535  # of blocks


def to_planes(gpu: Gpu, planes: Array, x: Array, first_bit: int) -> None:
    """Bits first_bit and up of x, uint64[n], as planes: uint64[k, words(n)]."""
    k, width = planes.shape
    if k:
        _each_tile(gpu, "to_planes", width, planes, x, x.size, k, first_bit, width)


def from_planes(gpu: Gpu, x: Array, planes: Array) -> None:
    """The elements whose bit j is plane j, into x."""
    k, width = planes.shape
    _each_tile(gpu, "from_planes", width, x, planes, x.size, k, width)


def conj_to(gpu: Gpu, out: Array, a0: Array, a1: Array, b0: Array, b1: Array) -> None:
    """In place, out ^= (a0 & (b0 ^ b1)) ^ (a1 & b0)."""
    gpu.each("planes", "conj_u64", out, a0, a1, b0, b1, n=out.size)


def carry_step(
    gpu: Gpu, g_out: Array, p_out: Array, g0: Array, g1: Array, p0: Array, p1: Array
) -> None:
    """One level of a carry tree, onto g_out and p_out in place: see `kernels.bits.carry_step`."""
    pairs, width = g_out.shape
    if pairs and width:
        grid = (min(-(-width // THREADS), WAVES * gpu.cores), min(pairs, MOST_ROWS), 1)
        arguments = (g_out, p_out, g0, g1, p0, p1, pairs, width)
        gpu.launch("planes", "carry_level_u64", grid, THREADS, arguments)


def block_products(gpu: Gpu, out: Array, top: Array, x: Array, bits: int) -> None:
    """In place, out and top ^= the products of the blocks of x: see `kernels.bits`."""
    width = top.shape[1]
    rows = _rows(bits)
    _each_tile(gpu, "block_products", width, out, top, x, x.size, bits, rows, width)


def block_carries(
    gpu: Gpu, g: Array, p: Array, top: Array, shared: Array, x: Array, bits: int, whole: bool
) -> None:
    """In place, g, p and top ^= one holder's part of the carries: see `kernels.bits`."""
    width = top.shape[1]
    numbers = (x.size, bits, int(whole), _rows(bits), width)
    _each_tile(gpu, "block_carries", width, g, p, top, shared, x, *numbers)


def _rows(bits: int) -> int:
    """How many products the low `bits` bits have."""
    return ((1 << BLOCK) - 1) * (bits // BLOCK) + (1 << bits % BLOCK) - 1


def _each_tile(gpu: Gpu, kernel: str, width: int, *arguments: Any) -> None:
    """Start a kernel whose blocks take tiles of planes that have `width` words."""
    if width:
        blocks = min(-(-width // TILE_WORDS), WAVES * gpu.cores)
        gpu.launch("planes", kernel, (blocks, 1, 1), TILE_THREADS, arguments, TILE_BYTES)
