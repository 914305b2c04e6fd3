"""Parties as MPI ranks (mpi4py buffer calls on a communicator of our own).

MPI gives neither authentication nor encryption: use it inside one trusted network. Messages are raw
buffers whose sizes both sides know, and the tag carries the step. A message is looked at before it
is received (a matched probe): one from another step, or of another size, is refused by name and
written nowhere. Receiving it first would not do. Where a large message meets a receive that is too
small, Open MPI 5.0 does not report the truncation that MPI asks for: it corrupts its heap.

Large arrays travel in pieces of one size. One that lies on a card goes by way of the host: copies
from the card are all started when the round begins, and each piece is handed to MPI once it is
whole; what comes is on its way to the card while the next piece is received. Where MPI reads and
writes a card's memory itself, it is given the pieces as they lie, when the card is done with them.
"""

from __future__ import annotations

import os
import time
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any, NoReturn

from mpc.errors import MpcError, OutOfStep, PeerLost
from mpc.ring import Array
from mpc.transport.base import Incoming, Outgoing, readable
from mpc.transport.underway import Landing, Leaving, Round, crossings, pieces, whole

if TYPE_CHECKING:
    from mpi4py import MPI

# MPI promises tags up to 32767; steps are compared modulo this.
_TAGS = 32749
# Tag of the last thing that a party says when it stops early: why, as a line of text.
_FAREWELL, _LINE_BYTES = 32767, 512
# A wait begins by spinning, since most rounds take microseconds, but lets other ranks of the same
# core go first: at one look in four, since a look that finds nothing costs less than a turn of
# another rank, and since Open MPI, if told of more ranks than cores, yields at every one itself.
SPIN_S, LOOKS_PER_YIELD = 2e-3, 4
# Then, unless a message is on its way (`Round.moves`), it naps, longer the longer it lasts, so that
# it costs those who work little.
_SHORTEST_NAP_S, _LONGEST_NAP_S = 50e-6, 1e-3
# A party's own card has no deadline, but some end: so many times what peers have.
CARD_DEADLINES = 10
# After the deadline: time for a late peer to say that it waits for a third.
_GRACE_S = 0.5
# MPI may still read or write what was under way when a round failed: it stays in memory to the end.
_ABANDONED: list[Any] = []


def nap(waited_s: float) -> None:
    """Let others work for a while, after having waited so long."""
    time.sleep(min(max(waited_s / 20, _SHORTEST_NAP_S), _LONGEST_NAP_S))


