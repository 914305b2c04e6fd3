"""Share types: what one party holds of a secret.

They are frozen and offer local maps only; nothing here sends. An array inside a share may be a ring
array (the secret's own shape) or bit planes (`Bits`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from kernels.machines import as_array
from kernels.places import laid_out
from mpc.ring import Array, Shape

LocalMap = Callable[..., Array]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Plain:
    """No sharing: the value itself, the clear interpreter's share."""

    value: Array

    @property
    def terms(self) -> tuple[Array, ...]:
        """What the share is made of, in the order of its constructor."""
        return (self.value,)

    def __repr__(self) -> str:
        """Kind and shape; never a term."""
        return f"{type(self).__name__}(shape={self.shape})"

    @property
    def shape(self) -> Shape:
        """Shape of the array."""
        return self.value.shape

    def map(self, f: LocalMap, *others: Self) -> Self:
        """Apply f, linear in all its arguments together."""
        return type(self)(as_array(f(self.value, *(o.value for o in others))))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Rep3:
    """Party i's part of x = x0 + x1 + x2 (or x0 ^ x1 ^ x2): the terms x_i and x_(i+1)."""

    own: Array
    next: Array

    @property
    def terms(self) -> tuple[Array, ...]:
        """What the share is made of, in the order of its constructor."""
        return self.own, self.next

    def __repr__(self) -> str:
        """Kind and shape; never a term."""
        return f"{type(self).__name__}(shape={self.shape})"

    @property
    def shape(self) -> Shape:
        """Shape of the array; both terms have it."""
        return self.own.shape

    def map(self, f: LocalMap, *others: Self) -> Self:
        """Apply f, linear in all its arguments together, to both terms; no message is sent."""
        return type(self)(
            as_array(f(self.own, *(o.own for o in others))),
            as_array(f(self.next, *(o.next for o in others))),
        )


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Term:
    """Party i's term of a sum of as many terms as there are parties."""

    own: Array

    def __repr__(self) -> str:
        """Kind and shape; never a term."""
        return f"{type(self).__name__}(shape={self.shape})"

    @property
    def shape(self) -> Shape:
        """Shape of the array."""
        return self.own.shape

    def map(self, f: LocalMap, *others: Self) -> Self:
        """Apply f, linear in all its arguments together; no message is sent.

        What comes out lies alike in every memory: by where it lies, all parties find it again.
        """
        given = (self.own, *(o.own for o in others))
        return type(self)(laid_out(as_array(f(*given)), *given))


class Summand(Term):
    """Party i's term of x = z_0 + z_1 + …: a product before it is shared again.

    It is this party's alone, and masked by nothing: it may not be sent as it is.
    """

    __slots__ = ()


class Additive(Term):
    """Party i's term of x = x_0 + x_1 + … (or x_0 ^ x_1 ^ …)."""

    __slots__ = ()

    @property
    def terms(self) -> tuple[Array, ...]:
        """What the share is made of, in the order of its constructor."""
        return (self.own,)


Share = TypeVar("Share", Plain, Rep3, Additive)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Bits(Generic[Share]):
    """XOR-shared bits, packed in planes.

    Args:
        planes: share of uint64[k, ceil(n/64)]; bit e of word w of a plane belongs to element
            64w + e.
        shape: shape of the array whose n elements have k bits each.
    """

    planes: Share
    shape: Shape

    def __repr__(self) -> str:
        """How many planes, and the shape; never a bit."""
        return f"Bits({self.planes.shape[0]} planes, shape={self.shape})"

    def map(self, f: LocalMap, *others: Bits[Share]) -> Bits[Share]:
        """Apply f, linear over XOR, to the planes."""
        return Bits(self.planes.map(f, *(o.planes for o in others)), self.shape)

    def plane(self, j: int) -> Bits[Share]:
        """Bit j alone, as one plane."""
        at = j % self.planes.shape[0]
        return self.map(lambda planes: planes[at : at + 1])
