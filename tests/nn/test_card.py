"""With shares on a card all is what it is on the host, bit for bit, and stays on the card."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kernels.machines import HOST, on_host
from mpc.launch import run_parties
from mpc.sources import InsecureSource
from protocols.nn import Session
from protocols.training import checkpoint
from tests.kernels.oncard import CARD, OnCard

SEED_BYTES = [bytes([rank]) * 32 for rank in range(3)]
IMAGES = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (4, 1, 8, 8)))
LABELS = F.one_hot(torch.tensor([0, 1, 1, 0]), 2).double()


torch.manual_seed(0)
NETWORK = nn.Sequential(
    nn.Conv2d(1, 3, 3, padding=1),
    nn.BatchNorm2d(3),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(3, 2, 3, stride=2),
    nn.Flatten(),
    nn.Linear(2, 2),
).double()


def network():
    """The same at all parties, who are threads of one process with one generator."""
    return copy.deepcopy(NETWORK)


def session_of(party):
    """Rep3 among three, additive between two."""
    if party.size == 3:
        return Session(party)
    return Session(party, protocol="additive", source=InsecureSource(party))


def trained(party):
    """Two steps; the loss, and the terms of all weights as they are, wherever they are."""
    session = session_of(party)
    x = session.share(IMAGES if party.rank == 0 else None, owner=0)
    y = session.share(LABELS if party.rank == 1 else None, owner=1)
    model = network()
    session.secure(model, owner=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    opened = session.open(loss, reason="test")
    model.eval()
    logits = session.open(model(x), reason="test")
    terms = [t for w in model.parameters() for t in w.secret.settled().share.terms]
    return opened, logits, terms, party.meter.total.sent_bytes


@pytest.mark.parametrize(
    "memories",
    [(CARD,) * 3, (CARD, CARD), (CARD, HOST), (HOST, CARD)],
    ids=["rep3", "additive", "additive, first", "additive, second"],
)
def test_a_training_leaves_the_same_shares_on_a_card_as_on_the_host(memories):
    def placed(party):
        party.memory = memories[party.rank]
        return trained(party)

    seeds = SEED_BYTES[: len(memories)]
    here = run_parties(len(seeds), trained, seeds=seeds)
    there = run_parties(len(seeds), placed, seeds=seeds)
    for memory, one, two in zip(memories, here, there, strict=True):
        (loss, logits, terms, sent), (other, others, cards, total) = one, two
        assert torch.equal(loss, other) and torch.equal(logits, others) and sent == total
        kind = OnCard if memory is CARD else np.ndarray
        assert {type(t) for t in cards} == {kind} and {type(t) for t in terms} == {np.ndarray}
        for a, b in zip(terms, cards, strict=True):
            assert np.array_equal(a, on_host(b))


def test_shares_saved_from_a_card_are_loaded_on_the_host_and_back(tmp_path):
    def saved(party):
        session, model = Session(party), network()
        session.secure(model, owner=0)
        key = checkpoint.make_key(tmp_path / f"{party.rank}.key")
        path = tmp_path / f"{party.rank}.share"
        checkpoint.save(session, model, path, key, epoch=1, recipe={})
        return [session.open(w, reason="test") for w in model.parameters()]

    def loaded(party):
        session, model = Session(party), network()
        key = (tmp_path / f"{party.rank}.key").read_bytes()
        share = checkpoint.read_share(session, model, tmp_path / f"{party.rank}.share", key)
        checkpoint.load(session, model, share)
        kinds = {type(t) for w in model.parameters() for t in w.secret.share.terms}
        return kinds, [session.open(w, reason="test") for w in model.parameters()]

    weights = run_parties(3, saved, memory=CARD)[0]
    for memory, kind in ((HOST, np.ndarray), (CARD, OnCard)):
        for kinds, opened in run_parties(3, loaded, memory=memory):
            assert kinds == {kind}
            assert all(map(torch.equal, opened, weights))
