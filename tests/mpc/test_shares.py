"""Share types: frozen, and only for maps that are linear."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc.correlated.replicated import ReplicatedStreams
from mpc.prg import Stream
from mpc.shares import Additive, Bits, Plain, Rep3, Summand

WORDS = st.integers(0, 2**32).map(
    lambda seed: np.random.default_rng(seed).integers(0, 2**64, (3, 4, 5), np.uint64)
)
LINEAR = {
    "sum": (lambda a, b: a + b, 2),
    "difference": (lambda a, b: a - b, 2),
    "multiple": (lambda a: a * np.uint64(2**63 + 5), 1),
    "turned": (lambda a: a.T, 1),
    "summed": (lambda a: a.sum(0), 1),
    "to a number": (lambda a: a.sum(), 1),
    "joined": (lambda a, b: np.concatenate([a, b]), 2),
}


def rep3(x, r):
    """Three parties' parts of x, from two random terms and what is left."""
    terms = (r[0], r[1], x - r[0] - r[1])
    return [Rep3(terms[i], terms[(i + 1) % 3]) for i in range(3)]


def additive(x, r):
    """Three parties' terms of x, from two random ones and what is left."""
    return [Additive(r[0]), Additive(r[1]), Additive(x - r[0] - r[1])]


def opened(parts):
    for i in range(3 if isinstance(parts[0], Rep3) else 0):
        assert np.array_equal(parts[i].next, parts[(i + 1) % 3].own)
    return sum(part.own for part in parts)


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("share", [rep3, additive])
@given(x=WORDS, r=WORDS, s=WORDS)
def test_a_linear_map_of_the_terms_is_the_map_of_what_is_shared(share, name, x, r, s):
    f, arity = LINEAR[name]
    shares = [share(x[0], r), share(x[1], s)][:arity]
    mapped = [parts[0].map(f, *parts[1:]) for parts in zip(*shares, strict=True)]
    assert np.array_equal(opened(mapped), f(*x[:arity]))
    assert all(part.shape == np.shape(f(*x[:arity])) for part in mapped)
    assert np.array_equal(Plain(x[0]).map(f, *map(Plain, x[1:arity])).value, f(*x[:arity]))


def test_a_share_is_frozen_and_built_again_from_its_terms():
    for part in (
        Plain(np.arange(3)),
        Rep3(np.arange(3), np.arange(3, 6)),
        Additive(np.arange(3)),
        Summand(np.arange(3)),
    ):
        for field in dataclasses.fields(part):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(part, field.name, np.zeros(3))
        assert part.shape == (3,)
        assert repr(part) == f"{type(part).__name__}(shape=(3,))", "no term is shown"
        if not isinstance(part, Summand):  # which is no share
            again = type(part)(*part.terms)
            assert all(a is b for a, b in zip(again.terms, part.terms, strict=True))


def test_shares_of_equal_terms_are_told_apart():
    """Whether two are one value is never asked of what they hold."""
    for kind in (Plain, Additive, Summand):
        one, other = kind(np.arange(3)), kind(np.arange(3))
        assert one != other and one == one and len({one, other}) == 2


@given(x=WORDS, y=WORDS)
def test_bits_map_over_their_planes_and_a_plane_can_be_taken_from_either_end(x, y):
    a, b = Bits(Plain(x[0]), (300,)), Bits(Plain(y[0]), (300,))
    both = a.map(np.bitwise_xor, b)
    assert np.array_equal(both.planes.value, x[0] ^ y[0]) and both.shape == (300,)
    assert np.array_equal(a.plane(1).planes.value, x[0][1:2])
    assert np.array_equal(a.plane(-1).planes.value, x[0][3:4])
    assert a.plane(2).shape == (300,)


def streams(rank):
    keys = {r: bytes([10 + r]) * 32 for r in (rank, (rank + 1) % 3)}
    return ReplicatedStreams(rank, keys, b"p" * 32, Stream(bytes([rank]) * 32, "private"))


def test_a_common_stream_is_the_same_at_its_two_holders_and_the_third_has_no_key():
    parties = [streams(rank) for rank in range(3)]
    for component in range(3):
        holders = [p for p in parties if p.holds(component)]
        (outside,) = (p for p in parties if not p.holds(component))
        for shape in ((4,), (2, 3)):
            one, other = (p.common(component, shape) for p in holders)
            assert np.array_equal(one, other)
        with pytest.raises(KeyError):
            outside.common(component, (4,))


def test_the_zero_shares_of_three_parties_add_up_and_the_public_stream_is_one():
    parties = [streams(rank) for rank in range(3)]
    zeros = [p.zero.add_to(np.zeros(9, np.uint64)) for p in parties]
    assert not np.any(sum(zeros)) and all(np.any(z) for z in zeros)
    assert len({p.public.random((4,)).tobytes() for p in parties}) == 1
    assert len({p.private.random((4,)).tobytes() for p in parties}) == 3
