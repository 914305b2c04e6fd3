"""The wires between threads, and what a party does when something on them is wrong."""

import inspect
import re
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc.errors import MpcError, OutOfStep, PeerError, PeerLost, UsageError
from mpc.launch import run_parties
from mpc.party import Buffer, Party
from mpc.transport.base import Transport, readable
from mpc.transport.local import LocalHub, LocalTransport
from mpc.transport.mpi import MpiTransport
from tests.mpi.body import BAD, GOOD, NAMES

HOSTILE = {
    "control characters": (b"\x1b[2J\x07a\r\nb", "[2Jab"),
    "marks that turn the text": ("\u202esite\u2066".encode(), "site"),
    "a separator of lines": ("a\u2028b".encode(), "ab"),
    "not UTF-8": (b"\xff\xfeab", "\ufffd\ufffdab"),
    "cut in a character": (("x" * 63 + "é").encode()[:64], "x" * 63 + "\ufffd"),
    "nothing": (b"", "party 1"),
    "nothing that prints": (b"\x00\x01\x02", "party 1"),
    "zeros inside": (b"a\x00b", "ab"),
    "all 64 bytes": (b"n" * 64, "n" * 64),
    "another's rank": (b"party 2", "party 2, rank 1"),
    "another's name": (b"site 0", "site 0, rank 1"),
}


@pytest.mark.parametrize("size", [1, 3, 4])
@pytest.mark.parametrize("program", GOOD, ids=lambda program: program.__name__)
def test_the_wires_keep_every_promise_that_ranks_do(size, program):
    run_parties(size, program, deadline_s=60)


@pytest.mark.parametrize("kind", [LocalTransport, MpiTransport])
def test_a_transport_offers_what_the_floor_above_asks_for(kind):
    for name in ("exchange", "close"):
        asked, offered = (inspect.signature(getattr(t, name)) for t in (Transport, kind))
        assert list(asked.parameters) == list(offered.parameters)


def outcomes(size, program, deadline_s=30.0):
    """What each party returned, or the radmpc error that it met."""

    def caught(party):
        try:
            return program(party)
        except MpcError as error:
            return error

    return run_parties(size, caught, deadline_s=deadline_s)


def named(program):
    def introduced(party):
        party.name = NAMES[party.rank]
        party.introduce()
        return program(party)

    return introduced


def test_a_party_at_another_step_is_out_of_step_by_name():
    errors = outcomes(3, named(BAD["other-step"]))
    assert any(
        isinstance(e, OutOfStep) and "step 2: party 1 (east) is at step 3" in str(e) for e in errors
    )
    assert all(isinstance(e, PeerError) for e in errors)


@pytest.mark.parametrize(
    "name, nbytes", [("longer", 65), ("much-longer", 1 << 22), ("shorter", 63), ("nothing", 0)]
)
def test_a_message_of_another_size_is_out_of_step_by_name(name, nbytes):
    errors = outcomes(3, named(BAD[name]))
    assert any(
        isinstance(e, OutOfStep)
        and f"step 2: party 1 (east) sent [{nbytes}] bytes, not [64]" in str(e)
        for e in errors
    )


def test_another_number_of_arrays_than_expected_is_out_of_step():
    def program(party):
        mine = [np.zeros(4)] * (2 if party.rank == 1 else 1)
        party.exchange({p: mine for p in party.others}, {p: [Buffer((4,))] for p in party.others})

    assert any(isinstance(e, OutOfStep) for e in outcomes(3, program))


def test_all_that_wait_past_the_deadline_name_the_party_they_lost():
    north, _, south = outcomes(3, named(BAD["asleep"]), deadline_s=0.2)
    for error in (north, south):
        assert isinstance(error, PeerLost)
        assert "party 1 (east)" in str(error) or "party 2 (south)" in str(error)
    assert "no answer from party 1 (east) in 0.2 s" in str(south)


