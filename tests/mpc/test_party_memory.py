"""Where a party's messages come to, and how they are sent from there."""

import numpy as np
import pytest

from kernels.machines import HOST
from mpc.launch import run_parties
from mpc.party import Buffer, Party
from mpc.transport.silent import SilentTransport
from tests.kernels.oncard import CARD, OnCard

WORDS, BYTES = np.dtype(np.uint64), np.dtype(np.uint8)


def test_ring_elements_come_to_where_a_party_keeps_its_shares_and_bytes_to_the_host():
    def program(party):
        peer = 1 - party.rank
        party.memory = (HOST, CARD)[party.rank]
        mine = party.memory.xp.arange(5, dtype=np.uint64), np.ones(3, np.uint8)
        return party.exchange({peer: mine}, {peer: [Buffer((5,), WORDS), Buffer((3,), BYTES)]})[
            peer
        ]

    (ring, flags), (there, theirs) = run_parties(2, program)
    assert type(ring) is type(flags) is type(theirs) is np.ndarray and type(there) is OnCard
    assert np.array_equal(CARD.get(there), np.arange(5)) and np.array_equal(ring, np.arange(5))


def test_a_party_says_whether_its_shares_are_on_a_card_and_that_is_not_to_be_set():
    def program(party):
        party.memory = (HOST, CARD)[party.rank]
        with pytest.raises(AttributeError):
            party.device = "cuda:1"
        return party.device

    assert run_parties(2, program) == ["cpu", "cuda:0"]


def test_what_is_expected_as_an_array_comes_to_where_that_is():
    def program(party):
        peer = 1 - party.rank
        here, there = np.arange(6, dtype=np.uint16), CARD.put(np.arange(6, dtype=np.uint16))
        told = [np.zeros(6, np.uint16), CARD.put(np.zeros((2, 3), np.uint16))]
        return party.exchange({peer: [there, here]}, {peer: told})[peer]

    for first, second in run_parties(2, program):
        assert type(first) is np.ndarray and type(second) is OnCard and second.shape == (2, 3)
        assert np.array_equal(first, np.arange(6))
        assert np.array_equal(CARD.get(second).reshape(-1), np.arange(6))


class Watching(SilentTransport):
    """Keeps what it was given last."""

    def exchange(self, step, send, receive, deadline_s):
        super().exchange(step, send, receive, deadline_s)
        self.sent, self.received = send, receive


@pytest.mark.parametrize("memory", [HOST, CARD], ids=["host", "card"])
def test_a_transport_is_given_arrays_in_order_where_they_lie(memory):
    wires, square = Watching(0, 2), memory.put(np.arange(12, dtype=np.uint64).reshape(3, 4))
    mine = [square, square.T, square[0, 0], square[:0]]
    heard = Party(wires, memory=memory).exchange({1: mine}, {1: mine})[1]
    assert wires.sent[1][0] is square, "what lies in order is not copied"
    for a, sent, received, h in zip(mine, wires.sent[1], wires.received[1], heard, strict=True):
        assert type(sent) is type(received) is type(square) and received is h
        assert sent.flags.c_contiguous and sent.nbytes == a.nbytes
        assert np.array_equal(memory.get(sent).reshape(-1), memory.get(a).reshape(-1))
