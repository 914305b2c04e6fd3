"""A dealer: a rank of its own that makes items while the parties compute.

The dealer sends each party a seed, and the last party the corrections that it asks for. It is told
shapes and sees no message of the parties. It must not be one of them, nor share what it knows with
any: who knows the seeds can read every opening.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import ClassVar

import numpy as np

from kernels.machines import HOST, Memory
from mpc.correlated.descriptions import described, read_item
from mpc.correlated.items import Item
from mpc.correlated.seeded import Maker, SeededSource
from mpc.errors import OutOfStep, PeerError, UsageError
from mpc.party import Buffer, Party
from mpc.prg import SEED_BYTES
from mpc.ring import Array

LONGEST_REQUEST = 1 << 16  # bytes
_BYTE = np.dtype(np.uint8)


class DealerSource(SeededSource):
    """Items from a dealer.

    Cost: none in rounds of the parties; a request and its corrections between the last party and
    the dealer, while the others wait for it in their next round.

    Args:
        seed: what the dealer sent to this party (`send_seeds`).
        link: the last party's wires to the dealer, who is the last rank of them, after this party;
            None at the others. Nobody else may use them meanwhile.
        memory: where this party keeps its shares. The dealer's is the host, in any case.
    """

    name: ClassVar[str] = "dealer"
    assumption: ClassVar[str] = "the dealer works with no party, and tells none what it knows"

    def __init__(self, seed: bytes, link: Party | None, memory: Memory = HOST) -> None:
        """Take them; nothing is sent."""
        super().__init__(seed, is_last=link is not None, memory=memory)
        self._link = link
        self.corrections_bytes = 0  # that the dealer sent to this party

    def _corrections(self, number: int, item: Item) -> list[Array]:
        request = np.frombuffer(described(item).encode(), np.uint8)
        self._send(np.array([number, request.size], np.int64))
        self._send(request)
        assert self._link is not None  # or this were not the last party
        dealer = self._link.size - 1
        self.corrections_bytes += item.correction_bytes
        expect = [Buffer(field.shape, field.dtype) for field in item.products()]
        return self._link.exchange({}, {dealer: expect})[dealer]

    def close(self) -> None:
        """Let the dealer go. One that is gone already changes nothing: all that was due is here."""
        if self._link is not None:
            with suppress(PeerError):
                self._send(np.array([0, 0], np.int64))
            self._link.close()

    def _send(self, words: Array) -> None:
        assert self._link is not None
        self._link.exchange({self._link.size - 1: [words]}, {})


def send_seeds(whole: Party) -> tuple[bytes, list[bytes]]:
    """The dealer, who is the last rank of `whole`, sends each party a seed. 1 round.

    Returns this rank's seed, and at the dealer all of them.
    """
    dealer = whole.size - 1
    if whole.rank != dealer:
        buffer = Buffer((SEED_BYTES,), _BYTE)
        return whole.exchange({}, {dealer: [buffer]})[dealer][0].tobytes(), []
    seeds = [whole.seed("a party's seed") for _ in range(dealer)]
    whole.exchange({p: [np.frombuffer(seeds[p], np.uint8)] for p in whole.others}, {})
    return b"", seeds


def serve(link: Party, seeds: Sequence[bytes]) -> int:
    """Answer the last party's requests until it has no more; returns how many items were made.

    Args:
        link: this dealer's wires, of which it is the last rank, after the last party. Its deadline
            is the longest that the parties may compute without a request.
        seeds: of all parties, by rank.

    Raises:
        PeerError: a request that is none, or an item out of turn; the link is to be closed.
    """
    last, maker, served = link.rank - 1, Maker(seeds), 0
    while True:
        header = Buffer((2,), np.dtype(np.int64))
        number, length = map(int, link.exchange({}, {last: [header]})[last][0])
        if not length:
            link.close()
            return served
        if number != served or not 0 < length <= LONGEST_REQUEST:
            raise OutOfStep(f"item {number} was asked for where {served} is next")
        (request,) = link.exchange({}, {last: [Buffer((length,), _BYTE)]})[last]
        try:
            made = maker.corrections(number, read_item(request.tobytes()))
        except UsageError as error:  # the peer's fault, not this dealer's
            raise PeerError(f"item {number}: {error}") from None
        except MemoryError:
            raise PeerError(f"item {number} is too large to be made here") from None
        link.exchange({last: made}, {})
        served += 1
