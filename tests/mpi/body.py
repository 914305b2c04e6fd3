"""What every transport must do, as programs of one party: run by threads and by real ranks.

`python -m tests.mpi.body NAME PARTIES` is one rank under mpirun. It ends as a job does: a radmpc
error becomes a line on stderr and a non-zero exit, of any other error only its kind is told.
"""

import os
import signal
import sys
import time

import numpy as np

from kernels.machines import HOST
from kernels.ring import multiply
from mpc.correlated.seeded import Maker
from mpc.errors import MpcError
from mpc.launch import abort_all, run_under_mpi, run_with_dealer
from mpc.party import Buffer, Party
from mpc.sources import dealer as dealer_module
from mpc.transport import mpi, underway
from protocols.additive import AdditiveProtocol
from tests.mpi.transcripts import FIXED_SEEDS, say

SIZES = (0, 1, 3, 7, 8, 1000, 1001, 4095, 4096, 4097, 65_537)
KINDS = (np.uint64, np.uint8, np.uint16, np.int64, np.float64, np.bool_, ">u4", "M8[s]")
NAMES = ("north", "east", "south", "west")
DEADLINE_S = 2.0


def content(sender, receiver, round_, n, kind=np.uint8):
    """n items that differ by sender, receiver and round, as both sides can work out."""
    rng = np.random.default_rng([sender, receiver, round_, n])
    return rng.integers(0, 2 if kind is np.bool_ else 100, n).astype(kind)


def check(arrays, expected):
    assert len(arrays) == len(expected)
    for a, e in zip(arrays, expected, strict=True):
        assert a.dtype == e.dtype and a.shape == e.shape and np.array_equal(a, e)


# Every party is well-behaved: for any number of parties.


def arrays_of_odd_sizes_and_kinds_arrive_as_they_were(party):
    for kind in KINDS:
        send = {p: [content(party.rank, p, 0, n, kind) for n in SIZES] for p in party.others}
        heard = party.exchange(
            send, {p: [Buffer((n,), np.dtype(kind)) for n in SIZES] for p in party.others}
        )
        for p in party.others:
            check(heard[p], [content(p, party.rank, 0, n, kind) for n in SIZES])


def arrays_of_any_shape_and_layout_arrive_contiguous(party):
    square = np.arange(35, dtype=np.uint64).reshape(5, 7) + np.uint64(party.rank)
    frozen = np.frombuffer(bytes([party.rank] * 5), np.uint8)  # read-only
    mine = [square.T, square[::2, ::-1], square[0, 0].reshape(()), frozen, square[:0]]
    for peer, arrays in party.broadcast(*mine).items():
        theirs = square + np.uint64(peer) - np.uint64(party.rank)
        frozen = np.frombuffer(bytes([peer] * 5), np.uint8)
        check(arrays, [theirs.T, theirs[::2, ::-1], theirs[0, 0].reshape(()), frozen, theirs[:0]])


def a_rotation_comes_from_the_party_after(party):
    (heard,) = party.rotate(np.full(3, party.rank, np.uint64))
    check([heard], [np.full(3, (party.rank + 1) % party.size, np.uint64)])


def a_broadcast_reaches_all_and_includes_ones_own(party):
    heard = party.broadcast(np.array([party.rank], np.int64), np.zeros(0, np.uint8))
    assert sorted(heard) == list(range(party.size))
    for peer, arrays in heard.items():
        check(arrays, [np.array([peer], np.int64), np.zeros(0, np.uint8)])


def a_round_may_leave_parties_idle(party):
    last, before = party.size - 1, party.meter.total.rounds
    for round_ in range(20):
        send = {0: [content(last, 0, round_, 5)]} if party.rank == last != 0 else {}
        expect = {last: [Buffer((5,), np.dtype(np.uint8))]} if party.rank == 0 != last else {}
        heard = party.exchange(send, expect)
        if expect:
            check(heard[last], [content(last, 0, round_, 5)])
    assert party.meter.total.rounds - before == 20


