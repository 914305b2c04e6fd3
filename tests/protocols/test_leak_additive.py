"""What all parties of additive sharing but one hear of that one is noise, whatever the secrets are.

They pool what they receive, what they sent, their terms of the inputs and what was dealt to them.
So they know every value that was opened under a mask. All that is looked at: what they receive; the
opened values; those less, and xor, each other and what the coalition holds of inputs, masks and
products of masks. See `overhearing` for the bound.
"""

from functools import cache

import numpy as np
import pytest

from kernels.bits import words
from kernels.gemm import matmul
from kernels.ring import multiply
from mpc.correlated import seeded
from mpc.sources.insecure import InsecureSource
from protocols.additive import AdditiveProtocol
from tests.protocols.overhearing import Listener, X, Y, bits_of, bound, deviation, every_word
from tests.protocols.overhearing import square as as_square
from tests.protocols.words import FOUR, THREE, TWO

RUNS = {TWO: 200, THREE: 80, FOUR: 80}
FEWER = 80  # for a mutant, which is off by much more than it could be by chance
KINDS = ("received", "opened", "beside each other", "beside what is held")
DEALT = ("masks", "products")


def words_and_products(p, x, y):
    """Every word, and factors that are used again: in other products, swapped and moved."""
    turned = as_square(x).map(np.transpose)
    return [
        *every_word(p, x, y),
        *p.bilinear(multiply, (y, x), (x, x)),
        *p.bilinear(matmul, (turned, as_square(y)), (turned, as_square(x)), (turned, turned)),
    ]


class Member:
    """What one party knows: of each step, of what was dealt, and its terms of the inputs."""

    def __init__(self, party, x, y):
        source = InsecureSource(party)
        self.ranks = {key: rank for rank, key in enumerate(source._maker._keys)}
        KNOWN_KEYS.update(self.ranks)
        party.transport = self.wire = Listener(party.transport)
        p = AdditiveProtocol(party, source=source)
        self.dealt, take = [], source.take

        def noted(item):
            made = take(item)
            copies = [[a.copy() for a in getattr(made, part)] for part in DEALT]
            self.dealt.append((item, copies))
            return made

        source.take = noted
        owned = [(x, 0), (y, 1)]
        shares = [p.input(v if party.rank == o else None, v.shape, o) for v, o in owned]
        self.held = [share.own.copy() for share in shares]
        results = words_and_products(p, *shares)
        self.steps = list(self.wire.steps)
        self.results = p.open(*results, reason="the results must be right")


KNOWN_KEYS = {}  # whose key it is, for mutants


def joined(f, arrays):
    return f.reduce(arrays, axis=0)


def is_planes(array):
    """Four or eight elements make planes of one word; no other array here has a last axis of 1."""
    return array.ndim > 1 and array.shape[-1] == words(X.size) == 1


