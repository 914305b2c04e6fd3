"""Parties as MPI ranks (mpi4py buffer calls on a communicator of our own).

MPI gives neither authentication nor encryption: use it inside one trusted network. Messages are raw buffers whose
sizes both sides know; the tag carries the step, so a peer at another step is noticed at the first message.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from mpc.errors import OutOfStep, PeerLost
from mpc.transport.base import Incoming, Outgoing

if TYPE_CHECKING:
    from mpi4py import MPI

# MPI promises tags up to 32767; steps are compared modulo this.
_TAGS = 32749
# Spin for short waits, since most rounds take microseconds; sleep in long ones, since ranks may share a core.
_SPINS = 2000
_NAP_S = 50e-6


class MpiTransport:
    """One rank's end. Make it on every rank of `communicator` together: the communicator is duplicated."""

    def __init__(self, communicator: MPI.Intracomm) -> None:
        """Duplicate the communicator, so that no other traffic meets ours, and make errors return."""
        from mpi4py import MPI  # importing it initialises MPI

        self._mpi = MPI
        self._comm = communicator.Dup()
        self._comm.Set_errhandler(MPI.ERRORS_RETURN)
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()

    def exchange(self, step: int, send: Outgoing, receive: Incoming, deadline_s: float) -> None:
        """See `Transport.exchange`."""
        tag = step % _TAGS
        receives, sources = [], []
        for peer, buffers in receive.items():
            for buffer in buffers:
                receives.append(self._comm.Irecv([buffer, self._mpi.BYTE], peer, self._mpi.ANY_TAG))
                sources.append((peer, buffer.nbytes))
        sends = [
            self._comm.Isend([array, self._mpi.BYTE], peer, tag)
            for peer, arrays in send.items()
            for array in arrays
        ]
        statuses = [self._mpi.Status() for _ in receives]
        try:
            self._wait(receives, sends, statuses, step, deadline_s, [p for p, _ in sources], send)
        except self._mpi.Exception as error:
            if error.Get_error_class() == self._mpi.ERR_TRUNCATE:
                raise OutOfStep(f"step {step}: a peer sent more than was expected") from None
            raise PeerLost(f"step {step}: MPI says {error.Get_error_string()}") from None
        for status, (peer, nbytes) in zip(statuses, sources, strict=True):
            if status.Get_tag() != tag:
                raise OutOfStep(
                    f"step {step} (tag {tag}): party {peer} is at a step with tag {status.Get_tag()}"
                )
            if status.Get_count(self._mpi.BYTE) != nbytes:
                got = status.Get_count(self._mpi.BYTE)
                raise OutOfStep(f"step {step}: party {peer} sent {got} bytes, not {nbytes}")

    def _wait(
        self,
        receives: list[MPI.Request],
        sends: list[MPI.Request],
        statuses: list[MPI.Status],
        step: int,
        deadline_s: float,
        sources: list[int],
        send: Outgoing,
    ) -> None:
        test_all, requests = self._mpi.Request.Testall, receives + sends
        # A status array for every request; those of the receives are the caller's.
        every = statuses + [self._mpi.Status() for _ in sends]
        until, spins = time.monotonic() + deadline_s, 0
        while not test_all(requests, every):
            spins += 1
            if spins < _SPINS:
                os.sched_yield()
                continue
            time.sleep(_NAP_S)
            if time.monotonic() > until:
                late = {p for r, p in zip(receives, sources, strict=True) if not r.Test()} or set(
                    send
                )
                names = ", ".join(f"party {p}" for p in sorted(late))
                raise PeerLost(f"step {step}: no answer from {names} in {deadline_s:g} s")

    def close(self, reason: str | None = None) -> None:
        """Free the communicator after a good end; after an error leave it, since peers may be gone."""
        if reason is None:
            self._comm.Free()
