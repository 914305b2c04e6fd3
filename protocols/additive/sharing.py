"""Additive sharing: input, opening, public values."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from mpc.correlated.seeded import Source
from mpc.errors import UsageError
from mpc.party import Buffer, Party
from mpc.prg import Stream
from mpc.ring import BITS, WORD, Array, Shape
from mpc.shares import Additive, Bits, Summand
from protocols.base import Assumptions
from protocols.bits import BitProtocol

_BYTE = np.dtype(np.uint8)
_READY = np.ones(2, np.uint8)


class Sharing(BitProtocol[Additive]):
    """The words that share and open.

    Args:
        party: one of two or more.
        width: bits of a comparison.
        source: where its correlated randomness comes from.

    Raises:
        UsageError: one party, or no source.
    """

    share_type: ClassVar[type[Any]] = Additive
    terms: ClassVar[int] = 1
    name: ClassVar[str] = "additive"
    assumptions: ClassVar[Assumptions] = Assumptions(
        parties="2 or more",
        corrupt="all but 1",
        adversary="semi-honest (looks, does not lie)",
        setup="pairwise keys in one round, and a source of correlated randomness",
        source="Beaver, CRYPTO 1991; Patra et al. (ABY2.0), USENIX Security 2021",
    )
    party: Party

    def __init__(self, party: Party, *, width: int = BITS, source: Source | None = None) -> None:
        """Agree on keys. Cost: 1 round; 64 bytes to each peer of a higher rank, 32 to others."""
        super().__init__(party, width=width)
        if party.size < 2:
            raise UsageError("additive needs 2 parties or more: use mpirun -n 2")
        if source is None:
            raise UsageError("additive needs a source of correlated randomness: see mpc.sources")
        self.source = source
        self._pairs, self._public = _agree_on_keys(party)

    @property
    def _is_first(self) -> bool:
        """Whether this is the party that adds what is public."""
        return self.party.rank == 0

    # Input and opening.

    def input(self, x: Array | None, shape: Shape, owner: int) -> Additive:
        """Each other party draws its term from the key that it has in common with the owner.

        Cost: 1 round and 2 bytes, by which the owner says that it holds the input. Safe: what a
        party draws is uniform to all others but the owner.
        """
        if self.party.rank != owner:
            self.party.exchange({}, {owner: [Buffer.like(_READY)]})
            return Additive(self._pairs[owner].random(shape))
        if x is None or x.shape != shape:
            raise UsageError(f"the owner of an input of shape {shape} must hold it in that shape")
        own = self._copied(x)
        for peer in self.party.others:
            np.subtract(own, self._pairs[peer].random(shape), out=own)
        self.party.exchange({peer: [_READY] for peer in self.party.others}, {})
        return Additive(own)

    def reveal(self, *shares: Additive, to: int | None) -> list[Array | None]:
        """Each party sends its term to each other, or to one.

        Cost: 1 round; one element for each value to each who learns it.
        """
        own = [self.party.xp.asarray(share.own, order="C") for share in shares]
        if to is None:
            return [*self._opened(*own)]
        if self.party.rank != to:
            self.party.exchange({to: own}, {})
            return [None for _ in shares]
        heard = self.party.exchange({}, dict.fromkeys(self.party.others, own))
        return [*_joined(own, heard, np.add)]

    def constant(self, x: Array) -> Additive:
        """x_0 is the value, the others are zero. No message.

        A copy: a factor is known by its place, and all parties must find the same ones again.
        """
        return Additive(self._copied(x) if self._is_first else self.party.xp.zeros(x.shape, WORD))

    def constant_bits(self, planes: Array, shape: Shape) -> Bits[Additive]:
        """As `constant`, under XOR."""
        return Bits(self.constant(planes), shape)

    def coins(self, shape: Shape) -> Array:
        """From a key that all parties made together."""
        return self._public.random(shape)

    def summand(self, x: Additive) -> Summand:
        """The term, as a copy. No message."""
        return Summand(x.own.copy())

    def _copied(self, x: Array) -> Array:
        """An array of this party's own, in order, where it keeps its shares."""
        made: Array = self.party.xp.array(self.party.memory.put(x), WORD, order="C")
        return made

    # What the other words stand on. Only what is masked may be handed to these.

    def _opened(self, *own: Array) -> list[Array]:
        """All parties learn the sums. 1 round; one element for each value to each peer."""
        heard = self.party.exchange(*(dict.fromkeys(self.party.others, own),) * 2)
        return _joined(own, heard, np.add)

    def _opened_beside(self, own: Array, bits: Array) -> tuple[Array, Array]:
        """All parties learn the sums of the first, the XORs of the second. 1 round."""
        both = dict.fromkeys(self.party.others, (own, bits))
        heard = self.party.exchange(both, both)
        (total,) = _joined([own], {p: a[:1] for p, a in heard.items()}, np.add)
        (planes,) = _joined([bits], {p: a[1:] for p, a in heard.items()}, np.bitwise_xor)
        return total, planes

    def _opened_bits(self, *own: Array) -> list[Array]:
        """All parties learn the XORs. 1 round; one bit for each to each peer."""
        heard = self.party.exchange(*(dict.fromkeys(self.party.others, own),) * 2)
        return _joined(own, heard, np.bitwise_xor)


def _joined(
    own: list[Array] | tuple[Array, ...], heard: Mapping[int, list[Array]], f: Callable[..., Array]
) -> list[Array]:
    """The sums of what all parties said, put where what was heard lies."""
    totals = []
    for i, mine in enumerate(own):
        first, *others = (arrays[i] for arrays in heard.values())
        total = f(first, mine, out=first)
        for other in others:
            total = f(total, other, out=total)
        totals.append(total)
    return totals


def _agree_on_keys(party: Party) -> tuple[dict[int, Stream], Stream]:
    """A stream in common with each peer, and one that all know. 1 round.

    Of two parties the lower rank draws their key. The coins' key is a hash of what each draws.
    """
    coin = np.frombuffer(party.seed("public coin"), np.uint8).copy()
    keys = {p: np.frombuffer(party.seed(f"key with {p}"), np.uint8).copy() for p in party.others}
    buffer = Buffer((32,), _BYTE)
    send = {p: [coin, key] if p > party.rank else [coin] for p, key in keys.items()}
    expect = {p: [buffer, buffer] if p < party.rank else [buffer] for p in party.others}
    heard = party.exchange(send, expect)
    keys |= {p: heard[p][1] for p in party.others if p < party.rank}
    coins = {p: heard[p][0] for p in party.others} | {party.rank: coin}
    public = hashlib.sha256(b"".join(coins[p].tobytes() for p in range(party.size))).digest()
    pairs = {p: Stream(key.tobytes(), "inputs of both", party.memory) for p, key in keys.items()}
    return pairs, Stream(public, "public coins")
