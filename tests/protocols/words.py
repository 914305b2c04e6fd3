"""How tests of the words draw ring elements, run a program, and put shares together again."""

import math

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kernels.bits import from_planes
from mpc.launch import run_parties
from mpc.shares import Bits
from protocols.clear import Clear
from protocols.rep3 import Rep3Protocol
from protocols.secret import FRACTION, SecretArray, SecretBits

ULP = 2.0**-16
SEEDS = st.integers(0, 2**32 - 1)
SHAPES = st.one_of(
    st.sampled_from([(), (0,), (1,), (63,), (64,), (65,), (129,), (2, 0, 3), (5, 13)]),
    arrays.array_shapes(max_dims=3, max_side=5),
)
some = settings(deadline=None, max_examples=12)


def draw_words(seed, shape, bits=64):
    """Ring elements of every magnitude below 2^(bits - 1), and the ends of that range."""
    draw = np.random.default_rng(seed)
    n, top = math.prod(shape), 2 ** (bits - 1)
    wide = draw.integers(-top, top - 1, n, endpoint=True)
    sizes = wide >> draw.integers(0, bits, n)
    ends = draw.choice([0, 1, -1, top - 1, 1 - top, top // 2, -(top // 2)], n)
    kind = draw.integers(0, 3, n)
    x = np.choose(kind, [wide, sizes, ends])
    return np.maximum(x, 1 - top).astype(np.int64).view(np.uint64).reshape(shape)


def signed(x):
    return np.asarray(x, order="C").view(np.int64)


def joined(parts):
    """A secret from what each party holds of it; two parties hold each term, and agree on it."""
    first = parts[0]
    if isinstance(first, SecretArray):
        return joined([part.share for part in parts])
    if isinstance(first, SecretBits):
        return joined([part.bits for part in parts]).reshape(first.shape)
    if isinstance(first, Bits):
        n = math.prod(first.shape)
        assert all(part.shape == first.shape for part in parts)
        planes = _sum([part.planes for part in parts], np.bitwise_xor)
        return np.stack([from_planes(planes[j : j + 1], n) for j in range(len(planes))])
    return _sum(parts, np.add)


def _sum(parts, f):
    if len(parts) == 1:
        return parts[0].value
    for i, part in enumerate(parts):
        assert np.array_equal(part.next, parts[(i + 1) % 3].own)
        assert part.own.dtype == part.next.dtype == np.uint64
    flat = [part.own.reshape(-1) for part in parts]
    return f(f(flat[0], flat[1]), flat[2]).reshape(parts[0].shape)


def at_three(program, *inputs, width=64, owner=0, make=Rep3Protocol):
    """What a program of shares gives at three parties, put together; what is public must agree."""

    def at_one(party):
        p = make(party, width=width)
        mine = [x if party.rank == owner else None for x in inputs]
        shares = [p.input(x, like.shape, owner) for x, like in zip(mine, inputs, strict=True)]
        return program(p, *shares)

    return [_together(parts) for parts in zip(*run_parties(3, at_one), strict=True)]


def in_clear(program, *inputs, width=64):
    p = Clear(width=width)
    results = program(p, *(p.input(x, x.shape, 0) for x in inputs))
    return [_together([result]) for result in results]


def _together(parts):
    if parts[0] is None or isinstance(parts[0], np.ndarray):
        assert all(np.array_equal(part, parts[0]) for part in parts)
        return parts[0]
    return joined(parts)


def same(program, *inputs, width=64):
    """Assert that three parties compute what the clear interpreter does, for every owner."""
    expected = in_clear(program, *inputs, width=width)
    for owner in range(3):
        found = at_three(program, *inputs, width=width, owner=owner)
        for a, b in zip(found, expected, strict=True):
            assert a.shape == b.shape
            assert np.array_equal(a, b)
    return expected


def thrice(f):
    """A program that does f three times, so that each rank plays each role."""
    return lambda p, *shares: [f(p, *shares) for _ in range(3)]


def reals(seed, shape, limit=100.0):
    """Numbers that are exact at 16 fractional bits."""
    return np.rint(np.random.default_rng(seed).uniform(-limit, limit, shape) / ULP) * ULP


def computed(protocol, function, *inputs, fractions=None):
    """What a function of secret arrays gives, as reals; under rep3 all parties must agree on it."""

    def program(party):
        p = Clear(None) if party is None else Rep3Protocol(party)
        secrets = []
        for i, x in enumerate(inputs):
            fraction = FRACTION if fractions is None else fractions[i]
            ring = np.asarray(np.rint(x * 2.0**fraction)).astype(np.int64).view(np.uint64)
            mine = ring if party is None or party.rank == i % 3 else None
            secrets.append(SecretArray(p, p.input(mine, ring.shape, i % 3), fraction))
        results = function(*secrets)
        results = results if isinstance(results, (list, tuple)) else [results]
        opened = p.open(*(y.share for y in results), reason="a test")
        return [
            np.asarray(v, order="C").view(np.int64) / 2.0**y.fraction
            for v, y in zip(opened, results, strict=True)
        ]

    if protocol == "clear":
        return program(None)
    first, *others = run_parties(3, program)
    for other in others:
        assert all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    return first