def a_party_may_run_ahead_of_one_that_is_slow(party):
    if party.rank == 0:
        time.sleep(0.3)
    for round_ in range(200):
        send = {0: [content(party.rank, 0, round_, 9)]} if party.rank else {}
        expect = {} if party.rank else {p: [Buffer.like(content(p, 0, 0, 9))] for p in party.others}
        for peer, arrays in party.exchange(send, expect).items():
            check(arrays, [content(peer, 0, round_, 9)])
    party.broadcast(np.zeros(1))


def a_party_that_waits_leaves_the_core_to_others(party):
    party.broadcast(np.zeros(1))
    worked = time.thread_time()
    if party.rank == 0:
        time.sleep(0.5)
    party.broadcast(np.zeros(1))
    assert time.thread_time() - worked < 0.25


def many_arrays_to_one_peer_stay_in_order(party):
    send = {p: [content(party.rank, p, k, k % 11) for k in range(300)] for p in party.others}
    heard = party.exchange(
        send,
        {p: [Buffer.like(content(p, party.rank, k, k % 11)) for k in range(300)] for p in send},
    )
    for p in party.others:
        check(heard[p], [content(p, party.rank, k, k % 11) for k in range(300)])


def many_rounds_stay_in_step(party):
    total = np.array([party.rank], np.uint64)
    for _ in range(300):
        (after,) = party.rotate(total)
        total = total * np.uint64(3) + after
    everyone = [np.array([r], np.uint64) for r in range(party.size)]
    for _ in range(300):
        everyone = [
            everyone[r] * np.uint64(3) + everyone[(r + 1) % party.size] for r in range(party.size)
        ]
    check([total], [everyone[party.rank]])


def what_was_sent_may_be_changed_at_once(party):
    for n in (1, 1_000_000):
        mine = np.full(n, party.rank, np.uint64)
        (heard,) = party.rotate(mine)
        mine[:] = 77
        party.rotate(np.zeros(1))
        check([heard], [np.full(n, (party.rank + 1) % party.size, np.uint64)])


def sixty_four_mebibytes_arrive(party):
    mine = np.arange(8 << 20, dtype=np.uint64) + np.uint64(party.rank)
    (heard,) = party.rotate(mine)
    mine -= np.uint64(party.rank)
    mine += np.uint64((party.rank + 1) % party.size)
    assert np.array_equal(heard, mine)


def the_meter_counts_each_direction(party):
    lengths = {p: 1 + 10 * party.rank + p for p in party.others}
    expect = {p: [Buffer((1 + 10 * p + party.rank,))] for p in party.others}
    with party.meter.scope("here"):
        party.exchange({p: [np.zeros(n, np.uint64)] for p, n in lengths.items()}, expect)
    here = party.meter.operations["here"]
    assert here.rounds == 1
    assert dict(here.sent) == {p: 8 * n for p, n in lengths.items()}
    assert dict(here.received) == {p: 8 * (1 + 10 * p + party.rank) for p in party.others}


GOOD = (
    arrays_of_odd_sizes_and_kinds_arrive_as_they_were,
    arrays_of_any_shape_and_layout_arrive_contiguous,
    a_rotation_comes_from_the_party_after,
    a_broadcast_reaches_all_and_includes_ones_own,
    a_round_may_leave_parties_idle,
    a_party_may_run_ahead_of_one_that_is_slow,
    a_party_that_waits_leaves_the_core_to_others,
    many_arrays_to_one_peer_stay_in_order,
    many_rounds_stay_in_step,
    what_was_sent_may_be_changed_at_once,
    sixty_four_mebibytes_arrive,
    the_meter_counts_each_direction,
)


# Three parties, of whom "east" (1) misbehaves.


def one_is_at_another_step(party):
    if party.rank == 1:
        party.exchange({}, {})
    party.broadcast(np.zeros(4))