class MpiTransport:
    """One rank's end. All ranks of `communicator` make it together, since it is duplicated."""

    def __init__(self, communicator: MPI.Intracomm) -> None:
        """Duplicate the communicator, so that no other traffic meets ours; errors return."""
        from mpi4py import MPI  # importing it initialises MPI

        self._mpi = MPI
        self._comm = communicator.Dup()
        self._comm.Set_errhandler(MPI.ERRORS_RETURN)
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()
        self._status = MPI.Status()  # of the latest probe
        self._said: dict[int, str] = {}  # farewells that have been heard, by rank
        self._closed = False

    def exchange(self, step: int, send: Outgoing, receive: Incoming, deadline_s: float) -> None:
        """See `Transport.exchange`."""
        now = Round(step, step % _TAGS)
        try:
            now.crossings = crossings(send, receive)
            now.wanted = {p: deque(pieces(buffers)) for p, buffers in receive.items() if buffers}
            self._begin(now, send)
            self._complete(now, deadline_s)
        except self._mpi.Exception as error:
            _ABANDONED.append(now)
            who = _names({*now.wanted, *now.leaving, *now.receivers, *now.senders})
            raise PeerLost(
                f"step {step}: waiting for {who}, MPI says {error.Get_error_string()}"
            ) from None
        except BaseException:
            _ABANDONED.append(now)
            raise

    def _begin(self, now: Round, send: Outgoing) -> None:
        """Hand over what can be sent, and start the copies of what lies on a card."""
        fetched: dict[int, list[Leaving]] = {}  # an array may go to several peers: it is one copy
        for peer, arrays in send.items():
            if not now.crossings:
                for piece in pieces(arrays):
                    self._send(now, peer, piece)
                continue
            queue = now.leaving[peer] = deque()
            for array in arrays:
                crossing = now.crossings.get(type(array)) if array.nbytes else None
                if crossing is None:
                    queue += [(piece, whole) for piece in pieces([array])]
                else:
                    if id(array) not in fetched:
                        fetched[id(array)] = [
                            crossing.fetch(p) if p.nbytes else (p, whole) for p in pieces([array])
                        ]
                    queue += fetched[id(array)]

    def _send(self, now: Round, peer: int, piece: Array) -> None:
        now.outgoing.append(self._comm.Isend([piece, self._mpi.BYTE], peer, now.tag))
        now.receivers.append(peer)

    def _complete(self, now: Round, deadline_s: float) -> None:
        """Send what is left, receive all that is wanted and see every request through."""
        test_all = self._mpi.Request.Testall
        now.since = handed_over = time.monotonic()
        for look in count(1):
            if now.leaving:
                self._send_whole(now)
                handed_over = time.monotonic()
            for peer in list(now.wanted):
                self._receive(now, peer)
                if not now.wanted[peer]:
                    del now.wanted[peer]
            for landing in now.landing.values():
                while landing and landing[0].request.Test():
                    landing.popleft().start()
            if (
                not (now.wanted or now.leaving or any(now.landing.values()))
                and test_all(now.outgoing)
                and test_all(now.incoming)
            ):
                for crossing in now.crossings.values():
                    crossing.join()
                return
            if look % LOOKS_PER_YIELD:
                continue
            waited = time.monotonic() - now.since
            if waited < SPIN_S or now.moves(waited):
                os.sched_yield()
                continue
            late = {*now.wanted, *now.coming(), *now.not_taken()}
            # Only who is waited for is heard, or waits: a peer whose part of this round is here may
            # have ended for a reason that this party is about to learn first-hand.
            gone = {p for p in sorted({*late, *now.leaving}) if self._farewell(p) is not None}
            for peer in gone & now.wanted.keys():
                # What it sent before it ended came before its farewell did, if only just.
                self._receive(now, peer)
            lost = {*now.leaving, *now.not_taken()}
            if ended := sorted(p for p in gone if now.wanted.get(p) or p in lost):
                # One that gave up on this party cannot know for whom this one waits in turn.
                also = late - {ended[0]}
                waiting = f"waiting for {_names(also)}, " if also else ""
                raise PeerLost(
                    f"step {now.step}: {waiting}party {ended[0]} ended: {self._said[ended[0]]}"
                )
            if now.leaving:
                if waited > CARD_DEADLINES * deadline_s:
                    raise MpcError(
                        f"step {now.step}: this party's own card has not computed what is to be "
                        f"sent in {waited:.0f} s: see nvidia-smi"
                    )
                os.sched_yield()  # a card tells nobody that it is done, so it is asked again soon
                continue
            # Peers have had time since this party's own card was done, and since anything moved.
            if late and time.monotonic() - max(handed_over, now.since) > deadline_s:
                self._give_up(now.step, late, deadline_s)
            nap(waited)

    def _give_up(self, step: int, late: set[int], deadline_s: float) -> NoReturn:
        """After the deadline: say who is late, unless a late peer says itself whom it waits for."""
        reason = f"step {step}: no answer from {_names(late)} in {deadline_s:g} s"
        self.close(reason)  # before listening, since peers may be waiting for this one
        until = time.monotonic() + _GRACE_S
        while time.monotonic() < until:
            for peer in late:
                if (why := self._farewell(peer)) is not None:
                    raise PeerLost(f"step {step}: party {peer} ended: {why}")
            time.sleep(_LONGEST_NAP_S)
        raise PeerLost(reason)

    def _send_whole(self, now: Round) -> None:
        """Hand over what has come from a card by now, to each peer in order."""
        for peer, queue in list(now.leaving.items()):
            while queue and queue[0][1]():
                self._send(now, peer, queue.popleft()[0])
            if not queue:
                del now.leaving[peer]

    def _receive(self, now: Round, peer: int) -> None:
        """Start to receive what has come from a peer, in the order in which it was sent."""
        buffers, status = now.wanted[peer], self._status
        while buffers:
            message = self._comm.Improbe(peer, self._mpi.ANY_TAG, status)
            if message is None:
                return
            got, nbytes = status.Get_tag(), status.Get_count(self._mpi.BYTE)
            if got == _FAREWELL:
                why = self._read(message, nbytes)
                raise PeerLost(f"step {now.step}: party {peer} ended: {why}")
            if got != now.tag:
                raise OutOfStep(
                    f"step {now.step}: party {peer} is at another step ({got}, not {now.tag})"
                )
            if nbytes != buffers[0].nbytes:
                raise OutOfStep(
                    f"step {now.step}: party {peer} sent {nbytes} bytes, not {buffers[0].nbytes}"
                )
            piece = buffers[0]
            crossing = now.crossings.get(type(piece))
            room = piece if crossing is None else crossing.room(nbytes)
            request = message.Irecv([room, self._mpi.BYTE])
            now.incoming.append(request)
            now.senders.append(peer)
            if crossing is not None:
                landing = now.landing.setdefault(peer, deque())
                landing.append(Landing(request, crossing, piece, room))
            buffers.popleft()

    def _farewell(self, peer: int) -> str | None:
        """Why a peer ended, if it said so."""
        if peer not in self._said:
            message = self._comm.Improbe(peer, _FAREWELL, self._status)
            if message is not None:
                self._said[peer] = self._read(message, self._status.Get_count(self._mpi.BYTE))
        return self._said.get(peer)

    def _read(self, message: MPI.Message, nbytes: int) -> str:
        if nbytes > _LINE_BYTES:
            return "a reason too long to read"
        line = bytearray(nbytes)
        message.Recv([line, self._mpi.BYTE])
        return readable(bytes(line))

    def close(self, reason: str | None = None) -> None:
        """Free the communicator after a good end; else tell the peers why, and keep what is left.

        What a party says when it stops is short enough to be sent whether or not it is received.
        """
        if self._closed:
            return
        self._closed = True
        if reason is None:
            self._comm.Free()
            return
        line = reason.encode(errors="replace")[:_LINE_BYTES]
        try:
            requests = [
                self._comm.Isend([line, self._mpi.BYTE], peer, _FAREWELL)
                for peer in range(self.size)
                if peer != self.rank
            ]
            _ABANDONED.append(requests)
            until = time.monotonic() + _GRACE_S
            while not self._mpi.Request.Testall(requests) and time.monotonic() < until:
                time.sleep(_SHORTEST_NAP_S)
        except self._mpi.Exception:
            pass  # a peer that is gone need not be told


def _names(ranks: set[int]) -> str:
    return ", ".join(f"party {rank}" for rank in sorted(ranks))