class View:
    """What a coalition of all but one has at the end of a run, in rows of four words, and bits."""

    def __init__(self, members, honest):
        coalition = [m for rank, m in enumerate(members) if rank != honest]
        self.received, self.rows, self.bits = [], [], []
        for at, (sent, _) in enumerate(members[honest].steps):
            if not sent:
                continue
            (message, *others) = sent.values()
            if message[0].dtype != np.uint64:
                self._is_no_secret(message, at)
                continue
            for other in others:  # all hear the same
                assert all(map(np.array_equal, message, other))
            for i, mine in enumerate(message):
                self.received.append(mine)
                theirs = [m.steps[at][0][honest][i] for m in coalition]
                f = np.bitwise_xor if is_planes(mine) else np.add
                self._note(joined(f, [mine, *theirs]), self.rows, self.bits)
        self.known_rows, self.known_bits = [], []
        for parts in zip(*(m.held for m in coalition), strict=True):
            self._note(joined(np.add, parts), self.known_rows, self.known_bits)
        self.received += [m.held[i] for m in coalition for i in range(2)]
        self._note_dealt(coalition)

    def _is_no_secret(self, message, at):
        """Keys and coins at the start, which are drawn; and an owner's word that it is ready."""
        if at == 0:
            assert all(a.shape == (32,) for a in message)
        else:
            assert all(np.array_equal(a, [1, 1]) for a in message)

    def _note_dealt(self, coalition):
        for takes in zip(*(m.dealt for m in coalition), strict=True):
            item = takes[0][0]
            for part, fields in enumerate((item.masks(), item.products())):
                for place, field in enumerate(fields):
                    f = np.bitwise_xor if field.xor else np.add
                    whole = joined(f, [copies[part][place] for _, copies in takes])
                    if whole.dtype != np.uint64:
                        continue  # a top bit, of which less than a word is dealt
                    if not field.xor:
                        self._note(whole, self.known_rows, [])
                    elif part == 0:
                        self._note(whole, [], self.known_bits)

    @staticmethod
    def _note(array, rows, bits):
        if is_planes(array):
            bits.append(array.reshape(-1).astype(np.uint8))  # four elements, four more of padding
        else:
            rows.append(array.reshape(-1, X.size))

    def looked_at(self, kind):
        """Bits of a kind, which are noise."""
        if kind == "received":
            return bits_of(self.received)
        rows, bits = np.concatenate(self.rows), np.concatenate(self.bits)
        if kind == "opened":
            return bits_of([rows, bits])
        if kind == "beside each other":
            (one, other), (a, b) = (np.triu_indices(len(known), 1) for known in (rows, bits))
            return bits_of([rows[one] - rows[other], rows[one] ^ rows[other], bits[a] ^ bits[b]])
        known, known_bits = np.concatenate(self.known_rows), np.concatenate(self.known_bits)
        both = np.bitwise_xor.outer(bits, known_bits)
        return bits_of([rows[:, None] - known, rows[:, None] ^ known, both])


class Overheard:
    """Over many runs, for each party that all others have turned against: means of every bit."""

    def __init__(self, at, x=X, y=Y, runs=FEWER, kinds=KINDS):
        self.runs, self.results = runs, []
        self.counts = [dict.fromkeys(kinds) for _ in range(at.parties)]
        for _ in range(runs):
            members = at.run(lambda party: Member(party, x, y))
            self.results.append(members[0].results)
            for honest, counts in enumerate(self.counts):
                view = View(members, honest)
                for kind in kinds:
                    bits = view.looked_at(kind)
                    if counts[kind] is None:
                        counts[kind] = np.zeros(len(bits), np.uint16)
                    counts[kind] += bits

    def means(self, kind):
        return [counts[kind] / self.runs for counts in self.counts]

    def is_noise(self, kind):
        found = self.means(kind)
        return deviation(found) <= bound(found, self.runs)

    def is_found_out(self, kind):
        """By far: some bit is nearly always the same, and chance comes nowhere near that."""
        found = self.means(kind)
        return deviation(found) >= 0.49 > 1.1 * bound(found, self.runs)


@cache
def overheard(at):
    return Overheard(at, runs=RUNS[at])


@pytest.fixture(params=list(RUNS), ids=str)
def honest(request):
    return overheard(request.param)


@pytest.mark.parametrize("kind", KINDS)
def test_what_all_but_one_know_of_the_one_is_noise(honest, kind):
    assert all(len(mean) > 10_000 for mean in honest.means(kind))
    assert honest.is_noise(kind)


def test_the_results_are_right_while_nothing_leaks(honest):
    for results in honest.results[:20]:
        are_right(results)


def test_other_secrets_give_the_same_noise():
    kinds, runs = ("received", "opened"), RUNS[TWO]
    one, other = (
        overheard(TWO),
        Overheard(TWO, Y[::-1].copy(), X ^ np.uint64(2**63 - 1), runs, kinds),
    )
    for kind in kinds:
        gaps = [a - b for a, b in zip(one.means(kind), other.means(kind), strict=True)]
        assert deviation(gaps, 0.0) <= bound(gaps, runs, scale=1.0)


def test_two_runs_share_no_word():
    first, second = (TWO.run(lambda party: Member(party, X, Y)) for _ in range(2))
    for rank in range(2):
        one, other = (np.concatenate(View(run, rank).rows) for run in (first, second))
        assert one.size > 60 and not np.intersect1d(one, other).size


