"""ChaCha20 streams (RFC 8439, section 2.3) written or added straight onto arrays.

A stream is named by a 32-byte key and a 12-byte nonce; its block counter starts at 0 and its bytes
are read as little-endian words. Nothing here keeps state: the caller owns the key, and never uses
a nonce twice. Every function is one pass and raises ValueError for a key, nonce or array it cannot
use or a stream past 2^32 blocks, and TypeError for other dtypes.
"""

from __future__ import annotations

from kernels import _native
from kernels.array import RING_DTYPES, UNSIGNED_DTYPES, WORD, Array, Shape, require, require_target
from kernels.machines import HOST, Memory, machine_of

_LONGEST = 64 << 32  # bytes: the block counter has 32 bits


def _require_stream(out: Array, nonce: bytes, *keys: bytes) -> None:
    require_target(out)
    for key in keys:
        if type(key) is not bytes or len(key) != 32:
            raise ValueError("a ChaCha20 key is 32 bytes")
    if type(nonce) is not bytes or len(nonce) != 12:
        raise ValueError("a ChaCha20 nonce is 12 bytes")
    if out.nbytes > _LONGEST:
        raise ValueError(f"one ChaCha20 stream has {_LONGEST} bytes, {out.nbytes} were asked for")


def fill(out: Array, key: bytes, nonce: bytes) -> None:
    """Overwrite `out`, of any unsigned dtype, with the stream."""
    require(out, dtypes=UNSIGNED_DTYPES)
    _require_stream(out, nonce, key)
    machine_of(out).chacha20(_native.FILL, out, key, key, nonce)


def random(shape: int | Shape, key: bytes, nonce: bytes, memory: Memory = HOST) -> Array:
    """A new uint64 array of this shape, filled with the stream."""
    out: Array = memory.xp.empty(shape, WORD)
    fill(out, key, nonce)
    return out


def add(out: Array, key: bytes, nonce: bytes) -> None:
    """Add the stream to `out` (uint64 or uint32), word by word in its ring."""
    require(out, dtypes=RING_DTYPES)
    _require_stream(out, nonce, key)
    machine_of(out).chacha20(_native.ADD, out, key, key, nonce)


def subtract(out: Array, key: bytes, nonce: bytes) -> None:
    """Subtract the stream from `out` (uint64 or uint32), word by word in its ring."""
    require(out, dtypes=RING_DTYPES)
    _require_stream(out, nonce, key)
    machine_of(out).chacha20(_native.SUBTRACT, out, key, key, nonce)


def xor(out: Array, key: bytes, nonce: bytes) -> None:
    """XOR the stream onto `out`, of any unsigned dtype."""
    require(out, dtypes=UNSIGNED_DTYPES)
    _require_stream(out, nonce, key)
    machine_of(out).chacha20(_native.XOR, out, key, key, nonce)


def add_difference(out: Array, key_a: bytes, key_b: bytes, nonce: bytes) -> None:
    """In one pass, out += A - B for the streams of two keys: a zero share between neighbours."""
    require(out, dtypes=RING_DTYPES)
    _require_stream(out, nonce, key_a, key_b)
    machine_of(out).chacha20(_native.ADD_DIFFERENCE, out, key_a, key_b, nonce)


def xor_both(out: Array, key_a: bytes, key_b: bytes, nonce: bytes) -> None:
    """In one pass, out ^= A ^ B for the streams of two keys: a zero share of bits."""
    require(out, dtypes=UNSIGNED_DTYPES)
    _require_stream(out, nonce, key_a, key_b)
    machine_of(out).chacha20(_native.XOR_BOTH, out, key_a, key_b, nonce)
