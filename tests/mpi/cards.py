"""Messages between ranks of which some keep their shares on what stands for a card.

`python -m tests.mpi.cards NAME MEMORIES` is one rank under mpirun, MEMORIES a letter for each rank:
`h` the host; `c` a card, whose messages cross through page-locked memory; `d` a card whose memory
MPI takes as it lies. Pieces are short, so that many arrays take several.
"""

import os
import signal
import sys
import time
from dataclasses import replace

import numpy as np

from kernels.cuda import staging
from kernels.machines import HOST, make_known, on_host
from mpc.launch import run_under_mpi
from mpc.party import Buffer, Party
from mpc.transport import mpi, underway
from tests.kernels import streams
from tests.kernels.emulator import ON_A_CARD
from tests.kernels.oncard import CARD, OnCard
from tests.mpi.body import KINDS, NAMES, SIZES, check, content, ending_in_a_line
from tests.mpi.transcripts import FIXED_SEEDS, say

PIECE_BYTES = 1000
SHARES = (np.uint64, np.uint16, np.uint32)
HEARD = 77  # tag of what ranks tell each other beside the wires


def exchanged(party, send):
    """One round in which all parties send alike: what came, on the host, and its kinds."""
    heard = party.exchange(
        {p: [party.memory.put(a) if a.dtype in SHARES else a for a in send(party.rank, p)]
         for p in party.others},
        {p: [Buffer.like(a) for a in send(p, party.rank)] for p in party.others},
    )  # fmt: skip
    for p, arrays in heard.items():
        for a in arrays:
            there = party.memory is CARD and a.dtype in SHARES
            assert type(a) is (OnCard if there else np.ndarray)
        check([on_host(a) for a in arrays], send(p, party.rank))


# With any memory at any rank.


def arrays_of_many_pieces_cross_both_ways(party):
    for kind in SHARES:
        exchanged(party, lambda s, r, kind=kind: [content(s, r, 1, 5003, kind)])


def many_arrays_of_many_kinds_stay_in_order(party):
    """Of pieces on the host and on cards, longer and shorter than one, and of none at all."""

    def arrays(sender, receiver):
        sizes = (0, 1, 3, 499, 500, 501, 1000, 1001, 4097)
        kinds = (*SHARES, np.uint8, np.int64)
        rng = np.random.default_rng([sender, receiver])
        drawn = [(int(rng.choice(sizes)), kinds[rng.integers(len(kinds))]) for _ in range(80)]
        return [content(sender, receiver, k, n, kind) for k, (n, kind) in enumerate(drawn)]

    exchanged(party, arrays)


def arrays_without_elements_cross(party):
    exchanged(party, lambda *_: [np.empty((0, 3), np.uint64), np.empty((2, 0), np.uint16)])


def arrays_of_odd_sizes_and_kinds_cross(party):
    for kind in KINDS:
        exchanged(party, lambda s, r, kind=kind: [content(s, r, 0, n, kind) for n in SIZES[:-2]])


def what_was_sent_may_be_changed_at_once(party):
    for n in (1, 5003):
        mine = party.memory.put(np.full(n, party.rank, np.uint64))
        (heard,) = party.rotate(mine)
        mine += np.uint64(77)
        party.rotate(np.zeros(1))
        check([on_host(heard)], [np.full(n, (party.rank + 1) % party.size, np.uint64)])


def what_came_is_computed_with_at_once(party):
    """Round after round, in memory that is used again and again."""
    n = 3001
    total = party.memory.put(np.full(n, party.rank, np.uint64))
    everyone = [np.full(n, rank, np.uint64) for rank in range(party.size)]
    for _ in range(10):
        (after,) = party.rotate(total)
        total = total * np.uint64(3) + after
        everyone = [
            everyone[r] * np.uint64(3) + everyone[(r + 1) % party.size] for r in range(party.size)
        ]
    check([on_host(total)], [everyone[party.rank]])


def what_lies_in_another_order_crosses(party):
    square = np.arange(77 * 35, dtype=np.uint64).reshape(77, 35) + np.uint64(party.rank)
    mine = party.memory.put(square)
    for peer, arrays in party.broadcast(mine.T, mine[::2, 3:], mine[0, :1].reshape(())).items():
        theirs = square + np.uint64(peer) - np.uint64(party.rank)
        check([on_host(a) for a in arrays], [theirs.T, theirs[::2, 3:], theirs[0, 0].reshape(())])


def pieces_of_full_length_cross(party):
    underway.PIECE_BYTES = FULL
    exchanged(party, lambda s, r: [content(s, r, 2, (9 << 19) + 3, np.uint16)])
    underway.PIECE_BYTES = PIECE_BYTES


FULL = underway.PIECE_BYTES
ANY = (
    arrays_of_many_pieces_cross_both_ways,
    many_arrays_of_many_kinds_stay_in_order,
    arrays_without_elements_cross,
    arrays_of_odd_sizes_and_kinds_cross,
    what_was_sent_may_be_changed_at_once,
    what_came_is_computed_with_at_once,
    what_lies_in_another_order_crosses,
    pieces_of_full_length_cross,
)


# Where a card is stood for: its copies and its work are as late as these like.


def what_is_sent_was_computed_first(party):
    mine = party.memory.put(np.zeros(3001, np.uint64))
    party.rotate(np.zeros(1))
    if party.memory is CARD:
        streams.get_current_stream().add(lambda: mine.view(np.ndarray).fill(party.rank))
    else:
        mine[:] = party.rank
    (heard,) = party.rotate(mine)
    check([on_host(heard)], [np.full(3001, (party.rank + 1) % party.size, np.uint64)])


