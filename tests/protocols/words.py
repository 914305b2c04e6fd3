"""How tests of the words draw ring elements, run a program, and put shares together again."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kernels.bits import from_planes
from kernels.machines import HOST, Memory, on_host
from mpc.launch import run_parties
from mpc.shares import Additive, Bits, Rep3
from mpc.sources.insecure import InsecureSource
from protocols.additive import AdditiveProtocol
from protocols.clear import Clear
from protocols.rep3 import Rep3Protocol
from protocols.secret import FRACTION, SecretArray, SecretBits
from tests.kernels.oncard import CARD

ULP = 2.0**-16
SEEDS = st.integers(0, 2**32 - 1)
SHAPES = st.one_of(
    st.sampled_from([(), (0,), (1,), (63,), (64,), (65,), (129,), (2, 0, 3), (5, 13)]),
    arrays.array_shapes(max_dims=3, max_side=5),
)
WIDTHS = [2, 3, 5, 31, 32, 33, 40, 63, 64]
some = settings(deadline=None, max_examples=12)


def additive(party, width=64):
    """The source tells all seeds, in a round of its own: make it before its wires are watched."""
    return AdditiveProtocol(party, width=width, source=InsecureSource(party))


MAKERS = {"rep3": Rep3Protocol, "additive": additive}


class At(NamedTuple):
    """A protocol, and how many parties run it."""

    name: str
    parties: int
    memory: Memory = HOST

    def __str__(self):
        where = "" if self.memory is HOST else " on a card"
        return f"{self.name} at {self.parties}{where}"

    def make(self, party, width=64):
        """The protocol at one party."""
        return MAKERS[self.name](party, width=width)

    def run(self, program, **more):
        """A program of one party, at all of them; results by rank."""
        return run_parties(self.parties, program, memory=self.memory, **more)

    @property
    def owners(self):
        """Whose inputs tell apart all roles: rep3's turn, additive's are of first and last."""
        return range(3) if self.name == "rep3" else {0, self.parties - 1}


REP3, TWO, THREE, FOUR = (At("rep3", 3), *(At("additive", n) for n in (2, 3, 4)))
ADDITIVE = [TWO, THREE, FOUR]
# With shares on a card, or on what stands for one: what makes an array of the host is found out.
ON_CARD = [At("rep3", 3, CARD), At("additive", 2, CARD), At("additive", 3, CARD)]
EVERYWHERE = [REP3, *ADDITIVE, *ON_CARD]
everywhere = pytest.mark.parametrize("at", EVERYWHERE, ids=str)
each_protocol = pytest.mark.parametrize("at", [REP3, TWO], ids=str)
# For `computed`: each protocol at the fewest parties.
PROTOCOLS = {"clear": None, "rep3": REP3, "additive": TWO}


def asked(p):
    """The items that a protocol asks its source for from now on, as a list that grows."""
    items, take = [], p.source.take

    def noted(item):
        items.append(item)
        return take(item)

    p.source.take = noted
    return items


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
    """A secret from what each party holds of it; who hold the same term must agree on it."""
    first = parts[0]
    if isinstance(first, SecretArray):
        return joined([part.share for part in parts])
    if isinstance(first, SecretBits):
        return joined([part.bits for part in parts]).reshape(first.shape)
    if isinstance(first, Bits):
        n = math.prod(first.shape)
        assert all(part.shape == first.shape for part in parts)
        planes = _joined(np.bitwise_xor, [part.planes for part in parts])
        return np.stack([from_planes(planes[j : j + 1], n) for j in range(len(planes))])
    return _joined(np.add, parts)


def _joined(f, parts):
    """The terms of all parties under +, or under XOR."""
    if len(parts) == 1:
        return parts[0].value
    for part, after in zip(parts, [*parts[1:], parts[0]], strict=True):
        assert isinstance(part, (Rep3, Additive))
        assert all(term.dtype == np.uint64 and term.shape == parts[0].shape for term in part.terms)
        if isinstance(part, Rep3):
            assert np.array_equal(on_host(part.next), on_host(after.own))
    return f.reduce([on_host(part.own) for part in parts], axis=0)


def at_parties(at, program, *inputs, width=64, owner=0):
    """What a program of shares gives, put together; what is public must agree."""

    def at_one(party):
        p = at.make(party, width)
        mine = [x if party.rank == owner else None for x in inputs]
        shares = [p.input(x, like.shape, owner) for x, like in zip(mine, inputs, strict=True)]
        return program(p, *shares)

    return [_together(parts) for parts in zip(*at.run(at_one), strict=True)]


def in_clear(program, *inputs, width=64):
    p = Clear(width=width)
    results = program(p, *(p.input(x, x.shape, 0) for x in inputs))
    return [_together([result]) for result in results]


def _together(parts):
    if parts[0] is None or isinstance(parts[0], np.ndarray):
        assert all(np.array_equal(part, parts[0]) for part in parts)
        return parts[0]
    return joined(parts)


def same(at, program, *inputs, width=64):
    """Assert that the parties compute what the clear interpreter does, whoever owns the inputs."""
    expected = in_clear(program, *inputs, width=width)
    for owner in at.owners:
        found = at_parties(at, program, *inputs, width=width, owner=owner)
        for a, b in zip(found, expected, strict=True):
            assert a.shape == b.shape
            assert np.array_equal(a, b)
    return expected


def thrice(f):
    """A program that does f three times, so that each rank of rep3 plays each role."""
    return lambda p, *shares: [f(p, *shares) for _ in range(3)]


def reals(seed, shape, limit=100.0):
    """Numbers that are exact at 16 fractional bits."""
    return np.rint(np.random.default_rng(seed).uniform(-limit, limit, shape) / ULP) * ULP


def computed(protocol, function, *inputs, fractions=None):
    """What a function of secret arrays gives, as reals; all parties must agree on it."""

    def program(party):
        p = Clear(None) if party is None else PROTOCOLS[protocol].make(party)
        secrets = []
        for i, x in enumerate(inputs):
            fraction = FRACTION if fractions is None else fractions[i]
            ring = np.asarray(np.rint(x * 2.0**fraction)).astype(np.int64).view(np.uint64)
            owner = 0 if party is None else i % party.size
            mine = ring if party is None or party.rank == owner else None
            secrets.append(SecretArray(p, p.input(mine, ring.shape, owner), fraction))
        results = function(*secrets)
        results = results if isinstance(results, (list, tuple)) else [results]
        opened = p.open(*(y.share for y in results), reason="a test")
        return [
            np.asarray(v, order="C").view(np.int64) / 2.0**y.fraction
            for v, y in zip(opened, results, strict=True)
        ]

    if protocol == "clear":
        return program(None)
    first, *others = PROTOCOLS[protocol].run(program)
    for other in others:
        assert all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    return first
