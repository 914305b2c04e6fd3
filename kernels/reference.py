"""Every kernel in plain NumPy: slow, obvious, the definition that the others are tested against."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any, TypeAlias

import numpy as np

from kernels.array import Array, Shape
from kernels.conv import Geometry

U = np.uint64
Index: TypeAlias = tuple[Any, ...]


# -- products


def multiply(x: Array, y: Array) -> Array:
    """The product x * y, with broadcasting."""
    return np.asarray(x * y)


def matmul(x: Array, y: Array) -> Array:
    """The matrix product x @ y, which NumPy does exactly on integers."""
    return np.asarray(x @ y)


def _positions(kernel: Shape) -> Iterator[Index]:
    return product(*map(range, kernel))


def _windows(padded: Array, geometry: Geometry, at: Index, reach: Shape) -> Array:
    """The view of a padded input that kernel position `at` meets, one entry an output position."""
    cut: Index = tuple(
        slice(a * d, a * d + q * (t - 1) + 1, q)
        for a, d, q, t in zip(at, geometry.dilation, geometry.stride, reach, strict=True)
    )
    return np.asarray(padded[(..., *cut)])


def _pad(x: Array, geometry: Geometry) -> Array:
    return np.pad(x, [(0, 0), (0, 0), *((p, p) for p in geometry.padding)])


def conv(geometry: Geometry, x: Array, weight: Array) -> Array:
    """For each kernel position, a channel product of its window of the input."""
    kernel, g = weight.shape[2:], geometry.groups
    reach = geometry.reach(x.shape[2:], kernel)
    padded = _pad(x, geometry)
    out = np.zeros((x.shape[0], g, weight.shape[0] // g, *reach), x.dtype)
    for at in _positions(kernel):
        window = _windows(padded, geometry, at, reach)
        window = window.reshape(x.shape[0], g, weight.shape[1], *reach)
        w = weight[(..., *at)].reshape(g, weight.shape[0] // g, weight.shape[1])
        out += np.einsum("ngc...,goc->ngo...", window, w)
    return out.reshape(x.shape[0], weight.shape[0], *reach)


def conv_input_grad(
    geometry: Geometry, input_spatial: Shape, grad_out: Array, weight: Array
) -> Array:
    """For each kernel position, what its window receives."""
    n, reach, g = grad_out.shape[0], grad_out.shape[2:], geometry.groups
    grad = grad_out.reshape(n, g, weight.shape[0] // g, *reach)
    padded = _pad(np.zeros((n, weight.shape[1] * g, *input_spatial), grad_out.dtype), geometry)
    for at in _positions(weight.shape[2:]):
        w = weight[(..., *at)].reshape(g, weight.shape[0] // g, weight.shape[1])
        term = np.einsum("ngo...,goc->ngc...", grad, w)
        window = _windows(padded, geometry, at, reach)
        window += term.reshape(window.shape)
    inner: Index = tuple(
        slice(p, p + s) for p, s in zip(geometry.padding, input_spatial, strict=True)
    )
    return padded[(..., *inner)].copy()


def conv_weight_grad(geometry: Geometry, kernel_spatial: Shape, x: Array, grad_out: Array) -> Array:
    """For each kernel position, the product of its window and the gradient, summed over places."""
    n, reach, g = grad_out.shape[0], grad_out.shape[2:], geometry.groups
    places = math.prod(reach)
    grad = grad_out.reshape(n, g, grad_out.shape[1] // g, places)
    padded = _pad(x, geometry)
    out = np.zeros((grad_out.shape[1], x.shape[1] // g, *kernel_spatial), x.dtype)
    for at in _positions(kernel_spatial):
        window = _windows(padded, geometry, at, reach).reshape(n, g, x.shape[1] // g, places)
        out[(..., *at)] = np.einsum("ngos,ngcs->goc", grad, window).reshape(out.shape[:2])
    return out


# -- fused element-wise steps


def _keep(c: Array, mu: Array, fraction: int) -> Array:
    return np.asarray((U(1) - (c >> U(63))) * mu.astype(U) << U(64 - fraction))


def truncation_public(c: Array, rho: Array, mu: Array, fraction: int) -> Array:
    """The evaluator's share that carries the public part."""
    offset = U((1 << 62) >> fraction)
    return np.asarray((c >> U(fraction)) - offset - rho + _keep(c, mu, fraction))


def truncation_private(c: Array, rho: Array, mu: Array, fraction: int) -> Array:
    """The other evaluator's share."""
    return np.asarray(_keep(c, mu, fraction) - rho)


def select_term(c: Array, x: Array, x1: Array, beta: Array, w: Array) -> Array:
    """One evaluator's part of a selection by the public bit plane c."""
    bit = from_planes(c[None], x.size)
    return np.asarray(bit * x + (U(1) - U(2) * bit) * (beta * x1 + w))


# -- ChaCha20

