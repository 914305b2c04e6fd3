"""Seeds and streams: all randomness after the operating system's entropy is ChaCha20 (RFC 8439).

A stream is (seed, domain) and a counter. The key is HKDF-SHA256 of the seed under the domain's
name, so two purposes never share a key; each draw takes the next 96-bit nonce, so no block of a
stream is produced twice. Two parties that hold the same seed draw the same values as long as they
draw in the same order.
"""

from __future__ import annotations

import secrets

import numpy as np
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kernels import prg
from kernels.machines import HOST, Memory
from mpc.errors import OutOfStep, UsageError
from mpc.ring import WORD, Array, Shape

SEED_BYTES = 32


def fresh_seed() -> bytes:
    """32 bytes from the operating system."""
    return secrets.token_bytes(SEED_BYTES)


def derive(seed: bytes, domain: str) -> bytes:
    """A seed for one purpose: HKDF-SHA256 with the domain as its info (RFC 5869)."""
    if len(seed) != SEED_BYTES:
        raise UsageError(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
    info = b"radmpc/1/" + domain.encode()
    return HKDF(algorithm=SHA256(), length=SEED_BYTES, salt=None, info=info).derive(seed)


class Stream:
    """Random words for one purpose; each draw is used once.

    Args:
        seed: 32 bytes, known to exactly the parties that may know the words.
        domain: what the words are for.
        memory: where the words are drawn; they are the same in any.
    """

    def __init__(self, seed: bytes, domain: str, memory: Memory = HOST) -> None:
        """Derive the key; the counter starts at zero."""
        self.key, self._memory = derive(seed, domain), memory
        self._draws = 0

    def take(self) -> bytes:
        """The nonce of the next draw. Taking it spends it."""
        nonce = self._draws.to_bytes(12, "little")
        self._draws += 1
        return nonce

    def random(self, shape: Shape) -> Array:
        """Uniform ring elements of a shape."""
        return self._drawn(shape, self._memory)

    def _drawn(self, shape: Shape, memory: Memory) -> Array:
        return prg.random(shape, self.key, self.take(), memory)

    def integers(self, below: int, n: int) -> Array:
        """n uniform integers in [0, below), on the host, by rejection, so without bias.

        Raises:
            UsageError: `below` is not between 1 and 2^64.
        """
        if not 1 <= below <= 2**64:
            raise UsageError("integers are drawn below a number between 1 and 2^64")
        limit = (2**64 // below) * below
        kept = np.empty(0, WORD)
        while kept.size < n:
            words = self._drawn((n,), HOST)
            kept = np.concatenate([kept, words[words <= WORD(limit - 1)]])
        return kept[:n] if below == 2**64 else kept[:n] % WORD(below)


class PairedStreams:
    """Two streams with one counter; their difference is this party's term of a sharing of zero.

    Party i holds the keys k_i and k_(i+1). Its term F(k_i) - F(k_(i+1)) looks uniform to everyone
    who lacks one of the two keys, that is to each single other party, and the three terms add up to
    zero (Araki et al. 2016, fig. 1).
    """

    def __init__(self, own: Stream, after: Stream) -> None:
        """Own is F(k_i), after is F(k_(i+1)); both must be fresh."""
        self._own, self._after = own, after

    def _nonce(self) -> bytes:
        nonce = self._own.take()
        if self._after.take() != nonce:
            raise OutOfStep("the two streams of a zero share left their common step")
        return nonce

    def add_to(self, out: Array) -> Array:
        """Mask ring elements in place: out += F(k_i) - F(k_(i+1)). Returns out."""
        prg.add_difference(out, self._own.key, self._after.key, self._nonce())
        return out

    def xor_to(self, out: Array) -> Array:
        """Mask bits in place: out ^= F(k_i) ^ F(k_(i+1)). Returns out."""
        prg.xor_both(out, self._own.key, self._after.key, self._nonce())
        return out