def test_a_party_that_raises_ends_the_others_who_hear_its_name_and_no_value():
    heard = []

    def program(party):
        try:
            named(BAD["raises"])(party)
        except PeerLost as error:
            heard.append(str(error))
            raise

    with pytest.raises(ValueError, match="12345"):
        run_parties(3, program, deadline_s=60)
    assert len(heard) == 2
    assert all("party 1 (east) ended" in line and "12345" not in line for line in heard)


def test_a_party_that_is_done_is_lost_to_one_that_still_waits():
    def program(party):
        if party.rank == 0:
            party.exchange({}, {1: [Buffer((1,))]})

    error = outcomes(2, program, deadline_s=60)[0]
    assert isinstance(error, PeerLost) and str(error) == "step 1: party 1 ended: finished"


def test_what_a_party_sent_before_it_ended_still_arrives():
    def program(party):
        if party.rank == 0:
            time.sleep(0.2)
            return party.exchange({}, {1: [Buffer((3,))]})[1][0]
        return party.exchange({0: [np.arange(3, dtype=np.uint64)]}, {})

    assert np.array_equal(run_parties(2, program)[0], np.arange(3))


def test_after_an_error_a_party_is_closed_for_good():
    def program(party):
        if party.rank == 1:
            return None
        with pytest.raises(PeerLost) as first:
            party.rotate(np.zeros(1))
        for again in (
            lambda: party.rotate(np.zeros(1)),
            lambda: party.exchange({}, {}),
            lambda: party.agree(bytes(32), "settings"),
            party.introduce,
        ):
            with pytest.raises(PeerError, match="this party was closed at step 1") as closed:
                again()
            assert str(first.value) in str(closed.value)
        return party.meter.total.rounds

    assert run_parties(2, program)[0] == 0


def test_a_party_that_was_closed_sends_nothing_more():
    party = Party(LocalHub(2).transport(0))
    party.close()
    with pytest.raises(PeerError, match="closed at step 0: finished"):
        party.exchange({1: [np.zeros(1)]}, {})


def test_an_array_of_objects_or_a_peer_that_is_none_is_refused_before_anything_is_sent():
    hub = LocalHub(2)
    party = Party(hub.transport(0))
    with pytest.raises(UsageError, match="objects"):
        party.exchange({1: [np.array([object()])]}, {})
    for wrong in (0, 2, -1):
        with pytest.raises(UsageError, match="no wire"):
            party.exchange({wrong: [np.zeros(1)]}, {})
        with pytest.raises(UsageError, match="no wire"):
            party.exchange({}, {wrong: [Buffer((1,))]})
    assert hub.wires[0, 1].empty() and party.meter.total.rounds == 0


# Agreeing.


def test_parties_that_agree_go_on():
    assert outcomes(3, lambda p: p.agree(b"s" * 32, "settings")) == [None] * 3


def test_parties_that_differ_stop_and_every_one_names_those_it_differs_from():
    def program(party):
        party.agree(bytes([party.rank == 1]) * 32, "settings")

    north, east, south = (str(e) for e in outcomes(3, named(program)))
    assert north == "north and east differ in settings: make them the same and start again"
    assert south == "south and east differ in settings: make them the same and start again"
    assert east == "east and north, south differ in settings: make them the same and start again"


def test_two_parties_that_differ_are_both_named_at_both():
    def program(party):
        party.agree(bytes([party.rank]) * 32, "code")

    for error in outcomes(2, program):
        assert isinstance(error, OutOfStep)
        assert "party 0" in str(error) and "party 1" in str(error) and "code" in str(error)


# Names.


@pytest.mark.parametrize("case", HOSTILE)
def test_a_name_that_a_peer_gives_cannot_harm_a_log(case):
    raw, expected = HOSTILE[case]

    def program(party):
        if party.rank == 1:  # does not speak through `introduce`, but says what it likes
            mine = np.zeros(64, np.uint8)
            mine[: len(raw)] = np.frombuffer(raw, np.uint8)
            party.broadcast(mine)
            return None
        party.name = f"site {party.rank}"
        party.introduce()
        return party.names

    for names in (n for n in run_parties(3, program) if n):
        assert names[1] == expected
        assert len(set(names.values())) == 3


