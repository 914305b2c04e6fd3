"""What one round has under way with MPI: arrays in pieces, and their copies to and from cards."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from kernels.machines import Crossing, known_kinds, memory_of
from mpc.ring import Array
from mpc.transport.aware import takes_cards
from mpc.transport.base import Incoming, Outgoing

if TYPE_CHECKING:
    from mpi4py import MPI

# Larger arrays travel in pieces of this many bytes, the same at all parties: who receives looks at
# the size of each. Long enough that a copy between a card and the host, some 100 us, is not mostly
# its start; short enough that copying and sending overlap.
PIECE_BYTES = 4 << 20
# How long a piece may take: at 0.5 GB a second, which is a slow copy within a machine.
MOVING_S = 8e-3
Leaving = tuple[Array, Callable[[], bool]]  # a piece on the host, and whether it is whole yet
_NOTHING: Array = np.empty(0, np.uint8)


@dataclass(slots=True)
class Landing:
    """A piece that comes to the host, and goes on to a card when it is here."""

    request: MPI.Request
    crossing: Crossing
    piece: Array
    room: Array

    def start(self) -> None:
        """Go on: MPI is done with it."""
        self.crossing.land(self.piece, self.room)


@dataclass(slots=True)
class Round:
    """All of it, by peer. It holds what MPI or a card may still read or write."""

    step: int
    tag: int
    crossings: dict[type, Crossing] = field(default_factory=dict)  # by the kind of array
    leaving: dict[int, deque[Leaving]] = field(default_factory=dict)
    wanted: dict[int, deque[Array]] = field(default_factory=dict)
    landing: dict[int, deque[Landing]] = field(default_factory=dict)
    outgoing: list[MPI.Request] = field(default_factory=list)
    receivers: list[int] = field(default_factory=list)  # of what goes out
    incoming: list[MPI.Request] = field(default_factory=list)
    senders: list[int] = field(default_factory=list)  # of what comes in
    since: float = 0.0  # when the round began, or something moved last
    left: int | None = None  # pieces still to be moved when it was last counted

    def moves(self, waited_s: float) -> bool:
        """Whether a message may be on its way: then it is slow to look away for long.

        MPI carries a large message on, bit by bit, only while it is asked for something. `since`
        is set anew where a piece has arrived or left.
        """
        coming = sum(1 for _ in self.coming())
        queues: tuple[Sized, ...] = (*self.wanted.values(), *self.leaving.values())
        under_way = coming + sum(1 for _ in self.not_taken())
        before, self.left = self.left, sum(len(queue) for queue in queues) + under_way
        if before is not None and self.left < before:
            self.since = time.monotonic()
            return True
        # What has begun to come is on its way; what was sent may wait for a peer that computes.
        return waited_s < MOVING_S and coming > 0

    def not_taken(self) -> Iterator[int]:
        """For each message that has not been taken yet, the peer that it goes to."""
        return (p for p, r in zip(self.receivers, self.outgoing, strict=True) if not r.Test())

    def coming(self) -> Iterator[int]:
        """For each message that has begun to come and is not whole, the peer that it is from."""
        return (p for p, r in zip(self.senders, self.incoming, strict=True) if not r.Test())


def crossings(send: Outgoing, receive: Incoming) -> dict[type, Crossing]:
    """What copies arrays that MPI does not take as they lie, by their kind; none on the host."""
    found = {}
    messages = chain.from_iterable(chain(send.values(), receive.values()))
    near = {type(a): a for a in messages if type(a) is not np.ndarray and a.nbytes}
    for kind, a in near.items():
        if kind in known_kinds() and (begin := memory_of(a).crossing) is not None:
            if takes_cards():
                # MPI knows nothing of the card's streams: the arrays have to be made before it
                # reads them, and nobody may still use what lay where it writes.
                memory_of(a).settle(a)
            else:
                found[kind] = begin(a)
    return found


def pieces(arrays: Iterable[Array]) -> Iterator[Array]:
    """The arrays as they are, or the bytes of one that is large or on a card in pieces.

    The last piece of an array is the only one that is shorter than PIECE_BYTES, if need be empty:
    so who expects another size than was sent finds that out at a piece, and takes no part of an
    array for all of it.
    """
    for array in arrays:
        if array.nbytes < PIECE_BYTES and type(array) is np.ndarray:
            yield array
        elif not array.nbytes:
            yield _NOTHING  # no card has anything to do with it
        else:
            flat = array.reshape(-1).view(np.uint8)
            for start in range(0, flat.size, PIECE_BYTES):
                yield flat[start : start + PIECE_BYTES]
            if not flat.size % PIECE_BYTES:
                yield _NOTHING


def whole() -> bool:
    """Of a piece that was on the host from the start."""
    return True
