"""What a party of rep3 receives before anything is opened is noise, whatever the secrets are.

See `overhearing` for the bound.
"""

from typing import NamedTuple

import numpy as np
import pytest

from kernels.ring import multiply
from mpc.launch import run_parties
from protocols.rep3 import Rep3Protocol
from tests.protocols.overhearing import Listener, X, Y, bits_of, bound, deviation, every_word

RUNS = 400
FEWER = 160  # for a mutant, which is off by much more than it could be by chance


class Heard(NamedTuple):
    """What a party received before the opening, and after the inputs; its terms; the results."""

    everything: list
    later: list
    held: list
    opened: list


def overheard(make, x=X, y=Y, runs=RUNS):
    """For each run and party: what it received before an opening, and what it held."""

    def program(party):
        party.transport = listener = Listener(party.transport)
        p = make(party)
        x0 = p.input(x if party.rank == 0 else None, x.shape, 0)
        y0 = p.input(y if party.rank == 1 else None, y.shape, 1)
        z0 = p.input(y if party.rank == 2 else None, y.shape, 2)
        start = len(listener.heard)
        results = [*every_word(p, x0, y0, times=3), *p.bilinear(multiply, (y0, z0))]
        heard = list(listener.heard)
        opened = p.open(*results, reason="the results must be right")
        return Heard(heard, heard[start:], [*x0.terms, *y0.terms], opened)

    return [run_parties(3, program) for _ in range(runs)]


def means(views):
    """The share of ones of every bit that each party received."""
    return [np.mean([bits_of(run[rank].everything) for run in views], axis=0) for rank in range(3)]


