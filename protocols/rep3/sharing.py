"""Replicated sharing: input, opening, public values, and the way back from two parties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from mpc.errors import UsageError
from mpc.party import Buffer, Party
from mpc.ring import BITS, WORD, Array, Shape
from mpc.rounds import Step, alone, together
from mpc.shares import Bits, Rep3, Summand
from protocols.base import Assumptions
from protocols.bits import BitProtocol
from protocols.rep3.keys import agree_on_keys

Arrays = list[Array]
APART = 3 << 16  # elements from which on three parts with turned roles are worth their messages


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
        self.turns = 0  # how often the roles were turned

    # Input and opening.

    def input(self, x: Array | None, shape: Shape, owner: int) -> Rep3:
        """x_o from the key that owner and helper hold; the rest goes to the party after.

        x_(o+1) = x - x_o, and x_(o+2) = 0.

        Cost: 1 round; the owner sends one element for each value. The party after lacks k_o, so
        what it gets is uniform to it; the party before gets nothing.
        """
        role = (self.party.rank - owner) % 3
        zeros = self.party.xp.zeros(shape, WORD)
        if role == 2:
            self.party.exchange({}, {})
            return Rep3(zeros, self.streams.common(owner, shape))
        if role == 1:
            ((sent,),) = self.party.exchange({}, {owner: [Buffer(shape)]}).values()
            return Rep3(sent, zeros)
        if x is None or x.shape != shape:
            raise UsageError(f"the owner of an input of shape {shape} must hold it in that shape")
        first = self.streams.common(owner, shape)
        masked = np.subtract(self.party.memory.put(x), first, out=self.party.xp.empty(shape, WORD))
        self.party.exchange({self._after: [masked]}, {})
        return Rep3(first, masked)

    def reveal(self, *shares: Rep3, to: int | None) -> list[Array | None]:
        """Each party sends its own term to the party after, which lacks just that one.

        Cost: 1 round; each party sends one element for each value, or only the party before `to`
        does.
        """
        own = [share.own for share in shares]
        send = {self._after: own} if to in (None, self._after) else {}
        expect = {self._before: own} if to in (None, self.party.rank) else {}
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
        x = self.party.memory.put(x)
        zero = self.party.xp.zeros_like(x)
        return Rep3(x if self.party.rank == 0 else zero, x if self.party.rank == 2 else zero)

    def constant_bits(self, planes: Array, shape: Shape) -> Bits[Rep3]:
        """As `constant`, under XOR."""
        return Bits(self.constant(planes), shape)

    def coins(self, shape: Shape) -> Array:
        """From a key that all three made together."""
        return self.streams.public.random(shape)

    def summand(self, x: Rep3) -> Summand:
        """This party's own term of the three, as a copy. No message."""
        return Summand(x.own.copy())

    # What the other words stand on.

    def _in_parts(
        self,
        step: Callable[[int, Any], Step[tuple[Rep3, ...]]],
        *xs: Rep3 | Summand,
        chunk: int | None = None,
    ) -> list[tuple[Rep3, ...]]:
        """Run step(first, part) on parts of flat x's, and join what it returns along the last axis.

        A small x is one part, whose roles turn with every call. A large one is three that run side
        by side with the roles turned, so that all three parties compute and send at the same time,
        and as much. `chunk` is how many elements are worked on at a time; more take more rounds.
        Parts end between words of bit planes.
        """
        made: list[list[tuple[Rep3, ...]]] = [[] for _ in xs]
        sizes = [x.own.size for x in xs]
        longest = max([1, *sizes])
        chunk = chunk or longest
        for start in range(0, longest, chunk):
            steps, owners = [], []
            for i, (x, size) in enumerate(zip(xs, sizes, strict=True)):
                if start and start >= size:
                    continue
                for part in self._cut(start, min(size, start + chunk)):
                    first, _, _ = self._turn()
                    steps.append(step(first, x.map(lambda v, part=part: v[part])))
                    owners.append(i)
            for i, results in zip(owners, alone(self.party, together(*steps)), strict=True):
                made[i].append(results)
        return [tuple(_joined(parts) for parts in zip(*rows, strict=True)) for rows in made]

    @staticmethod
    def _cut(start: int, stop: int) -> list[slice]:
        size = stop - start
        if size < APART:
            return [slice(start, stop)]
        third = -(-size // (3 * 64)) * 64
        return [slice(at, min(at + third, stop)) for at in range(start, stop, third)]

    def _resharing(
        self, first: int, term: Array | None, shape: Shape, *, bits: bool = False
    ) -> Step[Rep3]:
        """From two additive terms at the evaluators, none at the helper, back to replicated.

        x0 comes from k_0, x2 from k_2, x1 from one exchange. Safe: each evaluator's term is masked
        by the key that the other lacks. Cost: 1 round, two elements a value in all.
        """
        if term is None:
            low, high = (self.streams.common(key, shape) for key in (first, first + 2))
            yield {}, {}
            return Rep3(high, low)
        plus, minus = (np.bitwise_xor, np.bitwise_xor) if bits else (np.add, np.subtract)
        is_first = self.party.rank == first
        key, other = (first, (first + 1) % 3) if is_first else (first + 2, first)
        kept = self.streams.common(key, shape)
        masked = minus(term, kept)
        heard = yield {other: [masked]}, {other: [Buffer(shape)]}
        middle = plus(masked, heard[other][0])
        return Rep3(kept, middle) if is_first else Rep3(middle, kept)

    def _turn(self) -> tuple[int, int, int]:
        """Ranks of first, second and helper for the next step."""
        first = self.turns % 3
        self.turns += 1
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


def _joined(parts: tuple[Rep3, ...]) -> Rep3:
    first, *rest = parts
    return first.map(lambda *v: np.concatenate(v, axis=-1), *rest) if rest else first
