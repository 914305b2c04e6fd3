"""Seeds and streams: the same for those who share them, another for every purpose."""

import hashlib
import hmac
from collections import Counter

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from hypothesis import given
from hypothesis import strategies as st

from kernels import prg as kernel
from mpc import prg
from mpc.errors import OutOfStep, UsageError
from mpc.prg import PairedStreams, Stream, derive, fresh_seed

SEEDS = st.binary(min_size=32, max_size=32)


def hkdf_sha256(key, salt, info, length):
    """RFC 5869, sections 2.2 and 2.3, written out."""
    made, block = b"", b""
    extracted = hmac.digest(salt or bytes(32), key, hashlib.sha256)
    for i in range(-(-length // 32)):
        block = hmac.digest(extracted, block + info + bytes([i + 1]), hashlib.sha256)
        made += block
    return made[:length]


def test_the_hkdf_that_seeds_are_compared_with_is_the_rfcs():
    # RFC 5869, appendix A.1 and A.3.
    made = hkdf_sha256(b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)), 42)
    assert made.hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )
    made = hkdf_sha256(b"\x0b" * 22, b"", b"", 42)
    assert made.hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )


@given(SEEDS, st.text(max_size=40))
def test_a_seed_for_a_purpose_is_hkdf_of_the_seed_with_the_purpose_as_info(seed, domain):
    assert derive(seed, domain) == hkdf_sha256(seed, b"", b"radmpc/1/" + domain.encode(), 32)


@pytest.mark.parametrize("n", [0, 16, 31, 33])
def test_a_seed_of_another_length_is_refused(n):
    with pytest.raises(UsageError, match=f"32 bytes, not {n}"):
        derive(bytes(n), "purpose")


def test_fresh_seeds_come_from_the_operating_system_and_differ():
    assert len({fresh_seed() for _ in range(1000)}) == 1000
    assert all(len(fresh_seed()) == 32 for _ in range(10))


@given(SEEDS, st.lists(st.integers(0, 50), min_size=1, max_size=6))
def test_a_stream_is_determined_by_seed_and_domain(seed, lengths):
    one, other = Stream(seed, "words"), Stream(seed, "words")
    for n in lengths:
        assert np.array_equal(one.random((n,)), other.random((n,)))


def test_each_draw_is_the_chacha20_of_its_own_nonce():
    seed = bytes(range(32))
    stream = Stream(seed, "words")
    for draw in range(3):
        nonce = draw.to_bytes(12, "little")
        cipher = Cipher(algorithms.ChaCha20(derive(seed, "words"), bytes(4) + nonce), mode=None)
        expected = np.frombuffer(cipher.encryptor().update(bytes(8 * 35)), "<u8").reshape(5, 7)
        assert np.array_equal(stream.random((5, 7)), expected)


@given(SEEDS, SEEDS, st.text(max_size=9), st.text(max_size=9))
def test_streams_of_other_seeds_or_domains_have_nothing_in_common(seed, seed2, domain, domain2):
    draws = {
        (s, d): set(Stream(s, d).random((40,)).tolist())
        for s in (seed, seed2)
        for d in (domain, domain2)
    }
    # Two of 40 words are equal by chance once in 10^16.
    assert len(set().union(*draws.values())) == 40 * len(draws)


def test_no_two_draws_of_a_stream_have_a_word_in_common():
    stream = Stream(bytes(32), "words")
    draws = [stream.random((100,)) for _ in range(50)] + [stream.random((10, 10)).reshape(-1)]
    assert np.unique(np.concatenate(draws)).size == 51 * 100


@given(SEEDS, st.integers(1, 2**64), st.integers(0, 60))
def test_integers_are_in_range_and_as_many_as_asked_for(seed, below, n):
    drawn = Stream(seed, "integers").integers(below, n)
    assert drawn.dtype == np.uint64 and drawn.shape == (n,)
    assert all(int(v) < below for v in drawn)


@pytest.mark.parametrize("below", [0, -1, 2**64 + 1])
def test_integers_below_what_a_word_cannot_reach_are_refused(below):
    with pytest.raises(UsageError):
        Stream(bytes(32), "integers").integers(below, 1)


def test_integers_are_drawn_by_rejection_and_so_without_bias(monkeypatch):
    """Below 3·2^62, a quarter of the words is rejected; a remainder would favour the lowest."""
    below = 3 << 62
    words = Stream(bytes(32), "integers")
    kept = [int(w) for _ in range(2) for w in words.random((500,)) if int(w) < below]
    drawn = Stream(bytes(32), "integers").integers(below, 500)
    assert drawn.tolist() == kept[:500]
    limits = Stream(bytes(32), "x")
    edge = np.array([2**64 - 1, 2**64 - 2, 7, 2**64 - 1, 8], np.uint64)  # 2^64 = 1 (mod 3)
    monkeypatch.setattr(limits, "_drawn", lambda shape, _memory: edge[: shape[0]])
    assert limits.integers(3, 2).tolist() == [(2**64 - 2) % 3, (2**64 - 2) % 3]


def test_integers_below_six_are_uniform():
    """Chi-squared with 5 degrees of freedom passes 35 once in 10^6; the seed is fixed."""
    n = 60_000
    counts = Counter(Stream(bytes(32), "dice").integers(6, n).tolist())
    assert sorted(counts) == list(range(6))
    assert sum((c - n / 6) ** 2 / (n / 6) for c in counts.values()) < 35


def terms(seeds, method, shape):
    """The three parties' terms of a sharing of zero; party i holds seeds i and i + 1."""
    made = []
    for i in range(3):
        pair = PairedStreams(*(Stream(seeds[j % 3], "zero") for j in (i, i + 1)))
        made.append([getattr(pair, method)(np.zeros(shape, np.uint64)) for _ in range(3)])
    return made


@given(st.tuples(SEEDS, SEEDS, SEEDS), st.sampled_from([(0,), (1,), (17,), (3, 5), ()]))
def test_the_terms_of_three_parties_add_up_to_zero(seeds, shape):
    for a, b, c in zip(*terms(seeds, "add_to", shape), strict=True):
        assert a.shape == shape and not np.any(a + b + c)


@given(st.tuples(SEEDS, SEEDS, SEEDS), st.sampled_from([(0,), (1,), (17,), (3, 5)]))
def test_the_bits_of_three_parties_xor_to_zero(seeds, shape):
    for a, b, c in zip(*terms(seeds, "xor_to", shape), strict=True):
        assert a.shape == shape and not np.any(a ^ b ^ c)


def test_no_single_term_is_zero_and_no_draw_repeats():
    made = terms([bytes([i]) * 32 for i in range(3)], "add_to", (50,))
    every = np.concatenate([word for party in made for word in party])
    assert np.unique(every).size == 3 * 3 * 50 and np.all(every != 0)


def test_paired_streams_that_left_their_common_step_are_out_of_step():
    own, after = Stream(bytes(32), "zero"), Stream(b"1" * 32, "zero")
    own.take()
    with pytest.raises(OutOfStep, match="zero share"):
        PairedStreams(own, after).add_to(np.zeros(3, np.uint64))


def test_streams_come_from_the_kernel_and_from_nowhere_else():
    assert prg.prg is kernel
