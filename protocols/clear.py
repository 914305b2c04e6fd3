"""The clear interpreter: the words on plain values. It protects nothing; it says what they mean."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from kernels.bilinear import Bilinear
from kernels.bits import from_planes, to_planes
from mpc.errors import UsageError
from mpc.party import Party
from mpc.prg import Stream, fresh_seed
from mpc.ring import BITS, WORD, Array, Shape
from mpc.shares import Bits, Plain, Summand
from protocols.base import Assumptions
from protocols.bits import BitProtocol


class Clear(BitProtocol[Plain]):
    """Every value in the clear: the reference in tests, and a way to try a program out."""

    share_type: ClassVar[type[Any]] = Plain
    terms: ClassVar[int] = 1
    name: ClassVar[str] = "clear"
    assumptions: ClassVar[Assumptions] = Assumptions(
        parties="any",
        corrupt="none",
        adversary="none: it protects nothing",
        setup="none",
        source="a reference",
    )

    def __init__(self, party: Party | None = None, *, width: int = BITS) -> None:
        """No party is needed."""
        super().__init__(party, width=width)
        self._coins: Stream | None = None

    def input(self, x: Array | None, shape: Shape, owner: int) -> Plain:
        """The value itself; there is one party at most, and it is the owner."""
        if self.party is not None and self.party.size > 1:
            raise UsageError("the clear interpreter runs at one party: it has nothing to protect")
        if x is None:
            raise UsageError("the clear interpreter needs the value itself")
        return Plain(np.asarray(x, order="C"))

    def reveal(self, *shares: Plain, to: int | None) -> list[Array | None]:
        """The values themselves."""
        return [share.value for share in shares]

    def constant(self, x: Array) -> Plain:
        """The value itself."""
        return Plain(x)

    def constant_bits(self, planes: Array, shape: Shape) -> Bits[Plain]:
        """The planes themselves."""
        return Bits(Plain(planes), shape)

    def coins(self, shape: Shape) -> Array:
        """From this process's own entropy."""
        if self._coins is None:
            self._coins = Stream(fresh_seed(), "public coins")
        return self._coins.random(shape)

    def bilinear(self, f: Bilinear, *pairs: tuple[Plain, Plain]) -> tuple[Plain, ...]:
        """f(x, y) modulo 2^64."""
        return tuple(Plain(f(x.value, y.value)) for x, y in pairs)

    def product(self, f: Bilinear, *pairs: tuple[Plain, Plain]) -> tuple[Summand, ...]:
        """f(x, y) modulo 2^64: the one party's term is the value."""
        return tuple(Summand(f(x.value, y.value)) for x, y in pairs)

    def summand(self, x: Plain) -> Summand:
        """The value."""
        return Summand(x.value)

    def truncate_summands(self, *summands: Summand, fraction: int) -> tuple[Plain, ...]:
        """As `truncate`."""
        return self.truncate(*(Plain(z.own) for z in summands), fraction=fraction)

    def truncate(self, *shares: Plain, fraction: int) -> tuple[Plain, ...]:
        """To the nearest, half-way cases up: within what the word says, and without a drift.

        Always rounding down would say so, too; but where many results are added up, as in the
        gradient of a weight, half an ulp at each would show, which a protocol that rounds at random
        does not have.
        """
        half = np.int64((1 << fraction) >> 1)
        return tuple(Plain(_shifted(x.value, half, fraction)) for x in shares)

    def conj(self, a: Bits[Plain], b: Bits[Plain]) -> Bits[Plain]:
        """AND."""
        return a.map(np.bitwise_and, b)

    def addends(self, x: Plain, width: int) -> tuple[Bits[Plain], Bits[Plain]]:
        """The bits of x, and of 0."""
        planes = to_planes(x.value, width)
        return Bits(Plain(planes), x.shape), Bits(Plain(np.zeros_like(planes)), x.shape)

    def sign_bit(self, x: Plain) -> Bits[Plain]:
        """X < 0, read as two's complement on `width` bits."""
        return Bits(Plain(to_planes(x.value, 1, first=self.width - 1)), x.shape)

    def bits(self, x: Plain) -> Bits[Plain]:
        """The 64 bits of x."""
        return Bits(Plain(to_planes(x.value, 64)), x.shape)

    def select(self, b: Bits[Plain], x: Plain) -> Plain:
        """b·x."""
        return Plain(self.bit_to_ring(b).value * x.value)

    def bit_to_ring(self, b: Bits[Plain]) -> Plain:
        """0 and 1; several planes become a leading axis."""
        planes = b.planes.value
        n = math.prod(b.shape)
        rows = [from_planes(planes[j : j + 1], n).reshape(b.shape) for j in range(len(planes))]
        return Plain(rows[0] if len(rows) == 1 else np.stack(rows))


def _shifted(x: Array, half: np.int64, fraction: int) -> Array:
    signed = np.asarray(x, order="C").view(np.int64)
    return np.asarray((signed + half) >> fraction).view(WORD)
