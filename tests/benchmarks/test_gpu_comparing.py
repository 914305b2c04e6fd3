"""One party alone does what it does among three: as many messages, and nothing on the host."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.gpu.comparing import Unconnected, sign_bits
from kernels import machines
from kernels.machines import HOST
from mpc import party as parties
from mpc.launch import run_parties
from mpc.shares import Rep3
from protocols.rep3 import Rep3Protocol
from tests.kernels.oncard import CARD, OnCard

VALUES = 500


@pytest.fixture
def small(monkeypatch):
    """Three parts with turned roles, in several chunks."""
    monkeypatch.setattr("protocols.rep3.sharing.APART", 64)
    monkeypatch.setattr("protocols.base.CHUNK", 256)


def no_copy(_):
    raise AssertionError("a message was copied to the host")


def test_one_party_on_a_card_compares_without_a_copy_to_the_host(small, monkeypatch):
    work = sign_bits(CARD, VALUES, words=1000, chunk=256)
    monkeypatch.setitem(machines._KNOWN, OnCard, replace(CARD, get=no_copy, crossing=no_copy))
    signs = work()
    assert {type(t) for t in signs.planes.terms} == {OnCard}
    assert signs.planes.own.shape == (1, -(-VALUES // 64))


def test_one_party_alone_has_the_rounds_and_bytes_of_one_among_three(small):
    words = np.arange(VALUES, dtype=np.uint64)

    def program(party):
        protocol = Rep3Protocol(party)
        protocol.sign_bit(Rep3(words, words))
        return party.meter.total

    among = run_parties(3, program)[0]
    alone = program(Unconnected(HOST, words=10))  # fewer words than a message: more are made
    assert (alone.rounds, alone.sent, alone.received) == (among.rounds, among.sent, among.received)


def test_what_peers_say_is_uniform_and_not_the_same_twice():
    party = Unconnected(HOST, words=4096)
    like = parties.Buffer((1000,))
    first, second = (party.exchange({}, {1: [like]})[1][0] for _ in range(2))
    assert not np.array_equal(first, second)
    assert abs(np.bitwise_count(first).mean() - 32) < 1