def pairs(views, rank):
    """Bits of received words less, and xor, what the party holds and what else it received.

    Of packed bits the first, the middle and the last word of each array are looked at.
    """
    sums = None
    for run in views:
        _, heard, held, _ = run[rank]
        words = np.array([a for a in heard if a.shape == X.shape and a.dtype == np.uint64])
        packed = [a.reshape(-1) for a in heard if a.shape != X.shape and a.dtype == np.uint64]
        planes = np.array([a[[at]] for a in packed for at in {0, len(a) // 2, len(a) - 1}])
        known = np.array([*held, held[0] + held[1], held[2] + held[3]])
        one, other = np.triu_indices(len(words), 1)
        a, b = np.triu_indices(len(planes), 1)
        looked = [
            words[one] - words[other],
            words[one] ^ words[other],
            *(words - k for k in known),
            *(words ^ k for k in known),
            planes[a] ^ planes[b],
        ]
        bits = bits_of([np.ascontiguousarray(v) for v in looked])
        sums = bits.astype(np.int64) if sums is None else sums + bits
    return sums / len(views)


@pytest.fixture(scope="module")
def honest():
    return overheard(Rep3Protocol)


def test_every_received_bit_is_one_half_of_the_time(honest):
    found = means(honest)
    assert all(len(mean) > 10_000 for mean in found)
    assert deviation(found) <= bound(found, RUNS)


def test_received_words_are_noise_beside_what_the_party_knows_and_beside_each_other(honest):
    found = [pairs(honest, rank) for rank in range(3)]
    assert deviation(found) <= bound(found, RUNS)


def test_other_secrets_give_the_same_noise(honest):
    other = overheard(Rep3Protocol, Y[::-1].copy(), X ^ np.uint64(2**63 - 1))
    gaps = [a - b for a, b in zip(means(honest), means(other), strict=True)]
    assert deviation(gaps, 0.0) <= bound(gaps, RUNS, scale=1.0)


def test_the_results_are_right_while_nothing_leaks(honest):
    products = {tuple(X * Y)}
    for run in honest[:20]:
        assert {tuple(opened[0]) for *_, opened in run} == products


# Mutants: their results are right, and still each must be found out by far.


class Unmasked:
    """In the place of a sharing of zero: zeros, which are one."""

    def add_to(self, out):
        return out

    def xor_to(self, out):
        return out


class Silent:
    """In the place of a stream: zeros."""

    def random(self, shape):
        return np.zeros(shape, np.uint64)

    bits = random


class Repeated:
    """In the place of a stream: the same words for every draw of a size."""

    def __init__(self, stream):
        self.stream, self.kept = stream, {}

    def random(self, shape):
        if shape not in self.kept:
            self.kept[shape] = self.stream.random(shape)
        return self.kept[shape].copy()

    bits = random


class ForgetsItsZeroShare(Rep3Protocol):
    def __init__(self, party):
        super().__init__(party)
        self.streams.zero = Unmasked()


class ForgetsTheHelpersMask(Rep3Protocol):
    def __init__(self, party):
        super().__init__(party)
        self.streams.private = Silent()


class SendsWhatItShouldShare(Rep3Protocol):
    """Inputs, addends and re-shared terms without the common keys' masks."""

    def __init__(self, party):
        super().__init__(party)
        self.streams.common = lambda _component, shape: np.zeros(shape, np.uint64)


class UsesAMaskTwice(Rep3Protocol):
    def __init__(self, party):
        super().__init__(party)
        self.streams.private = Repeated(self.streams.private)


class MasksAllButOneBit(Rep3Protocol):
    """The sign bit of what the helper sends for a truncation goes out as it is."""

    def __init__(self, party):
        super().__init__(party)
        stream = self.streams.private

        class Almost:
            @staticmethod
            def random(shape):
                return stream.random(shape) >> np.uint64(1) << np.uint64(1)

        self.streams.private = Almost()


def test_a_product_and_a_sum_with_it_are_sent_under_masks_of_their_own():
    """The same mask on both would tell an evaluator the other's term of what was added."""

    def program(party):
        party.transport = listener = Listener(party.transport)
        p = Rep3Protocol(party)
        x = p.input(X if party.rank == 0 else None, X.shape, 0)
        (product,) = p.product(multiply, (x, x))
        total = product.map(np.add, p.summand(x))
        start, first, traded = len(listener.heard), [], []
        for summand in (product, total):
            first.append(p.turns % 3)
            p.turns = first[0]  # the same roles both times
            p.truncate_summands(summand, fraction=16)
            heard, start = listener.heard[start:], len(listener.heard)
            traded.append([a for a in heard if a.dtype == np.uint64])
        return [b - a for a, b in zip(*traded, strict=True)], x

    parts = run_parties(3, program)
    terms = [x.own for _, x in parts]
    for differences, _ in parts:
        for difference in differences:
            assert all(not np.any(difference == term) for term in terms)


@pytest.mark.parametrize(
    "mutant",
    [
        ForgetsItsZeroShare,
        ForgetsTheHelpersMask,
        SendsWhatItShouldShare,
        MasksAllButOneBit,
    ],
)
def test_a_mutant_that_forgets_a_mask_is_found_out_by_far(mutant):
    views = overheard(mutant, runs=FEWER)
    assert tuple(views[0][0].opened[0]) == tuple(X * Y), "the mutant's results are right"
    found = means(views)
    assert deviation(found) >= 0.49 > 1.5 * bound(found, FEWER)


def test_a_mutant_that_uses_a_mask_twice_is_found_out_by_pairs_alone():
    views = overheard(UsesAMaskTwice, runs=FEWER)
    found = means(views)
    assert deviation(found) <= bound(found, FEWER)
    found = [pairs(views, rank) for rank in range(3)]
    assert deviation(found) >= 0.49 > 1.5 * bound(found, FEWER)


def test_two_runs_share_no_received_word():
    first, second = overheard(Rep3Protocol, runs=2)
    for rank in range(3):
        words = [
            np.concatenate([a.reshape(-1) for a in run[rank].everything if a.dtype == np.uint64])
            for run in (first, second)
        ]
        assert not np.intersect1d(*words).size  # by chance about once in 2^40 runs


def test_there_is_much_to_hear(honest):
    assert all(len(run[rank].later) > 60 for run in honest for rank in range(3))
