"""Operators that move elements about are exact, forward and backward, and send nothing."""

import pytest
import torch
from torch.nn import functional as F

from mpc.errors import NotOffered
from mpc.launch import run_parties
from protocols.nn import Session
from tests.nn.both import check, reals, secretly, shared

X = (2, 3, 4, 6)
PLACES = torch.tensor([2, 0, 0])
MOVES = {
    "view": lambda x: x.view(6, 24),
    "reshape": lambda x: x.transpose(0, 1).reshape(3, -1),
    "flatten": lambda x: x.flatten(1),
    "unflatten": lambda x: x.flatten().unflatten(0, (12, 12)),
    "t": lambda x: x[0, 0].t(),
    "transpose": lambda x: x.transpose(-1, 1),
    "permute": lambda x: x.permute(3, 0, 2, 1),
    "movedim": lambda x: x.movedim(1, 3),
    "expand": lambda x: x[:, :1].expand(-1, 5, -1, -1),
    "repeat": lambda x: x.repeat(2, 1, 3, 1),
    "repeat_interleave": lambda x: x.repeat_interleave(2, 1),
    "unsqueeze": lambda x: x.unsqueeze(2),
    "squeeze": lambda x: x[:, :1, :1].squeeze(),
    "squeeze one": lambda x: x[:, :1].squeeze(1),
    "cat": lambda x: torch.cat([x, x[:, :1]], 1),
    "cat with nothing": lambda x: torch.cat([torch.zeros(0).to(x.dtype), x.flatten()]),
    "stack": lambda x: torch.stack([x, x * 2], -1),
    "slice": lambda x: x[1:, :2, ::3, -2:],
    "slice to the end": lambda x: x[..., 1:4:2],
    "select": lambda x: x[1, -1],
    "none": lambda x: x[None, :, None],
    "split": lambda x: x.split(2, 1)[1],
    "split with sizes": lambda x: x.split([1, 3], 2)[1],
    "chunk": lambda x: x.chunk(4, 3)[2],
    "unbind": lambda x: x.unbind(1)[2],
    "index": lambda x: x[:, PLACES],
    "index twice": lambda x: x[PLACES % 2, PLACES],
    "index by mask": lambda x: x[torch.tensor([False, True])],
    "index_select": lambda x: x.index_select(2, PLACES),
    "gather": lambda x: x.gather(1, torch.zeros(2, 2, 4, 6, dtype=torch.long)),
    "flip": lambda x: x.flip(0, 3),
    "roll": lambda x: x.roll((1, -2), (0, 2)),
    "roll flat": lambda x: x.roll(5),
    "tril": lambda x: x.tril(-1),
    "triu": lambda x: x.triu(1),
    "diagonal": lambda x: x.diagonal(1, 2, 3),
    "cumsum": lambda x: x.cumsum(2),
    "pad": lambda x: F.pad(x, (1, 2, 0, 1)),
    "pad by a value": lambda x: F.pad(x, (1, 2), value=1.5),
    "crop": lambda x: F.pad(x, (-1, -2, 1, -1)),
    "reflection pad": lambda x: F.pad(x, (2, 1, 1, 3), mode="reflect"),
    "replication pad": lambda x: F.pad(x, (2, 1, 1, 5), mode="replicate"),
    "pixel shuffle": lambda x: F.pixel_shuffle(x.reshape(1, 12, 2, 6), 2),
    "pixel unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "clone": lambda x: x.clone(),
    "contiguous": lambda x: x.transpose(0, 1).contiguous(),
    "double": lambda x: x.double(),
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
}


@pytest.mark.parametrize("name", MOVES)
def test_a_move_is_exact_forward_and_backward(name):
    check("clear", MOVES[name], reals(1, *X), grads=[0])


def test_moves_agree_under_rep3_and_send_nothing():
    x = reals(1, *X)

    def program(party):
        session = Session(party)
        t = shared(session, x, grad=True)
        before = party.meter.total.rounds
        moved = [f(t) for f in MOVES.values()]
        sent = party.meter.total.rounds - before
        values = [session.open(y.detach(), reason="a test").double() for y in moved]
        return sent, values

    for sent, values in run_parties(3, program):
        assert sent == 0
        for f, found in zip(MOVES.values(), values, strict=True):
            assert torch.equal(found, f(x))


def test_truth_values_move_without_becoming_numbers():
    x = reals(2, *X)

    def program(party):
        session = Session(party)
        bits = shared(session, x) > 0
        before = party.meter.total.rounds
        moved = [bits.transpose(1, 2).reshape(2, -1)[:, ::5], torch.cat([bits, bits], 1), bits[0]]
        assert all(m.dtype == torch.bool for m in moved)
        assert party.meter.total.rounds == before
        return [session.open(m, reason="a test") for m in moved]

    bits = x > 0
    expected = [bits.transpose(1, 2).reshape(2, -1)[:, ::5], torch.cat([bits, bits], 1), bits[0]]
    for found in run_parties(3, program):
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_values_put_at_public_places_are_put_there():
    def put(x, y):
        z = x * 1
        z[torch.tensor([1, 0])] = y
        return z

    check("clear", put, reals(1, 3, 4), reals(2, 2, 4), grads=[0, 0])


@pytest.mark.parametrize(
    "f, says",
    [
        (lambda x: x[x > 0], "secret places"),
        (lambda x: x[(x > 0).long()], "secret places"),
        (lambda x: F.interpolate(x[None, None], size=(4, 5)), "whole factor"),
        (lambda x: x[0] @ x.T, "out of place"),
        (lambda x: (x * 1).unsqueeze_(0), "out of place"),
    ],
)
def test_what_cannot_be_moved_is_refused(f, says):
    with pytest.raises(NotOffered, match=says):
        secretly("clear", f, reals(1, 3, 3))
