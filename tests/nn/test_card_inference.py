"""A model that infers on a card has its weights split into digits once, whatever it then meets."""

import copy
import gc
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kernels.cuda import digits, products
from kernels.machines import HOST
from kernels.steady import name_of
from mpc.launch import run_parties
from mpc.sources import InsecureSource
from protocols.nn import Session
from tests.kernels.oncard import CARD

SEEDS = [bytes([rank]) * 32 for rank in range(3)]
IMAGES = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (6, 1, 8, 8)))
LABELS = F.one_hot(torch.tensor([0, 1]), 2).double()
WEIGHTS = 4  # layers with weights that products read

torch.manual_seed(0)
NETWORK = nn.Sequential(
    nn.Conv2d(1, 3, 3, padding=1, bias=False),  # the batch norm goes into it
    nn.BatchNorm2d(3),
    nn.ReLU(),
    nn.ConvTranspose2d(3, 2, 2, stride=2),
    nn.Conv2d(2, 3, 3, stride=2),
    nn.Flatten(),
    nn.Linear(147, 2),
).double()

in_each_protocol = pytest.mark.parametrize("size", [3, 2], ids=["rep3", "additive"])


@pytest.fixture
def split(monkeypatch):
    """For each side that is split, at any party: whether all of it is steady."""
    plain, seen = digits._split, []

    def watched(gpu, side, *rest, **named):
        arrays = [a for term in side.terms for a in term if a is not None]
        seen.append(all(name_of(a) is not None for a in arrays))
        return plain(gpu, side, *rest, **named)

    monkeypatch.setattr(digits, "_split", watched)
    monkeypatch.setattr(products, "choose", lambda *_: products.product)
    return seen


def session_of(party):
    if party.size == 3:
        return Session(party)
    return Session(party, protocol="additive", source=InsecureSource(party))


def made(party):
    session, model = session_of(party), copy.deepcopy(NETWORK)
    session.secure(model, owner=0)
    return session, model.eval()


def told(session, model, images):
    """What the model says of images, opened."""
    x = session.share(images if session.rank == 0 else None, owner=0)
    with torch.no_grad():
        return session.open(model(x), reason="test")


@contextmanager
def counting(party, split, counts):
    """How many sides all parties split meanwhile, and how many of them were steady."""
    party.agree(bytes(32), "nothing: all are done with what was before")
    before = len(split)
    party.agree(bytes(32), "nothing: all have counted")
    yield
    party.agree(bytes(32), "nothing: all are done")
    counts.append((len(split) - before, sum(split[before:])))
    party.agree(bytes(32), "nothing: all have counted again")


def run(size, program, *, memory=CARD):
    return run_parties(size, program, seeds=SEEDS[:size], memory=memory)


@in_each_protocol
def test_a_card_splits_the_weights_of_a_model_that_infers_once(size, split):
    def program(party):
        session, model = made(party)
        return [told(session, model, IMAGES[at : at + 2]) for at in (0, 2, 4)]

    def counted(party):
        session, model = made(party)
        logits, counts = [], []
        for at in (0, 2, 4):
            with counting(party, split, counts):
                logits.append(told(session, model, IMAGES[at : at + 2]))
        return logits, counts

    expected = run(size, program, memory=HOST)[0]
    for logits, counts in run(size, counted):
        assert all(map(torch.equal, logits, expected))
        # A strided transposed convolution is a product for each of four remainders.
        layers = WEIGHTS + 3
        first, *others = counts
        assert first == (2 * layers * size, layers * size)
        assert others == [(layers * size, 0)] * 2


@in_each_protocol
def test_a_card_keeps_nothing_of_weights_while_they_are_trained(size, split):
    """And then those that were trained serve, not those that were there before."""

    def program(party):
        session, model = made(party)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        x = session.share(IMAGES[:2] if party.rank == 0 else None, owner=0)
        y = session.share(LABELS if party.rank == 1 else None, owner=1)
        logits, counts = [], []
        for _ in range(2):
            model.train()
            with counting(party, split, counts):
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
            optimizer.step()
            logits += [told(session, model.eval(), IMAGES[2:4]) for _ in range(2)]
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()  # this time of weights that are steady
        return logits, [steady for _, steady in counts]

    expected = run(size, program, memory=HOST)[0][0]
    for logits, steady in run(size, program):
        assert all(map(torch.equal, logits, expected))
        assert (logits[1] - logits[2]).abs().max() > 0.01, "the old ones would not be told apart"
        assert steady == [0, 0]


@in_each_protocol
def test_a_card_lets_go_of_what_it_kept_with_the_model(size, split):
    gc.collect()
    before = len(digits.KEPT)
    assert len(run(size, lambda party: told(*made(party), IMAGES[:2]))) == size
    assert any(split)
    gc.collect()
    assert len(digits.KEPT) == before


def test_weights_that_were_factors_in_training_are_kept_from_the_next_product_on(split):
    """Under `additive` what was opened of them stays; only then are they steady."""

    def program(party):
        session, model = made(party)
        ones = torch.ones(2, 147).double()
        x = session.share(ones if party.rank == 0 else None, owner=0)
        counts = []
        for gradients in (True, False, False):
            with counting(party, split, counts), torch.set_grad_enabled(gradients):
                model[-1](x).secret.settled()
        return counts

    # The first has all four sides to split; then those of x, and once again those of the weights.
    assert run(2, program) == [[(4, 0), (4, 2), (2, 0)]] * 2