_CONSTANTS = np.frombuffer(b"expand 32-byte k", "<u4")
_COLUMNS = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)]
_DIAGONALS = [(0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]


def _rotate(x: Array, n: int) -> Array:
    return np.asarray((x << np.uint32(n)) | (x >> np.uint32(32 - n)))


def chacha20(n_bytes: int, key: bytes, nonce: bytes, counter: int = 0) -> Array:
    """The first n_bytes of the stream as uint8 (RFC 8439, section 2.3), all blocks side by side."""
    blocks = -(-n_bytes // 64)
    start = np.empty((16, blocks), np.uint32)
    start[:4] = _CONSTANTS[:, None]
    start[4:12] = np.frombuffer(key, "<u4")[:, None]
    start[12] = (counter + np.arange(blocks, dtype=np.uint64)).astype(np.uint32)
    start[13:] = np.frombuffer(nonce, "<u4")[:, None]
    s = start.copy()
    for _ in range(10):
        for a, b, c, d in (*_COLUMNS, *_DIAGONALS):
            s[a] += s[b]
            s[d] = _rotate(s[d] ^ s[a], 16)
            s[c] += s[d]
            s[b] = _rotate(s[b] ^ s[c], 12)
            s[a] += s[b]
            s[d] = _rotate(s[d] ^ s[a], 8)
            s[c] += s[d]
            s[b] = _rotate(s[b] ^ s[c], 7)
    s += start
    return np.ascontiguousarray(s.T).astype("<u4").reshape(-1).view(np.uint8)[:n_bytes]


def stream(like: Array, key: bytes, nonce: bytes) -> Array:
    """The stream in the shape and dtype of `like`."""
    raw = chacha20(like.nbytes, key, nonce)
    return raw.view(like.dtype.newbyteorder("<")).astype(like.dtype).reshape(like.shape)


# -- bit planes


def to_planes(x: Array, k: int, first: int = 0) -> Array:
    """Bit by bit, then 64 bits to a word."""
    x = np.concatenate([x.reshape(-1), np.zeros(-x.size % 64, U)])
    bit = (x >> np.arange(first, first + k, dtype=U)[:, None]) & U(1)
    bit = bit.reshape(k, x.size // 64, 64) << np.arange(64, dtype=U)
    return np.asarray(np.bitwise_or.reduce(bit, axis=2))


def from_planes(planes: Array, n: int) -> Array:
    """Bit by bit."""
    bit = (planes[:, :, None] >> np.arange(64, dtype=U)) & U(1)
    bit = bit.reshape(len(planes), 64 * planes.shape[1])[:, :n]
    bit <<= np.arange(len(planes), dtype=U)[:, None]
    return np.asarray(np.bitwise_or.reduce(bit, axis=0))


def conj(a0: Array, a1: Array, b0: Array, b1: Array) -> Array:
    """The replicated term of an AND."""
    return np.asarray((a0 & (b0 ^ b1)) ^ (a1 & b0))


def carry_step(g0: Array, g1: Array, p0: Array, p1: Array, g_out: Array, p_out: Array) -> None:
    """One level of the carry tree, pair by pair, XORed onto g_out and p_out."""
    for i in range(g_out.shape[0]):
        lo, hi = 2 * i, 2 * i + 1
        g_out[i] ^= g0[hi] ^ conj(p0[hi], p1[hi], g0[lo], g1[lo])
        if i:
            p_out[i - 1] ^= conj(p0[hi], p1[hi], p0[lo], p1[lo])


def _subsets(count: int) -> list[list[int]]:
    """The non-empty subsets of range(count), in the order of their binary numbers."""
    return [[k for k in range(count) if m >> k & 1] for m in range(1, 2**count)]


def _together(rows: Array) -> Array:
    """Rows of words 0 to 7, then of words 8 to 15, and so on, in one line."""
    parts = [rows[:, at : at + 8].reshape(-1) for at in range(0, rows.shape[1], 8)]
    return np.concatenate([np.zeros(0, U), *parts])


def block_products(x: Array, bits: int) -> tuple[Array, Array]:
    """The product of every non-empty subset of the bits of each block of four; bit `bits`."""
    plane = to_planes(x, bits + 1)
    rows = [
        np.bitwise_and.reduce(plane[[start + k for k in subset]])
        for start in range(0, bits, 4)
        for subset in _subsets(min(4, bits - start))
    ]
    return _together(np.stack(rows)), plane[bits:]


def block_carries(t: Array, x: Array, bits: int) -> tuple[Array, Array]:
    """The carry out of each block of t + x, and whether one passes through all but the lowest."""
    a, b = to_planes(t, bits), to_planes(x, bits)
    g, p = a & b, a ^ b
    carries, through = [], []
    for start in range(0, bits, 4):
        block = range(start, min(start + 4, bits))
        carry = np.zeros_like(g[0])
        for k in block:
            carry = g[k] ^ (p[k] & carry)
        carries.append(carry)
        through.append(np.bitwise_and.reduce(p[block.start : block.stop]))
    return np.stack(carries), np.stack(through)[1:]
