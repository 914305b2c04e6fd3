"""Programs whose shares become ours and go back."""

import numpy as np
import pytest
import torch
from torch import nn

from mpc.errors import NotOffered, ShapeMismatch, UsageError
from protocols.interop.crypten import (
    bits_from_crypten,
    bits_to_crypten,
    engine,
    from_crypten,
    model_from_crypten,
    to_crypten,
)
from protocols.interop.crypten.importing import crypten
from protocols.nn import Session
from protocols.secret import SecretBits
from tests.interop.given import ULP, drawn, networks, same, shared


def _session():
    return Opened(engine.current().protocol)


class Opened(Session):
    """A session on a protocol that is there already."""

    def __init__(self, protocol):
        self.party, self.protocol = protocol.party, protocol


def shares_convert_both_ways_without_a_message():
    ours = _session()
    x = drawn(8, 3, 5)
    a = shared(x)
    rounds = ours.party.meter.total.rounds
    there = from_crypten(a, ours)
    back = to_crypten(there)
    assert ours.party.meter.total.rounds == rounds
    assert there.shape == x.shape and there.dtype == torch.float32
    assert torch.equal(ours.open(there, reason="a test").float(), x)
    same(back, x)
    same(to_crypten(there * 2 + 1), 2 * x + 1)
    same(to_crypten(torch.relu(there)), x.relu())
    a += 1  # what was converted is a copy
    same(back, x)
    assert torch.equal(ours.open(there, reason="a test").float(), x)
    integers = from_crypten(a._ltz(), ours)
    assert integers.dtype == torch.int64
    assert torch.equal(ours.open(integers, reason="a test"), (x + 1 < 0).long())
    same(to_crypten(integers), (x + 1 < 0).long())


def what_cannot_be_converted_is_refused_by_kind():
    ours = _session()
    fine = crypten.cryptensor(torch.ones(2), precision=20)
    with pytest.raises(NotOffered, match="20 fractional bits"):
        from_crypten(fine, ours)
    binary = shared(torch.ones(2)).to(crypten.mpc.binary)
    with pytest.raises(NotOffered, match="binary"):
        from_crypten(binary, ours)
    with pytest.raises(UsageError, match="not Tensor"):
        from_crypten(torch.ones(2), ours)
    with pytest.raises(NotOffered, match="use additive"):
        from_crypten(shared(torch.ones(2)), Session(protocol="clear"))


def binary_shares_convert_both_ways():
    protocol = engine.current().protocol
    x = torch.from_numpy(np.random.default_rng(1).integers(-99, 99, (3, 50)))
    mine = x if crypten.communicator.get().get_rank() == 0 else torch.zeros_like(x)
    theirs = crypten.mpc.primitives.BinarySharedTensor(mine, src=0)
    bits = bits_from_crypten(theirs, protocol)
    assert torch.equal(bits_to_crypten(bits).get_plain_text(), x)
    sign = SecretBits(protocol, bits.bits.plane(63))
    assert torch.equal(bits_to_crypten(sign).get_plain_text(), (x < 0).long())


def a_model_of_cryptens_becomes_one_of_secret_tensors():
    ours = _session()
    theirs, plain = networks()
    with pytest.raises(UsageError, match="encrypt"):
        model_from_crypten(theirs, plain, ours)
    x = drawn(2, 2, 1, 8, 8, scale=1)
    expected = plain(x).detach()
    theirs.encrypt()
    with pytest.raises(ShapeMismatch, match="has shape"):
        model_from_crypten(theirs, nn.Sequential(nn.Conv2d(1, 5, 3), nn.Linear(80, 3)), ours)
    with pytest.raises(ShapeMismatch, match="holds 4 tensors"):
        model_from_crypten(theirs, nn.Linear(3, 3), ours)
    _, fresh = networks()
    for p in fresh.parameters():
        p.data.zero_()
    model = model_from_crypten(theirs, fresh, ours)
    out = ours.open(model(from_crypten(shared(x), ours)), reason="a test")
    assert (out - expected).abs().max() < 30 * ULP
