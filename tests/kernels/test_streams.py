"""ChaCha20 against its RFC, another implementation and its definition."""

import json
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from hypothesis import given
from hypothesis import strategies as st

from kernels import prg, reference
from tests.kernels.drawing import RING, SEEDS, Words, some

VECTORS = json.loads(Path(__file__).with_name("vectors").joinpath("chacha20.json").read_text())
KEYS, NONCES = st.binary(min_size=32, max_size=32), st.binary(min_size=12, max_size=12)
LENGTHS = st.one_of(st.integers(0, 300), st.sampled_from([1023, 1024, 1025, 4097]))
UNSIGNED = (np.uint8, np.uint16, np.uint32, np.uint64)


def by_cryptography(n_bytes, key, nonce):
    cipher = Cipher(algorithms.ChaCha20(key, bytes(4) + nonce), mode=None)
    return np.frombuffer(cipher.encryptor().update(bytes(n_bytes)), np.uint8)


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda v: v["name"])
def test_the_rfcs_vectors_hold(machine, vector):
    key, nonce = bytes.fromhex(vector["key"]), bytes.fromhex(vector["nonce"])
    end = 64 * (vector["block"] + 1)
    out = np.empty(end, np.uint8)
    prg.fill(out, key, nonce)
    assert out[-64:].tobytes().hex() == vector["keystream"]
    assert reference.chacha20(end, key, nonce)[-64:].tobytes().hex() == vector["keystream"]


def test_a_long_stream_is_the_one_of_cryptography(machine):
    key, nonce = bytes(range(32)), bytes(range(12))
    out = np.empty(3_000_001, np.uint8)
    prg.fill(out, key, nonce)
    assert np.array_equal(out, by_cryptography(out.size, key, nonce))


@some
@given(n=LENGTHS, key=KEYS, nonce=NONCES)
def test_words_are_the_bytes_of_the_stream_in_little_endian_order(machine, n, key, nonce):
    stream = by_cryptography(8 * n, key, nonce)
    assert np.array_equal(prg.random(n, key, nonce), stream.view("<u8"))
    assert np.array_equal(prg.random((1, n), key, nonce)[0], stream.view("<u8"))
    for dtype in UNSIGNED:
        out = np.empty(n, dtype)
        prg.fill(out, key, nonce)
        assert np.array_equal(out, stream[: out.nbytes].view(dtype))
        assert np.array_equal(out, reference.stream(out, key, nonce))


@pytest.mark.parametrize("dtype", RING)
@some
@given(n=LENGTHS, a=KEYS, b=KEYS, nonce=NONCES, seed=SEEDS)
def test_streams_are_added_in_the_ring_of_the_words(machine, dtype, n, a, b, nonce, seed):
    x = Words(seed, dtype)(n)
    A, B = reference.stream(x, a, nonce), reference.stream(x, b, nonce)
    for step, expected in (
        (lambda out: prg.add(out, a, nonce), x + A),
        (lambda out: prg.subtract(out, a, nonce), x - A),
        (lambda out: prg.add_difference(out, a, b, nonce), x + A - B),
    ):
        out = x.copy()
        step(out)
        assert np.array_equal(out, expected)


@pytest.mark.parametrize("dtype", UNSIGNED)
@some
@given(n=LENGTHS, a=KEYS, b=KEYS, nonce=NONCES, seed=SEEDS)
def test_streams_are_xored_onto_any_unsigned_words(machine, dtype, n, a, b, nonce, seed):
    x = Words(seed, dtype)(n)
    once, both = x.copy(), x.copy()
    prg.xor(once, a, nonce)
    prg.xor_both(both, a, b, nonce)
    assert np.array_equal(once, x ^ reference.stream(x, a, nonce))
    assert np.array_equal(both, once ^ reference.stream(x, b, nonce))


def test_a_key_or_nonce_of_another_length_raises():
    for key, nonce in ((bytes(31), bytes(12)), (bytes(32), bytes(8)), ("k" * 32, bytes(12))):
        with pytest.raises(ValueError, match="ChaCha20"):
            prg.random(3, key, nonce)


def test_a_stream_past_its_block_counter_raises_before_anything_is_written():
    endless = np.broadcast_to(np.zeros(1, np.uint64), (1 << 36,))  # takes no memory
    with pytest.raises(ValueError, match="C-contiguous"):
        prg.fill(endless, bytes(32), bytes(12))
    mapped = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), ((64 << 32) + 1,), (1,))
    with pytest.raises(ValueError, match="one ChaCha20 stream has"):
        prg.fill(mapped, bytes(32), bytes(12))


def test_a_target_that_is_not_contiguous_unsigned_words_raises():
    with pytest.raises(ValueError, match="C-contiguous"):
        prg.fill(np.zeros((4, 4), np.uint64).T[:2], bytes(32), bytes(12))
    with pytest.raises(TypeError):
        prg.fill(np.zeros(4, np.int64), bytes(32), bytes(12))
    with pytest.raises(TypeError):
        prg.add(np.zeros(4, np.uint8), bytes(32), bytes(12))