def one_array_for_all_peers_is_copied_once(party):
    copies, get = [], streams.Copied.get

    def counted(self, *args, **kwargs):
        copies.append(self.nbytes)
        return get(self, *args, **kwargs)

    streams.Copied.get = counted
    heard = party.broadcast(party.memory.put(np.arange(1001, dtype=np.uint64)))
    streams.Copied.get = get
    assert sum(copies) == (8 * 1001 if party.memory is CARD else 0)
    for arrays in heard.values():
        check([on_host(a) for a in arrays], [np.arange(1001, dtype=np.uint64)])


def a_party_receives_while_its_own_card_is_busy(party):
    """No copy from its card is over before something has landed there."""
    land = staging.StagedCrossing.land

    def landing(self, piece, came):
        streams.Event.late = False
        land(self, piece, came)

    party.broadcast(np.zeros(1))
    streams.Event.late, staging.StagedCrossing.land = party.rank == 0, landing
    exchanged(party, lambda s, r: [content(s, r, 3, 2001, np.uint64)])
    staging.StagedCrossing.land = land


def a_piece_is_sent_before_the_next_is_copied_and_lands_before_it_comes(party):
    """East's card copies a piece only when the one before was on its way to west's card."""
    from mpi4py import MPI

    pieces, crossing, world = 5, staging.StagedCrossing, MPI.COMM_WORLD
    land, fetch = crossing.land, crossing.fetch

    def telling(self, piece, came):
        land(self, piece, came)
        world.send(None, 1, HEARD)

    def asking(self, piece):
        room, whole = fetch(self, piece)
        asking.fetched += 1
        number = asking.fetched

        def told():
            while asking.heard < number - 1 and world.iprobe(0, HEARD):
                world.recv(source=0, tag=HEARD)
                asking.heard += 1
            return asking.heard >= number - 1 and whole()

        return room, told

    asking.fetched = asking.heard = 0
    mine = content(1, 0, 4, pieces * PIECE_BYTES // 8, np.uint64)
    if party.rank == 1:
        crossing.fetch = asking
        party.exchange({0: [party.memory.put(mine)]}, {})
        while asking.heard < pieces:
            world.recv(source=0, tag=HEARD)
            asking.heard += 1
    elif party.rank == 0:
        crossing.land = telling
        (heard,) = party.exchange({}, {1: [Buffer.like(mine)]})[1]
        check([on_host(heard)], [mine])
    else:
        party.exchange({}, {})
    crossing.land, crossing.fetch = land, fetch


def a_party_blames_nobody_for_the_time_that_its_own_card_takes(party):
    since, query, deadline_s = time.monotonic(), streams.Event.query, party.deadline_s
    if party.rank == 0:
        party.deadline_s = 0.3
        streams.Event.query = lambda e: query(e) if time.monotonic() - since > 1.0 else e.status
    else:
        time.sleep(0.8)
    exchanged(party, lambda s, r: [content(s, r, 3, 2001, np.uint64)])
    streams.Event.query, party.deadline_s = query, deadline_s


STOOD_FOR = (
    what_is_sent_was_computed_first,
    one_array_for_all_peers_is_copied_once,
    a_party_receives_while_its_own_card_is_busy,
    a_piece_is_sent_before_the_next_is_copied_and_lands_before_it_comes,
    a_party_blames_nobody_for_the_time_that_its_own_card_takes,
)


# East, on a card, is lost when some pieces of its message are sent and others are not.


def lost(then):
    def program(party):
        fetch = staging.StagedCrossing.fetch

        def failing(self, piece):
            room, whole = fetch(self, piece)
            failing.fetched += 1
            if failing.fetched < 4:
                return room, whole
            return room, then

        failing.fetched = 0
        if party.rank == 1:
            staging.StagedCrossing.fetch = failing
        try:
            exchanged(party, lambda s, r: [content(s, r, 3, 2001, np.uint64)])
        finally:
            (kept,) = (kept for kept in mpi._ABANDONED if isinstance(kept, underway.Round))
            assert kept.crossings, "nothing that a copy uses is let go"

    return program


def killed():
    time.sleep(0.3)  # what was sent has come
    os.kill(os.getpid(), signal.SIGKILL)


def raises():
    time.sleep(0.3)
    raise ValueError("the pixel was 12345")


def never():
    time.sleep(0.01)
    return False


LOST = {"killed": lost(killed), "raises": lost(raises), "never": lost(never)}


def as_rank(name, memories):
    """One rank under mpirun; returns its exit code."""
    from mpi4py import MPI

    rank = MPI.COMM_WORLD.Get_rank()
    underway.PIECE_BYTES = PIECE_BYTES
    memory = HOST if memories[rank] == "h" else CARD
    if memories[rank] == "d":
        underway.takes_cards = lambda: True
        make_known(OnCard, replace(CARD, crossing=not_asked))
    if name == "transcript":
        wires = mpi.MpiTransport(MPI.COMM_WORLD)
        say(Party(wires, seed=FIXED_SEEDS[rank], memory=memory), rank)
        return 0
    programs = {"any": ANY, "stood-for": STOOD_FOR, "taken": (*ANY, *STOOD_FOR[:1])}

    def run():
        for program in programs.get(name) or (LOST[name],):
            run_under_mpi(
                lambda party, program=program: program(placed(party, memory)),
                parties=len(memories),
                names=NAMES[: len(memories)],
                deadline_s=2.0 if name in LOST else 60.0,
            )
            print(f"rank {rank}: {program.__name__}", flush=True)

    return ending_in_a_line(run, rank, expected=name in LOST)


def placed(party, memory):
    party.memory = memory
    return party


def not_asked(_):
    raise AssertionError("a message crosses that MPI takes as it lies")


if __name__ == "__main__":
    assert not ON_A_CARD or sys.argv[1] in ("any", "transcript")
    sys.exit(as_rank(*sys.argv[1:]))
