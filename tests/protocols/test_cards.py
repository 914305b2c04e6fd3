"""Parties with cards and parties without are one additive session: same items, same bytes."""

import gc

import numpy as np
import pytest

from kernels.gemm import matmul
from kernels.machines import HOST, as_array
from kernels.places import place_of
from kernels.ring import multiply
from mpc.launch import run_parties
from mpc.sources import InsecureSource
from protocols.additive import AdditiveProtocol
from tests.kernels.oncard import CARD, OnCard
from tests.mpc.additive_transcript import SEEDS, transcript
from tests.mpc.test_transcripts_additive import RECORDED
from tests.protocols.words import asked, draw_words, joined

mixed = pytest.mark.parametrize(
    "memories", [(HOST, CARD), (CARD, HOST), (CARD, CARD)], ids=["second", "first", "both"]
)


def run(memories, program):
    """A program at parties that keep their shares here and there; results by rank."""

    def at_one(party):
        party.memory = memories[party.rank]
        return program(party)

    return run_parties(len(memories), at_one, seeds=SEEDS)


@mixed
def test_parties_with_cards_send_the_bytes_that_were_recorded_without(memories):
    sent, opened = zip(*run(memories, transcript), strict=True)
    assert list(sent) == RECORDED
    assert opened[0] == opened[1] == run_parties(2, transcript, seeds=SEEDS)[0][1]


# Steps whose results NumPy and CuPy lay out in different orders, or copy and view.
STEPS = {
    "a number": lambda v, w: as_array(v[1, 2]),
    "a number of no axes": lambda v, w: as_array(v[1, 2, ...]).reshape(()),
    "a row": lambda v, w: v[1],
    "columns": lambda v, w: v[:, [0, 2]],
    "a transposed sum": lambda v, w: v.T + w.T,
    "a sum of a row over one": lambda v, w: np.broadcast_to(v[:1], (1, 4)),
    "an axis of one": lambda v, w: v[:1].reshape(4, 1),
    "joined columns": lambda v, w: np.concatenate([v.T, w.T]),
    "stacked": lambda v, w: np.moveaxis(np.stack([v.T, w.T]), 0, 2),
    "rolled": lambda v, w: np.roll(v.T, 1, 0),
    "summed": lambda v, w: np.stack([v.T, w.T], axis=1).sum(1, dtype=np.uint64),
    "nothing": lambda v, w: v[:0],
}


@mixed
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_parties_with_cards_find_the_same_factors_again(memories, step):
    """What is made of a share, and what lies in it, is a factor twice, and taken out anew."""
    x, y = draw_words(0, (3, 4)), draw_words(1, (3, 4))

    def program(party):
        p = AdditiveProtocol(party, source=InsecureSource(party))
        one, two = (p.input(v if party.rank == 0 else None, v.shape, 0) for v in (x, y))
        items, products = asked(p), []

        def squared(share):
            products.extend(p.bilinear(multiply, (share, share)))

        for _ in range(2):
            made = one.map(step, two)
            for share in (made, one.map(step, two)):
                squared(share)
                squared(share.map(lambda v: v.reshape(-1)))
                squared(share.map(lambda v: v.reshape(-1)))
                squared(share.map(lambda v: v.transpose()))
        kinds = {type(share.own) for share in products}
        return items, products, kinds

    expected, *_ = run((HOST, HOST), program)
    results = run(memories, program)
    for memory, (items, _, kinds) in zip(memories, results, strict=True):
        assert items == expected[0]
        assert kinds == {OnCard if memory is CARD else np.ndarray}
    made = step(x, y)
    for k, parts in enumerate(zip(*(products for _, products, _ in results), strict=True)):
        flat = (made, np.ravel(made), np.ravel(made), np.transpose(made))[k % 4]
        assert np.array_equal(joined(list(parts)), flat * flat)


def test_an_axis_that_is_not_walked_has_the_same_place_whatever_its_stride():
    """NumPy and CuPy give axes of one element, and of none, strides of their own."""
    x = draw_words(0, (1, 4))
    assert place_of(x)[1:] == place_of(np.broadcast_to(x, (1, 4)))[1:] == (0, ((1, 0), (4, 8)))
    assert place_of(x[:, 1:])[1:] == (8, ((1, 0), (3, 8)))
    assert place_of(x[:, 4:])[1:] == place_of(x[:, :0])[1:] == (0, ((1, 0), (0, 0)))


def test_a_share_on_a_card_where_an_old_one_lay_is_not_taken_for_it():
    """A card's memory is handed out again at once: the new value is opened all the same."""
    y = draw_words(0, (5, 5))

    def program(party):
        p = AdditiveProtocol(party, source=InsecureSource(party))
        share, known, results = p.input(y if party.rank == 0 else None, y.shape, 0), [], []
        for k in range(20):
            times = share.map(lambda v, k=k: v * np.uint64(k))
            results += p.bilinear((matmul, multiply)[k % 2], (times, share))
            del times
            gc.collect()
            known.append(len(p._factors._known))
        return results, known

    results, known = zip(*run((CARD, CARD), program), strict=True)
    assert known == ([1] * 20, [1] * 20)
    for k, parts in enumerate(zip(*results, strict=True)):
        expected = y * y if k % 2 else y @ y
        assert np.array_equal(joined(list(parts)), np.uint64(k) * expected)