@given(st.binary(max_size=200))
def test_text_from_a_peer_becomes_one_printable_line(raw):
    line = readable(raw)
    assert line.isprintable() and line == line.strip() and "\n" not in line


@pytest.mark.parametrize("name", ["é" * 60, "a\x1b[31mb", "\udcff", "site\n"])
def test_a_party_gives_its_name_in_64_bytes_and_calls_itself_what_the_others_do(name):
    def program(party):
        if party.rank == 0:
            party.name = name
        party.introduce()
        return party.names, party.name

    (names, own), (others, _) = run_parties(2, program)
    assert names == others and own == names[0] and own.isprintable()


def test_names_stand_beside_ranks_and_are_not_taken_for_them():
    party = Party(LocalHub(12).transport(0))
    party.names |= {1: "party 0", 10: "ten"}
    told = party._with_names("step 3: party 1, party 10, party 11")
    assert told == "step 3: party 1 (party 0), party 10 (ten), party 11"


# Seeds.


@given(st.lists(st.sampled_from(["a", "a/1", "a/1/1", "b", ""]), min_size=2, max_size=30))
def test_a_party_never_gives_the_same_seed_twice(domains):
    party = Party(LocalHub(1).transport(0), seed=bytes(32))
    assert len({party.seed(domain) for domain in domains}) == len(domains)


def test_seeds_follow_from_the_partys_own_and_are_fresh_without_one():
    def seeds(seed):
        party = Party(LocalHub(1).transport(0), seed=seed)
        return [party.seed("x"), party.seed("x"), party.seed("y")]

    assert seeds(bytes(32)) == seeds(bytes(32))
    assert not set(seeds(bytes(32))) & set(seeds(b"1" * 32))
    assert not set(seeds(None)) & set(seeds(None))


def test_two_streams_for_one_purpose_have_nothing_in_common():
    party = Party(LocalHub(1).transport(0), seed=bytes(32))
    words = np.concatenate([party.stream("masks").random((100,)) for _ in range(3)])
    assert np.unique(words).size == 300


# Launching threads.


@pytest.mark.parametrize("size", [1, 3, 4])
def test_results_come_back_by_rank(size):
    def program(party):
        time.sleep(0.01 * (size - party.rank))
        return party.rank, party.size

    assert run_parties(size, program) == [(rank, size) for rank in range(size)]


def test_the_cause_is_raised_and_not_what_the_others_make_of_it():
    class Cause(Exception):
        pass

    def program(party):
        if party.rank == 2:
            time.sleep(0.1)
            raise Cause
        party.broadcast(np.zeros(1))

    with pytest.raises(Cause):
        run_parties(4, program)


def test_out_of_step_is_raised_before_the_losses_that_follow_from_it():
    for _ in range(20):
        with pytest.raises(OutOfStep):
            run_parties(3, BAD["shorter"])


def test_a_usage_error_at_one_party_ends_all_at_once_and_is_raised():
    def program(party):
        if party.rank == 0:
            raise UsageError("no such thing")
        party.broadcast(np.zeros(1))

    with pytest.raises(UsageError, match="no such thing"):
        run_parties(3, program, deadline_s=1000)


def test_no_thread_is_left_after_a_failure():
    before = threading.active_count()
    with pytest.raises(ValueError, match="12345"):
        run_parties(3, BAD["raises"])
    assert threading.active_count() == before


@pytest.mark.parametrize("size, seeds", [(0, None), (-1, None), (3, [bytes(32)] * 2)])
def test_a_start_that_cannot_be_is_refused(size, seeds):
    with pytest.raises(UsageError, match=re.escape(f"{size} parties")):
        run_parties(size, lambda party: None, seeds=seeds)
