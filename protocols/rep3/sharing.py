"""Replicated sharing: input, opening, public values, and the way back from two parties."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from mpc.errors import UsageError
from mpc.party import Buffer, Party
from mpc.ring import BITS, WORD, Array, Shape
from mpc.rounds import Step
from mpc.shares import Bits, Rep3, Summand
from protocols.base import Assumptions
from protocols.bits import BitProtocol
from protocols.rep3.keys import agree_on_keys

Arrays = list[Array]


class Sharing(BitProtocol[Rep3]):
    """The words that share and open, and the roles of all others."""

    share_type: ClassVar[type[Any]] = Rep3
    terms: ClassVar[int] = 2
    name: ClassVar[str] = "rep3"
    assumptions: ClassVar[Assumptions] = Assumptions(
        parties="3",
        corrupt="1",
        adversary="semi-honest (looks, does not lie)",
        setup="pairwise keys, agreed in one round",
        source="Araki et al., CCS 2016; Mohassel and Rindal (ABY3), CCS 2018",
    )
    party: Party

    def __init__(self, party: Party, *, width: int = BITS) -> None:
        """Agree on pairwise keys. Cost: 1 round, 96 bytes a party."""
        super().__init__(party, width=width)
        self.streams = agree_on_keys(party)
        self._turns = 0

    # Input and opening.

    def input(self, x: Array | None, shape: Shape, owner: int) -> Rep3:
        """x_o from the key that owner and helper hold; the rest goes to the party after.

        x_(o+1) = x - x_o, and x_(o+2) = 0.

        Cost: 1 round; the owner sends one element for each value. The party after lacks k_o, so
        what it gets is uniform to it; the party before gets nothing.
        """
        role = (self.party.rank - owner) % 3
        zeros = np.zeros(shape, WORD)
        if role == 2:
            self.party.exchange({}, {})
            return Rep3(zeros, self.streams.common(owner, shape))
        if role == 1:
            ((sent,),) = self.party.exchange({}, {owner: [Buffer(shape)]}).values()
            return Rep3(sent, zeros)
        if x is None or x.shape != shape:
            raise UsageError(f"the owner of an input of shape {shape} must hold it in that shape")
        first = self.streams.common(owner, shape)
        masked = np.subtract(x, first, out=np.empty(shape, WORD))
        self.party.exchange({self._after: [masked]}, {})
        return Rep3(first, masked)

    def reveal(self, *shares: Rep3, to: int | None) -> list[Array | None]:
        """Each party sends its own term to the party after, which lacks just that one.

        Cost: 1 round; each party sends one element for each value, or only the party before `to`
        does.
        """
        own = [share.own for share in shares]
        send = {self._after: own} if to in (None, self._after) else {}
        lacking = [Buffer.like(a) for a in own]
        expect = {self._before: lacking} if to in (None, self.party.rank) else {}
        heard = self.party.exchange(send, expect)
        if not expect:
            return [None for _ in shares]
        known = [flat(s) for s in shares]
        opened = [
            s.own + s.next + t.reshape(-1) for s, t in zip(known, heard[self._before], strict=True)
        ]
        return [v.reshape(s.shape) for v, s in zip(opened, shares, strict=True)]

    def constant(self, x: Array) -> Rep3:
        """x0 is the value, x1 and x2 are zero. No message."""
        zero = np.zeros_like(x)
        return Rep3(x if self.party.rank == 0 else zero, x if self.party.rank == 2 else zero)

    def constant_bits(self, planes: Array, shape: Shape) -> Bits[Rep3]:
        """As `constant`, under XOR."""
        return Bits(self.constant(planes), shape)

    def coins(self, shape: Shape) -> Array:
        """From a key that all three made together."""
        return self.streams.public.random(shape)

    def summand(self, x: Rep3) -> Summand:
        """This party's own term of the three. No message."""
        return Summand(x.own)

    # What the other words stand on.

    def _resharing(
        self, first: int, terms: Arrays | None, shapes: list[Shape], *, bits: bool = False
    ) -> Step[tuple[Rep3, ...]]:
        """From two additive terms at the evaluators, none at the helper, back to replicated.

        x0 comes from k_0, x2 from k_2, x1 from one exchange. Safe: each evaluator's term is masked
        by the key that the other lacks. Cost: 1 round, two elements a value in all.
        """
        second = (first + 1) % 3
        if terms is None:
            low = [self.streams.common(first, shape) for shape in shapes]
            high = [self.streams.common(first + 2, shape) for shape in shapes]
            yield {}, {}
            return tuple(map(Rep3, high, low))
        plus, minus = (np.bitwise_xor, np.bitwise_xor) if bits else (np.add, np.subtract)
        is_first = self.party.rank == first
        key, other = (first, second) if is_first else (first + 2, first)
        kept = [self.streams.common(key, shape) for shape in shapes]
        masked = [minus(y, s) for y, s in zip(terms, kept, strict=True)]
        heard = yield {other: masked}, {other: [Buffer(shape) for shape in shapes]}
        middle = [plus(m, h) for m, h in zip(masked, heard[other], strict=True)]
        return tuple(map(Rep3, kept, middle) if is_first else map(Rep3, middle, kept))

    def _turn(self) -> tuple[int, int, int]:
        """Ranks of first, second and helper for the next step."""
        first = self._turns % 3
        self._turns += 1
        return first, (first + 1) % 3, (first + 2) % 3

    @property
    def _before(self) -> int:
        return (self.party.rank - 1) % 3

    @property
    def _after(self) -> int:
        return (self.party.rank + 1) % 3


def flat(x: Rep3) -> Rep3:
    """One axis: NumPy takes arrays without one for scalars, which warn where the ring wraps."""
    return x.map(lambda v: v.reshape(-1))


def shaped(x: Rep3, shape: Shape) -> Rep3:
    """Back from one axis."""
    return x.map(lambda v: v.reshape(shape))