def one_sends(n, due=64):
    """East sends n bytes where others are due."""

    def program(party):
        mine = np.zeros(n if party.rank == 1 else due, np.uint8)
        expect = {p: [Buffer((due,), mine.dtype)] for p in party.others}
        party.exchange({p: [mine] for p in party.others}, expect)

    return program


def pieces_come_slowly(party):
    """Each within the deadline, and all of them beyond it: nobody is late."""
    mine = content(1, 0, 0, 2 * underway.PIECE_BYTES + 8)
    party.rotate(np.zeros(1))
    if party.rank == 1:
        for piece in underway.pieces([mine]):
            time.sleep(0.6 * party.deadline_s)
            party.transport._comm.Send([piece, party.transport._mpi.BYTE], 0, 1 + party._step)
    elif party.rank == 0:
        check(party.exchange({}, {1: [Buffer(mine.shape, mine.dtype)]})[1], [mine])


def one_falls_asleep(party):
    """North waits for south, who waits for east."""
    if party.rank == 1:
        time.sleep(3 * party.deadline_s)
    for _ in range(3):
        if party.rank == 2:
            party.exchange({0: [np.zeros(1)]}, {1: [Buffer((1,))]})
        elif party.rank == 0:
            party.exchange({}, {2: [Buffer((1,))]})
        else:
            party.exchange({2: [np.zeros(1)]}, {})


def one_does_not_take_what_is_sent(party):
    """A message too large to be sent without its receiver."""
    if party.rank == 1:
        time.sleep(3 * party.deadline_s)
    elif party.rank == 0:
        party.exchange({1: [np.zeros(1 << 20)]}, {})
    else:
        party.exchange({}, {0: [Buffer((1,))]})


def one_is_killed(party):
    for round_ in range(1000):
        if party.rank == 1 and round_ == 30:
            os.kill(os.getpid(), signal.SIGKILL)
        party.rotate(np.zeros(1000))


def one_is_killed_while_others_compute(party):
    party.rotate(np.zeros(1))
    if party.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    until = time.monotonic() + 20
    while time.monotonic() < until:
        np.linalg.norm(np.ones((200, 200)))


class LookingLate:
    """A communicator on which a message is first seen after the farewell that follows it."""

    def __init__(self, inner):
        self._inner, self._heard = inner, False

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def Improbe(self, source, tag, status):  # noqa: N802
        if tag == mpi._FAREWELL:
            found = self._inner.Improbe(source, tag, status)
            self._heard = self._heard or found is not None
            return found
        return self._inner.Improbe(source, tag, status) if self._heard else None


def one_ends_right_after_it_sent(party):
    """North sees east's message when east has ended already, and waits for it in vain then."""
    if party.rank == 1:
        party.exchange({0: [np.arange(3)]}, {})
        raise ValueError
    if party.rank == 0:
        party.transport._comm = LookingLate(party.transport._comm)
        assert np.array_equal(party.exchange({}, {1: [Buffer.like(np.arange(3))]})[1][0], range(3))
    else:
        party.exchange({}, {})
    party.exchange({}, {1: [Buffer((1,))]})


def one_raises(party):
    party.rotate(np.zeros(1))
    if party.rank == 1:
        raise ValueError("the pixel was 12345")
    party.broadcast(np.zeros(1))


BAD = {
    "other-step": one_is_at_another_step,
    "longer": one_sends(65),
    "much-longer": one_sends(1 << 22),
    "shorter": one_sends(63),
    "twice": one_sends(2 * underway.PIECE_BYTES, due=underway.PIECE_BYTES),
    "half": one_sends(underway.PIECE_BYTES, due=2 * underway.PIECE_BYTES),
    "slowly": pieces_come_slowly,
    "nothing": one_sends(0),
    "asleep": one_falls_asleep,
    "deaf": one_does_not_take_what_is_sent,
    "killed": one_is_killed,
    "killed-computing": one_is_killed_while_others_compute,
    "raises": one_raises,
    "ends": one_ends_right_after_it_sent,
}


