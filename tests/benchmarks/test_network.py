"""A shaped transport delivers when a link would. Real time is only ever bounded from below."""

import time

import numpy as np
import pytest

from benchmarks.network import Egress, Network, ShapedTransport, far_apart, wait_until
from mpc.errors import OutOfStep, PeerError, UsageError
from mpc.launch import run_parties
from mpc.party import Buffer

MS = 10**6  # ns
SLOW = Network(rtt_s=0.010, bandwidth=8e6)  # 1 kB takes 1 ms to leave and 5 ms to travel
BYTES = np.random.default_rng(0).integers(0, 256, 1000).astype(np.uint8)


class Wires:
    """A transport that keeps what it is given, and whose peers' messages arrive when told."""

    rank, size = 0, 3

    def __init__(self, arrivals_ns=(), error=None):
        self.arrivals_ns, self.error = dict(arrivals_ns), error
        self.sent, self.closed = {}, None

    def exchange(self, step, send, receive, deadline_s):
        if self.error is not None:
            raise self.error
        self.sent = send
        for peer, (*_, arrival) in receive.items():
            arrival[0] = self.arrivals_ns[peer]

    def close(self, reason=None):
        self.closed = reason


def shaped(wires, waits, now_ns=0):
    return ShapedTransport(wires, SLOW, now_ns=lambda: now_ns, wait=waits.append)


def test_a_message_leaves_at_the_bandwidth_and_travels_half_a_round_trip():
    assert Egress(SLOW).arrival_ns(1000, now_ns=7 * MS) == (7 + 1 + 5) * MS


def test_messages_queue_behind_each_other_until_the_link_is_free():
    egress = Egress(SLOW)
    assert egress.arrival_ns(3000, now_ns=0) == (3 + 5) * MS
    assert egress.arrival_ns(1000, now_ns=1 * MS) == (4 + 5) * MS
    assert egress.arrival_ns(1000, now_ns=20 * MS) == (21 + 5) * MS


def test_both_peers_share_one_queue_and_each_is_told_its_own_arrival():
    wires = Wires()
    shaped(wires, []).exchange(1, {1: [BYTES, BYTES], 2: [BYTES]}, {}, 1.0)
    assert {peer: int(arrays[-1][0]) for peer, arrays in wires.sent.items()} == {
        1: (2 + 5) * MS,
        2: (3 + 5) * MS,
    }


def test_who_receives_waits_for_the_latest_arrival_and_who_does_not_goes_on():
    waits = []
    transport = shaped(Wires({1: 30 * MS, 2: 20 * MS}), waits)
    transport.exchange(1, {1: [BYTES]}, {}, 1.0)
    transport.exchange(2, {}, {1: [], 2: []}, 1.0)
    assert waits == []
    transport.exchange(3, {}, {1: [np.empty(1)], 2: [np.empty(1)]}, 1.0)
    assert waits == [30 * MS]


def test_errors_and_closing_pass_through():
    wires = Wires(error=OutOfStep("step 1: party 2 is at step 4"))
    transport = shaped(wires, [])
    with pytest.raises(OutOfStep, match="party 2 is at step 4"):
        transport.exchange(1, {}, {}, 1.0)
    transport.close("why")
    assert (wires.closed, transport.rank, transport.size) == ("why", 0, 3)


@pytest.mark.parametrize("settings", [(-1.0, 1e6), (float("nan"), 1e6), (0.01, 0.0)])
def test_a_link_that_cannot_be_is_refused(settings):
    with pytest.raises(UsageError, match="bandwidth is above 0"):
        Network(*settings)


def test_a_wait_ends_at_its_moment_or_after():
    moment_ns = time.monotonic_ns() + 3 * MS
    wait_until(moment_ns)
    assert time.monotonic_ns() >= moment_ns
    wait_until(0)


def test_values_arrive_intact_and_the_meter_sees_what_it_saw_without_a_network():
    def program(party):
        def bytes_of(party):
            heard = party.broadcast(BYTES + np.uint8(party.rank), np.arange(5.0))
            for peer, (raw, reals) in heard.items():
                assert np.array_equal(raw, BYTES + np.uint8(peer))
                assert np.array_equal(reals, np.arange(5.0))
            return party.meter.total.rounds, party.meter.total.sent, party.meter.total.received

        return bytes_of(far_apart(party, SLOW)), bytes_of(party)

    for far, near in run_parties(3, program):
        assert far == near


def test_a_round_takes_at_least_its_sending_and_half_a_round_trip():
    """From the first start to any end: who starts late may find that its peer was early."""

    def program(party):
        far = far_apart(party, SLOW)
        party.broadcast(np.zeros(1))
        start = time.monotonic_ns()
        far.rotate(BYTES)
        far.rotate(BYTES[:0])
        return start, time.monotonic_ns()

    starts, ends = zip(*run_parties(3, program), strict=True)
    assert min(ends) - min(starts) >= (1 + 5 + 5) * MS


def test_a_party_that_sends_nothing_delays_nobody():
    """Rank 0's link takes an hour, but it only listens."""

    def program(party):
        hours = Network(rtt_s=7200.0, bandwidth=1.0)
        far = far_apart(party, hours if party.rank == 0 else SLOW)
        if party.rank == 0:
            return far.exchange({}, {1: [Buffer.like(BYTES)]})[1][0]
        return far.exchange({0: [BYTES]} if party.rank == 1 else {}, {}) or BYTES

    assert all(np.array_equal(heard, BYTES) for heard in run_parties(3, program))


def test_a_lost_peer_is_named_over_a_network_too():
    def program(party):
        if party.rank == 1:
            raise UsageError("stops early")
        with pytest.raises(PeerError, match="party 1 ended"):
            far_apart(party, SLOW).exchange({}, {1: [Buffer.like(BYTES)]})
        raise UsageError("stops early")

    with pytest.raises(UsageError, match="stops early"):
        run_parties(3, program)
