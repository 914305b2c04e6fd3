"""A party: its rank, its wires, its own randomness, its meter. Only a `Party` sends."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels.machines import HOST, Memory, as_array, memory_of, xp_of
from mpc.errors import OutOfStep, PeerError, UsageError
from mpc.meter import Meter
from mpc.prg import Stream, derive, fresh_seed
from mpc.ring import WORD, Array, Shape
from mpc.transport.base import Transport, readable

_NAME_BYTES = 64
_RING: np.dtype[np.generic] = np.dtype(WORD)
_SHARES = tuple(map(np.dtype, (np.uint16, np.uint32, np.uint64)))  # bytes are keys, names and flags


@dataclass(frozen=True)
class Buffer:
    """What is expected from a peer: an array of this shape and type."""

    shape: Shape
    dtype: np.dtype[np.generic] = _RING

    @staticmethod
    def like(array: Array) -> Buffer:
        """A buffer for an array like this one."""
        return Buffer(array.shape, array.dtype)


class Party:
    """One of the computing parties.

    Args:
        transport: this party's end of the wires.
        seed: 32 bytes that everything random of this party is derived from. Leave it out: then it
            comes from the operating system. Tests that compare transcripts pass one.
        deadline_s: how long to wait for a peer in one round while nothing moves.
        name: what people call this party; peers learn it and use it in their errors.
        memory: where it keeps its shares: on the host, or on a card.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        seed: bytes | None = None,
        deadline_s: float = 120.0,
        name: str | None = None,
        memory: Memory = HOST,
    ) -> None:
        """Take the wires; nothing is sent yet."""
        self.transport, self.memory = transport, memory
        self.rank, self.size = transport.rank, transport.size
        self.others = [r for r in range(self.size) if r != self.rank]  # ranks of the peers
        self.deadline_s = deadline_s
        self.name = name or f"party {self.rank}"
        self.meter = Meter()
        self.names = {r: f"party {r}" for r in range(self.size)} | {self.rank: self.name}
        self._seed = seed if seed is not None else fresh_seed()
        self._given: Counter[str] = Counter()
        self._step = 0
        self._closed: str | None = None

    @property
    def xp(self) -> Any:
        """What makes arrays where this party keeps its shares, with NumPy's functions."""
        return self.memory.xp

    @property
    def device(self) -> str:
        """Where this party keeps its shares, as PyTorch says it: "cpu", or "cuda:0" for a card."""
        return self.memory.device()

    def seed(self, domain: str) -> bytes:
        """A new seed of this party's own for a purpose.

        Asked again, it gives another: no two users share a stream.
        """
        self._given[domain] += 1
        return derive(self._seed, f"{domain}/{self._given[domain]}")

    def stream(self, domain: str) -> Stream:
        """A stream that only this party knows."""
        return Stream(self.seed(domain), domain, self.memory)

    def exchange(
        self,
        send: Mapping[int, Sequence[Array]],
        expect: Mapping[int, Sequence[Buffer | Array]],
    ) -> dict[int, list[Array]]:
        """One round: send arrays to peers, receive what they send.

        Every party takes part in every round. What is expected is told by a `Buffer`, or by an
        array of the same shape and type. What comes is where that array is; for a buffer, ring
        elements are where this party keeps its shares; bytes and counts are on the host.
        Cost: 1 round and the bytes of the arrays; metered here.

        Raises:
            PeerError: a peer is lost or out of step. The party is closed from then on.
        """
        if self._closed is not None:
            raise PeerError(f"this party was closed at step {self._step}: {self._closed}")
        if strangers := {*send, *expect}.difference(self.others):
            raise UsageError(f"party {self.rank} of {self.size} has no wire to {sorted(strangers)}")
        outgoing = {p: [_sendable(a) for a in arrays] for p, arrays in send.items()}
        self._step += 1
        incoming = {p: [self._place(b) for b in bs] for p, bs in expect.items()}
        try:
            self.transport.exchange(self._step, outgoing, incoming, self.deadline_s)
        except PeerError as error:
            named = type(error)(self._with_names(str(error)))
            self._close(str(named), str(error))
            raise named from None
        self.meter.round(
            {p: sum(a.nbytes for a in arrays) for p, arrays in outgoing.items()},
            {p: sum(a.nbytes for a in arrays) for p, arrays in incoming.items()},
        )
        return incoming

    def _place(self, told: Buffer | Array) -> Array:
        """Where what is expected comes to."""
        if isinstance(told, Buffer):
            memory = self.memory if told.dtype in _SHARES else HOST
        else:
            memory = memory_of(as_array(told))
        made: Array = memory.xp.empty(told.shape, told.dtype)
        return made

    def rotate(self, *arrays: Array) -> list[Array]:
        """Send arrays to the party before, receive the same from the party after. 1 round."""
        if self.size == 1:
            self.exchange({}, {})
            return [a.copy() for a in arrays]
        before, after = (self.rank - 1) % self.size, (self.rank + 1) % self.size
        return self.exchange({before: arrays}, {after: arrays})[after]

    def broadcast(self, *arrays: Array) -> dict[int, list[Array]]:
        """Send arrays to every peer, receive the same from each. 1 round.

        The result includes one's own.
        """
        for_each = dict.fromkeys(self.others, arrays)
        heard = self.exchange(send=for_each, expect=for_each)
        return heard | {self.rank: list(arrays)}

    def agree(self, digest: bytes, what: str) -> None:
        """Stop unless every party has the same 32-byte digest. 1 round.

        Raises:
            OutOfStep: names each party whose digest differs from this one's.
        """
        mine = np.frombuffer(digest, np.uint8).copy()
        heard = self.broadcast(mine)
        differ = sorted(p for p, (theirs,) in heard.items() if not np.array_equal(theirs, mine))
        if differ:
            names = ", ".join(self.names[p] for p in differ)
            message = (
                f"{self.name} and {names} differ in {what}: make them the same and start again"
            )
            self.close(message)
            raise OutOfStep(message)

    def introduce(self) -> None:
        """Tell every peer this party's name, for errors and reports. 1 round; names are public.

        A peer may call itself anything: what does not print is left out, and a name that two
        parties give, or that is none, is set apart by the rank.
        """
        mine = np.zeros(_NAME_BYTES, np.uint8)
        encoded = self.name.encode(errors="replace")[:_NAME_BYTES]
        mine[: len(encoded)] = np.frombuffer(encoded, np.uint8)
        heard = self.broadcast(mine)
        said = {peer: readable(theirs.tobytes()) for peer, (theirs,) in heard.items()}
        given = Counter(said.values())
        for peer, name in said.items():
            default = f"party {peer}"
            taken = given[name] > 1 or re.search(r"\bparty \d", name) is not None
            if not name or name == default:
                self.names[peer] = default
            else:
                self.names[peer] = f"{name}, rank {peer}" if taken else name
        self.name = self.names[self.rank]

    def _with_names(self, message: str) -> str:
        def named(match: re.Match[str]) -> str:
            rank, default = int(match[1]), match[0]
            name = self.names.get(rank, default)
            return default if name == default else f"{default} ({name})"

        return re.sub(r"\bparty (\d+)\b", named, message)

    def close(self, reason: str | None = None) -> None:
        """End this party's part. After an error it stays closed."""
        self._close(reason, reason)

    def _close(self, here: str | None, there: str | None) -> None:
        """Close, with the reason as it is kept here and as the peers are told it."""
        if self._closed is None:
            self._closed = here or "finished"
            self.transport.close(there)


def _sendable(array: Array) -> Array:
    if array.dtype.hasobject:
        raise UsageError("an array of Python objects cannot be sent")
    array = as_array(array)
    if not array.flags.c_contiguous:
        array = xp_of(array).ascontiguousarray(array)
    return array