def are_right(results):
    x, y = X.reshape(2, 2), Y.reshape(2, 2)
    assert np.array_equal(results[0], X * Y) and np.array_equal(results[1], x @ y)
    expected = [Y * X, X * X, x.T @ y, x.T @ x, x.T @ x.T]
    for found, value in zip(results[-5:], expected, strict=True):
        assert np.array_equal(found, value)
    signed = X.view(np.int64)
    sign, positive, part = results[8:11]
    assert np.array_equal(sign, signed < 0)
    assert np.array_equal(positive, signed > 0)
    assert np.array_equal(part.view(np.int64), np.maximum(signed, 0))


# Mutants: what is dealt fits together still, so their results are right; and still each must be
# found out by far. A mutant says what one party draws for a mask, from what it should draw.


def is_r(place, field):
    return place == 0 and not field.xor and len(field.shape) == 1


def is_beta(place, field):
    return place == 1 and field.xor and len(field.shape) == 2 and field.shape[0] == 1


def is_of_a_tree(field):
    return field.xor and len(field.shape) == 3


def one_mask_for_two_values(draw, rank, number, place, field):
    """Every item has the masks of the first: a value and another are opened under one."""
    return draw(0, place, field)


def one_mask_for_both_factors(draw, rank, number, place, field):
    """The second factor of a product is masked as the first is."""
    return draw(number, 0 if place == 1 and not field.xor else place, field)


def one_mask_for_both_bits(draw, rank, number, place, field):
    """The second operand of an AND is masked as the first is."""
    return draw(
        number, 0 if place == 1 and field.xor and not is_beta(place, field) else place, field
    )


def r_is_nothing(draw, rank, number, place, field):
    return draw(number, place, field) * np.uint64(not is_r(place, field))


def r_lacks_its_lowest_bit(draw, rank, number, place, field):
    drawn = draw(number, place, field)
    return drawn & np.uint64(2**64 - 2) if is_r(place, field) else drawn


def beta_is_nothing(draw, rank, number, place, field):
    return draw(number, place, field) * np.uint64(not is_beta(place, field))


def a_tree_opens_its_factors(draw, rank, number, place, field):
    return draw(number, place, field) * np.uint64(not is_of_a_tree(field))


def two_factors_of_a_tree_have_one_mask(draw, rank, number, place, field):
    drawn = draw(number, place, field)
    if is_of_a_tree(field):
        drawn[1] = drawn[0]
    return drawn


def only_one_party_draws(draw, rank, number, place, field):
    """What all others opened is known to that one."""
    return draw(number, place, field) * np.uint64(rank == 0)


MUTANTS = {
    one_mask_for_two_values: "beside each other",
    one_mask_for_both_factors: "beside each other",
    one_mask_for_both_bits: "beside each other",
    r_is_nothing: "opened",
    r_lacks_its_lowest_bit: "opened",
    beta_is_nothing: "opened",
    a_tree_opens_its_factors: "opened",
    two_factors_of_a_tree_have_one_mask: "beside each other",
    only_one_party_draws: "beside what is held",
}


def with_mutant(monkeypatch, mutant):
    honest = seeded._drawn

    def drawn(key, number, place, field, *memory):
        if place >= seeded._PRODUCTS:
            return honest(key, number, place, field, *memory)
        return mutant(lambda *what: honest(key, *what), KNOWN_KEYS.get(key), number, place, field)

    monkeypatch.setattr(seeded, "_drawn", drawn)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_mutant_that_is_right_and_leaks_is_found_out_by_far(monkeypatch, mutant):
    with_mutant(monkeypatch, mutant)
    kind = MUTANTS[mutant]
    found = Overheard(TWO, kinds=dict.fromkeys(["opened", kind]))
    are_right(found.results[0])
    assert found.is_found_out(kind)
    if kind != "opened":
        assert found.is_noise("opened"), "each opened value alone does not tell"


def test_masks_that_one_party_draws_alone_are_found_out_by_it_and_another(monkeypatch):
    with_mutant(monkeypatch, only_one_party_draws)
    kind = MUTANTS[only_one_party_draws]
    assert Overheard(THREE, kinds=[kind]).is_found_out(kind)
