"""Where a party's messages come in, and where its shares are then."""

from dataclasses import replace

import numpy as np
import pytest

from kernels.machines import HOST
from mpc.launch import run_parties
from mpc.party import Buffer
from tests.kernels.oncard import CARD, OnCard


def test_messages_come_into_the_memorys_own_room_and_go_on_by_its_own_way():
    rooms, taken = [], []

    def room(shape, dtype):
        rooms.append((shape, np.dtype(dtype).name))
        return np.empty(shape, dtype)

    def take(a):
        taken.append(a.shape)
        return CARD.xp.asarray(a)

    staged = replace(CARD, room=room, take=take)

    def program(party):
        peer = 1 - party.rank
        party.memory = (HOST, staged)[party.rank]
        mine = party.memory.xp.arange(5, dtype=np.uint64), np.ones(3, np.uint8)
        expect = [Buffer((5,), np.dtype(np.uint64)), Buffer((3,), np.dtype(np.uint8))]
        return party.exchange({peer: mine}, {peer: expect})[peer]

    (ring, flags), (there, theirs) = run_parties(2, program)
    assert type(ring) is type(flags) is type(theirs) is np.ndarray and type(there) is OnCard
    assert np.array_equal(CARD.get(there), np.arange(5)) and np.array_equal(ring, np.arange(5))
    assert rooms == [((5,), "uint64"), ((3,), "uint8")] and taken == [(5,)]


def test_a_party_says_whether_its_shares_are_on_a_card_and_that_is_not_to_be_set():
    def program(party):
        party.memory = (HOST, CARD)[party.rank]
        with pytest.raises(AttributeError):
            party.device = "cuda:1"
        return party.device

    assert run_parties(2, program) == ["cpu", "cuda:0"]
