"""Metering: the parts add up to the whole, and both ends of a wire agree."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc import meter as metering
from mpc.launch import run_parties
from mpc.meter import Count, Meter
from mpc.party import Buffer
from tests.mpi.transcripts import transcript

# A session as a tree: a round, a move to another place, or a scope around more of the same.
STEPS = st.recursive(
    st.one_of(
        st.tuples(
            st.just("round"),
            st.dictionaries(st.integers(0, 3), st.integers(0, 9999)),
            st.dictionaries(st.integers(0, 3), st.integers(0, 9999)),
        ),
        st.tuples(st.just("place"), st.sampled_from(["", "features.0", "head"])),
    ),
    lambda inner: st.tuples(
        st.just("scope"), st.sampled_from(["relu", "select", "open"]), st.lists(inner, max_size=4)
    ),
    max_leaves=15,
)


class Clock:
    """Time that passes by one second whenever one looks, so that sums are exact."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        self.now += 1.0
        return self.now


def play(meter, step):
    kind, *rest = step
    if kind == "round":
        meter.round(*rest)
    elif kind == "place":
        meter.place = rest[0]
    else:
        with meter.scope(rest[0]):
            for inner in rest[1]:
                play(meter, inner)


def sums(counts):
    whole = Count()
    for count in counts:
        whole.rounds += count.rounds
        whole.seconds += count.seconds
        for mine, theirs in ((whole.sent, count.sent), (whole.received, count.received)):
            for peer, n in theirs.items():
                mine[peer] += n
    return whole


@given(st.lists(STEPS, max_size=8))
def test_the_parts_add_up_to_the_whole(steps):
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(metering, "time", clock)
        meter = Meter()
        start = clock.now
        for step in steps:
            play(meter, step)
        meter.settle()
        assert sums(meter.operations.values()) == meter.total
        assert meter.total.seconds == clock.now - start


def test_what_happens_is_credited_to_the_whole_path_of_place_and_scopes():
    meter = Meter()
    meter.round({1: 1}, {})
    meter.place = "features.0"
    meter.round({1: 2}, {})
    with meter.scope("relu"):
        meter.round({1: 4}, {2: 5})
        with meter.scope("select"):
            meter.round({1: 8}, {})
        meter.round({2: 16}, {})
    meter.place = ""
    with meter.scope("open"):
        meter.round({}, {1: 3})
    sent = {
        label: (c.rounds, c.sent_bytes, c.received_bytes) for label, c in meter.operations.items()
    }
    assert {label: counts for label, counts in sent.items() if counts[0]} == {
        "other": (1, 1, 0),
        "features.0": (1, 2, 0),
        "features.0/relu": (2, 20, 5),
        "features.0/relu/select": (1, 8, 0),
        "open": (1, 0, 3),
    }
    assert meter.label == "other" and meter.place == ""


def test_what_was_put_off_is_credited_to_where_it_was_put_off_from():
    meter = Meter()
    meter.place = "conv"
    with meter.scope("convolution"):
        path = meter.path
    meter.place = "pool"
    with meter.scope("max_pool"):
        with pytest.raises(KeyError), meter.at(path), meter.scope("truncate"):
            meter.round({1: 1}, {})
            raise KeyError
        meter.round({1: 2}, {})
    assert {name: c.sent_bytes for name, c in meter.operations.items() if c.rounds} == {
        "conv/convolution/truncate": 1,
        "pool/max_pool": 2,
    }


def test_a_scope_ends_when_an_error_leaves_it():
    meter = Meter()
    with pytest.raises(KeyError), meter.scope("relu"), meter.scope("select"):
        raise KeyError
    assert meter.label == "other"


def test_time_inside_a_scope_is_not_that_of_the_scope_around_it(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(metering, "time", clock)
    meter = Meter()
    clock.now = 100.0
    with meter.scope("outer"):  # enters at 101
        clock.now = 110.0
        with meter.scope("inner"):  # enters at 111, leaves at 121
            clock.now = 120.0
        clock.now = 130.0  # leaves at 131
    seconds = {label: count.seconds for label, count in meter.operations.items()}
    assert seconds == {"other": 100.0, "outer": 20.0, "outer/inner": 10.0}


def test_counts_for_a_manifest_are_plain_and_complete():
    count = Count(rounds=2, seconds=0.25)
    count.sent[2], count.sent[1], count.received[1] = 8, 16, 3
    as_dict = json.loads(json.dumps(count.as_dict()))
    assert as_dict == {
        "rounds": 2,
        "seconds": 0.25,
        "sent_bytes": 24,
        "received_bytes": 3,
        "sent_to": {"1": 16, "2": 8},
        "received_from": {"1": 3},
    }


def test_what_one_party_sent_another_received_and_all_saw_the_same_rounds():
    def program(party):
        transcript(party)
        return party.meter.total

    totals = run_parties(3, program)
    assert len({total.rounds for total in totals}) == 1
    for a in range(3):
        for b in range(3):
            assert totals[a].sent.get(b, 0) == totals[b].received.get(a, 0)
    assert sum(t.sent_bytes for t in totals) == sum(t.received_bytes for t in totals) > 0


def test_every_operation_of_a_party_adds_up_to_its_total():
    def program(party):
        with party.meter.scope("first"):
            party.rotate(np.zeros(5))
            with party.meter.scope("within"):
                party.broadcast(np.zeros(3, np.uint8))
        party.exchange({}, {})
        (
            party.exchange({0: [np.zeros(7)]}, {})
            if party.rank
            else party.exchange({}, {p: [Buffer((7,))] for p in party.others})
        )
        return party.meter

    for meter in run_parties(4, program):
        whole = sums(meter.operations.values())
        assert (whole.rounds, whole.sent, whole.received) == (
            meter.total.rounds,
            meter.total.sent,
            meter.total.received,
        )
        assert meter.total.rounds == 4


def test_time_before_a_move_belongs_to_the_place_that_was_left(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(metering, "time", clock)
    meter = Meter()
    for now, place in ((100.0, "features.0"), (110.0, "head"), (130.0, "")):
        clock.now = now
        meter.place = place
    seconds = {label: count.seconds for label, count in meter.operations.items()}
    assert seconds == {"other": 100.0, "features.0": 10.0, "head": 20.0}
