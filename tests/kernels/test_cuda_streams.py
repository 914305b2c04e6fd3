"""ChaCha20 streams as a card makes them, under the emulator: the bytes of the compiled module."""

import json
from pathlib import Path

import numpy as np
import pytest

from kernels import _native, reference
from kernels.cuda import streams
from tests.kernels.drawing import Words
from tests.kernels.emulator import GPU

VECTORS = json.loads(Path(__file__).with_name("vectors").joinpath("chacha20.json").read_text())
MODES = {
    mode: getattr(_native, mode)
    for mode in ("FILL", "ADD", "SUBTRACT", "XOR", "ADD_DIFFERENCE", "XOR_BOTH")
}
ADDITIVE = ("ADD", "SUBTRACT", "ADD_DIFFERENCE")
DTYPES = (np.uint8, np.uint16, np.uint32, np.uint64)
CASES = [(m, d) for m in MODES for d in DTYPES if m not in ADDITIVE or np.dtype(d).itemsize > 2]
SIZES = (1, 7, 63, 64, 65, 255, 256, 257, 511, 512, 513, 1024, 1029, 2500)
A, B, NONCE = bytes(range(32)), bytes(range(100, 132)), bytes(range(50, 62))
GUARD = 64


def placed(words, n, off):
    """n words that begin `off` bytes past a multiple of 16, and the bytes that they lie among."""
    size = words.dtype.itemsize
    around = np.frombuffer(words.rng.bytes(n * size + 2 * GUARD + 16), np.uint8).copy()
    first = GUARD + (off - around.ctypes.data) % 16
    return around[first : first + n * size].view(words.dtype), around


def drawn(rng):
    return rng.bytes(32), rng.bytes(32), rng.bytes(12)


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda v: v["name"])
def test_the_rfcs_vectors_hold(vector):
    key, nonce = bytes.fromhex(vector["key"]), bytes.fromhex(vector["nonce"])
    out = np.empty(64 * (vector["block"] + 1), np.uint8)
    streams.chacha20(GPU, _native.FILL, out, key, key, nonce)
    assert out[-64:].tobytes().hex() == vector["keystream"]


@pytest.mark.parametrize("mode, dtype", CASES)
def test_streams_are_those_of_the_compiled_module(mode, dtype):
    words = Words(1, dtype)
    for n in SIZES:
        a, b, nonce = drawn(words.rng)
        out, around = placed(words, n, 0)
        expected, before = out.copy(), around.copy()
        _native.chacha20(MODES[mode], expected, a, b, nonce)
        streams.chacha20(GPU, MODES[mode], out, a, b, nonce)
        assert np.array_equal(out, expected), n
        out[:] = 0
        start = out.ctypes.data - around.ctypes.data
        before[start : start + out.nbytes] = 0
        assert np.array_equal(around, before), n


@pytest.mark.parametrize("mode, dtype", CASES)
def test_views_may_begin_at_any_word(mode, dtype):
    words = Words(2, dtype)
    for off in range(words.dtype.itemsize, 16, words.dtype.itemsize):
        out, around = placed(words, 2100 + off, off)
        assert out.ctypes.data % 16 == off
        expected, before = out.copy(), around.copy()
        _native.chacha20(MODES[mode], expected, A, B, NONCE)
        streams.chacha20(GPU, MODES[mode], out, A, B, NONCE)
        assert np.array_equal(out, expected), off
        start = out.ctypes.data - around.ctypes.data
        for outside in (slice(0, start), slice(start + out.nbytes, None)):
            assert np.array_equal(around[outside], before[outside])


@pytest.mark.parametrize("mode, dtype", CASES)
def test_a_block_that_takes_several_tiles_goes_on_counting(mode, dtype):
    """More bytes than all blocks take at once; against the definition."""
    words = Words(3, dtype)
    size = words.dtype.itemsize
    x = words((streams.THREADS * streams.BLOCK_BYTES * 35 + 777) // size // 3 * 3).reshape(3, -1)
    first, second = reference.stream(x, A, NONCE), reference.stream(x, B, NONCE)
    expected = {
        "FILL": lambda: first,
        "ADD": lambda: x + first,
        "SUBTRACT": lambda: x - first,
        "XOR": lambda: x ^ first,
        "ADD_DIFFERENCE": lambda: x + (first - second),
        "XOR_BOTH": lambda: x ^ first ^ second,
    }[mode]()
    out = x.copy()
    streams.chacha20(GPU, MODES[mode], out, A, B, NONCE)
    assert np.array_equal(out, expected)


@pytest.mark.parametrize("mode, dtype", CASES)
def test_nothing_is_started_for_no_words(mode, dtype):
    streams.chacha20(GPU, MODES[mode], np.empty((3, 0), dtype), A, B, NONCE)


def test_keys_go_to_the_card_as_numbers_and_only_where_a_mode_looks_at_them():
    launches = []

    def launch(source, kernel, grid, block, arguments, shared=0):
        launches.append((kernel, grid, arguments))

    gpu = type(GPU)(np, launch, cores=132, shared_bytes=227 << 10)
    out = np.broadcast_to(np.zeros(1, np.uint64), (1 << 32,))  # 32 GiB that take no memory
    for mode in MODES.values():
        streams.chacha20(gpu, mode, out, A, B, NONCE)
    for kernel, grid, (to, n_bytes, *words) in launches:
        assert to is out and n_bytes == 1 << 35 and grid[0] <= 16 * 132
        assert all(type(w) is int for w in words)
        given = np.array(words).tobytes()
        two = "difference" in kernel or "both" in kernel
        assert given == A + NONCE + bytes(4) + (B if two else b"")
