"""A stream is never used twice, and only by those who may know it.

Every call of the ChaCha20 kernel is recorded while three parties train a small network for two
steps. The parties' seeds are fixed, so that the test can work out each key and who may hold it.
"""

import hashlib
import threading
from collections import Counter, defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kernels import prg as kernel
from mpc.launch import run_parties
from mpc.prg import derive
from protocols.nn import Session

SEEDS = [bytes([100 + rank]) * 32 for rank in range(3)]


def train(session):
    """Two steps of an ordinary loop, with every kind of layer that draws something."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(8, 2),
    )  # fmt: skip
    session.secure(model, owner=0)
    mine = session.party.rank == 1
    images = session.share(torch.randn(4, 1, 6, 6) if mine else None, owner=1)
    labels = session.share(F.one_hot(torch.arange(4) % 2, 2).float() if mine else None, owner=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
    return session.open(loss.detach(), reason="a test")


def recorded(program, seeds):
    """What a program gives, and every call as (rank, mode, keys, nonce, bytes)."""
    native, rank_of, made = kernel._native, {}, []

    def chacha20(mode, out, key_a, key_b, nonce):
        keys = (key_a, key_b) if mode in (native.ADD_DIFFERENCE, native.XOR_BOTH) else (key_a,)
        made.append((rank_of[threading.get_ident()], mode, keys, nonce, out.nbytes))
        native.chacha20(mode, out, key_a, key_b, nonce)

    def at_one(party):
        rank_of[threading.get_ident()] = party.rank
        return program(party)

    recorder = SimpleNamespace(chacha20=chacha20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "machine_of", lambda _out: recorder)
        results = run_parties(len(seeds), at_one, seeds=seeds)
    return results, made


@pytest.fixture(scope="module")
def calls():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("protocols.rep3.sharing.APART", 192)  # three parts side by side, too
        losses, made = recorded(lambda party: train(Session(party)), SEEDS)
    assert all(torch.isfinite(torch.as_tensor(loss)).all() for loss in losses)
    return made


def entitled():
    """Each key of the session: what it is for, and the ranks that may hold it."""
    agreed = [derive(seed, "replicated key/1") for seed in SEEDS]
    coins = hashlib.sha256(b"".join(derive(seed, "public coin/1") for seed in SEEDS)).digest()
    may = {derive(coins, "public coins"): ("public coins", {0, 1, 2})}
    for rank in range(3):
        pair = {rank, (rank - 1) % 3}
        may[derive(agreed[rank], "common")] = (f"common {rank}", pair)
        may[derive(agreed[rank], "zero")] = (f"zero {rank}", pair)
        private = derive(derive(SEEDS[rank], "private words/1"), "private words")
        may[private] = (f"private {rank}", {rank})
    return may


def test_the_training_used_every_kind_of_stream(calls):
    may = entitled()
    used = {may[key][0] for _, _, keys, _, _ in calls for key in keys}
    assert used == {purpose for purpose, _ in may.values()}
    assert len(calls) > 1000


def test_within_a_party_no_pair_of_key_and_nonce_is_used_twice(calls):
    uses = Counter((rank, key, nonce) for rank, _, keys, nonce, _ in calls for key in keys)
    assert max(uses.values()) == 1


def test_every_key_is_one_that_its_user_is_entitled_to(calls):
    may = entitled()
    for rank, _, keys, _, _ in calls:
        for key in keys:
            assert key in may, "a key of unknown origin"
            purpose, holders = may[key]
            assert rank in holders, f"rank {rank} used {purpose}"


def test_what_two_parties_draw_from_one_stream_they_use_alike(calls):
    """The same draw is as long, and of the same kind, at each of its holders, and made by all."""
    may = entitled()
    draws = defaultdict(dict)
    for rank, mode, keys, nonce, nbytes in calls:
        for key in keys:
            draws[key, nonce][rank] = (mode, nbytes)
    for (key, _), uses in draws.items():
        purpose, holders = may[key]
        assert set(uses) == holders, f"{purpose} was drawn by {sorted(uses)} only"
        assert len(set(uses.values())) == 1, f"{purpose} was used in different ways"


def test_a_zero_share_joins_the_keys_of_a_party_and_of_the_one_after(calls):
    may = entitled()
    for rank, mode, keys, _, _ in calls:
        purposes = [may[key][0] for key in keys]
        if len(keys) == 2:
            assert purposes == [f"zero {rank}", f"zero {(rank + 1) % 3}"]
        else:
            assert mode == kernel._native.FILL and "zero" not in purposes[0]


def test_nonces_of_a_key_are_counted_up_without_a_gap(calls):
    nonces = defaultdict(list)
    for rank, _, keys, nonce, _ in calls:
        for key in keys:
            nonces[rank, key].append(int.from_bytes(nonce, "little"))
    for drawn in nonces.values():
        assert drawn == list(range(len(drawn)))


def test_the_recorder_sees_every_function_of_the_kernel(monkeypatch):
    """Whatever is drawn goes through one call, so nothing can be missed above."""
    seen = []
    shim = SimpleNamespace(chacha20=lambda *a: seen.append(a[0]))
    monkeypatch.setattr(kernel, "machine_of", lambda _out: shim)
    key, nonce, out = bytes(32), bytes(12), np.zeros(4, np.uint64)
    kernel.fill(out, key, nonce)
    kernel.random(4, key, nonce)
    for function in (kernel.add, kernel.subtract, kernel.xor):
        function(out, key, nonce)
    for function in (kernel.add_difference, kernel.xor_both):
        function(out, key, key, nonce)
    public = [n for n in dir(kernel) if callable(getattr(kernel, n)) and n.islower()]
    drawing = [
        n for n in public if n[0] != "_" and getattr(kernel, n).__module__ == kernel.__name__
    ]
    assert len(seen) == len(drawing) == 7