# Parties and a dealer, who is the last rank and may misbehave.


def dealt_products(party, source):
    """Products of public numbers, so that a dealer has something to do; more than it lives for."""
    p = AdditiveProtocol(party, source=source)
    for turn in range(30):
        x, y = (p.constant(np.arange(5, dtype=np.uint64) + np.uint64(k)) for k in (turn, 3))
        (z,) = p.open(*p.bilinear(multiply, (x, y)), reason="a test")
        assert np.array_equal(z, (np.arange(5) + turn) * (np.arange(5) + 3))
    return source.served


def a_party_is_killed(party, source):
    dealt_products(party, source)
    if party.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    dealt_products(party, source)


def a_party_raises(party, source):
    if party.rank == 0:
        raise ValueError("the pixel was 12345")
    dealt_products(party, source)


class Ill(Maker):
    """Makes ten items, and then does something else."""

    def corrections(self, number, item):
        if number == 10:
            self.then()
        return super().corrections(number, item)


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def raises():
    raise ValueError("the mask was 12345")


def asleep():
    time.sleep(3 * DEADLINE_S)


DEALT = {
    "dealer-good": (dealt_products, None),
    "dealer-killed": (dealt_products, killed),
    "dealer-raises": (dealt_products, raises),
    "dealer-asleep": (dealt_products, asleep),
    "dealer-party-killed": (a_party_is_killed, None),
    "dealer-party-raises": (a_party_raises, None),
    "dealer-differs": (dealt_products, None),
}


def with_dealer(name, parties, rank):
    """What one rank of parties with a dealer says when all goes well."""
    program, then = DEALT[name]
    if then is not None and rank == parties:
        Ill.then = staticmethod(then)
        dealer_module.Maker = Ill

    def agree(whole):
        other = name == "dealer-differs" and whole.rank == parties
        whole.agree(bytes([other] * 32), "settings")

    def memory():
        assert rank < parties, "a dealer keeps no shares"
        return HOST

    served = run_with_dealer(
        program,
        parties=parties,
        names=NAMES[:parties],
        deadline_s=DEADLINE_S if name == "dealer-asleep" else 60.0,
        agree=agree,
        memory=memory,
    )
    return f"{served}"


def as_rank(name, parties):
    """One rank under mpirun; returns its exit code."""
    from mpi4py import MPI

    rank = MPI.COMM_WORLD.Get_rank()
    if name == "transcript":
        say(Party(mpi.MpiTransport(MPI.COMM_WORLD), seed=FIXED_SEEDS[rank]), rank)
        return 0
    if name == "pieces":  # as arrays past MPI's count of bytes would travel
        underway.PIECE_BYTES, name = 1000, "good"

    def run():
        if name in DEALT:
            print(f"rank {rank}: {with_dealer(name, parties, rank)}", flush=True)
            return
        for program in GOOD if name == "good" else (BAD[name],):
            run_under_mpi(
                program,
                parties=parties,
                names=NAMES[:parties],
                deadline_s=60.0 if name == "good" else DEADLINE_S,
            )
            print(f"rank {rank}: {program.__name__}", flush=True)

    return ending_in_a_line(run, rank, expected=name != "good")


def ending_in_a_line(run, rank, expected):
    """Run, as a job ends: with an exit code, which is returned, or by ending all ranks."""
    try:
        run()
    except MpcError as error:
        print(f"rank {rank}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        abort_all(3, after_s=1.0)
    except Exception as error:
        print(f"rank {rank}: {type(error).__name__}", file=sys.stderr, flush=True)
        if not expected:
            raise
        abort_all(1, after_s=1.0)
    return 0


if __name__ == "__main__":
    sys.exit(as_rank(sys.argv[1], int(sys.argv[2])))
