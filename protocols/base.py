"""A protocol is a set of words: what they mean. Each protocol says how they are done.

Words work on ring elements and know no scale: a product of two fixed-point numbers comes out with
twice the fraction, and `truncate` brings it back. `bilinear` takes any map that is linear in each
of two arguments, so a protocol never hears of a convolution.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Generic

from kernels.bilinear import Bilinear
from kernels.gemm import matmul
from kernels.machines import HOST, Memory
from mpc.errors import NotOffered, UsageError
from mpc.party import Party
from mpc.ring import BITS, Array, Shape
from mpc.shares import Bits, LocalMap, Share, Summand

# Elements compared at once: what masks and bit planes come to stays bounded, and in a CPU's caches.
# A card has neither worry, and starts as much for few elements as for many.
CHUNK, CHUNK_ON_CARDS = 1 << 20, 1 << 25


@dataclass(frozen=True)
class Assumptions:
    """What a protocol asks for and what it withstands: the row of `radmpc protocols`."""

    parties: str
    corrupt: str
    adversary: str
    setup: str
    source: str


@dataclass(frozen=True)
class Opening:
    """One value that was revealed."""

    what: str
    shape: Shape
    to: int | None
    reason: str


class Protocol(ABC, Generic[Share]):
    """The words that every protocol offers.

    Args:
        party: who computes; None for the clear interpreter.
        width: bits k of a comparison. A sign is right for |x| < 2^(k-1) only; fewer bits cost fewer
            bytes.

    `chunk` is how many elements are compared at once, the same at all parties: a multiple of 64.
    """

    name: ClassVar[str]
    assumptions: ClassVar[Assumptions]
    share_type: ClassVar[type[Any]]
    terms: ClassVar[int]  # how many terms a share is made of

    def __init__(self, party: Party | None, *, width: int = BITS) -> None:
        """Take a party; nothing is sent yet."""
        if not 2 <= width <= BITS:
            raise NotOffered(f"comparison width {width}: choose 2 to {BITS}")
        self.party, self.width, self.chunk = party, width, CHUNK
        self.openings: list[Opening] = []

    # What each protocol must say.

    @abstractmethod
    def input(self, x: Array | None, shape: Shape, owner: int) -> Share:
        """Share ring elements that one party holds.

        Args:
            x: the elements at the owner, None elsewhere.
            shape: their shape, known to all.
            owner: the rank that holds them.
        """

    @abstractmethod
    def reveal(self, *shares: Share, to: int | None) -> list[Array | None]:
        """Open values to all parties, or to one: the others get None. Called through `open`."""

    @abstractmethod
    def constant(self, x: Array) -> Share:
        """A sharing of a public value. No message."""

    @abstractmethod
    def bilinear(self, f: Bilinear, *pairs: tuple[Share, Share]) -> tuple[Share, ...]:
        """f(x, y) for each pair, f linear in both: a product, a matrix product, a convolution."""

    @abstractmethod
    def truncate(self, *shares: Share, fraction: int) -> tuple[Share, ...]:
        """x / 2^fraction for each share, rounded down or one ulp more, for |x| < 2^62."""

    @abstractmethod
    def conj(self, a: Bits[Share], b: Bits[Share]) -> Bits[Share]:
        """AND of bit planes."""

    @abstractmethod
    def addends(self, x: Share, width: int) -> tuple[Bits[Share], Bits[Share]]:
        """Two XOR-shared integers of `width` bits that add up to x modulo 2^width."""

    @abstractmethod
    def constant_bits(self, planes: Array, shape: Shape) -> Bits[Share]:
        """A sharing of public bit planes. No message."""

    @abstractmethod
    def coins(self, shape: Shape) -> Array:
        """Uniform words that every party knows, for choices such as a dropout mask. No message."""

    # What follows from the words above; a protocol overrides what it does better.

    def bilinear_truncate(
        self, f: Bilinear, *pairs: tuple[Share, Share], fraction: int
    ) -> tuple[Share, ...]:
        """f(x, y) / 2^fraction for each pair, as `truncate` rounds."""
        return self.truncate(*self.bilinear(f, *pairs), fraction=fraction)

    @abstractmethod
    def product(self, f: Bilinear, *pairs: tuple[Share, Share]) -> tuple[Summand, ...]:
        """f(x, y) for each pair as it is before it is shared again: one term a party."""

    @abstractmethod
    def summand(self, x: Share) -> Summand:
        """A share as such a term, to be added to one. No message."""

    @abstractmethod
    def truncate_summands(self, *summands: Summand, fraction: int) -> tuple[Share, ...]:
        """As `truncate`, from terms, which it uses up."""

    def dot(self, x: Share, y: Share) -> Share:
        """Matrix product. Cost: one `bilinear`."""
        (z,) = self.bilinear(matmul, (x, y))
        return z

    def open(
        self,
        *shares: Share,
        reason: str,
        to: int | None = None,
        what: str = "ring elements",
        memory: Memory = HOST,
    ) -> list[Array | None]:
        """Reveal values, and note what was revealed, to whom and why.

        Args:
            shares: the values.
            reason: why it is right to reveal them; kept in `openings`.
            to: the rank that learns them; None for everyone.
            what: what they are, for the list of openings.
            memory: where who learns them wants them.

        Raises:
            UsageError: no reason, or no such party.
        """
        if not reason.strip():
            raise UsageError("an opening needs a reason")
        if to is not None and self.party is not None and to not in range(self.party.size):
            raise UsageError(f"there is no party {to}: choose one of 0 to {self.party.size - 1}")
        self.openings += [Opening(what, share.shape, to, reason) for share in shares]
        return [v if v is None else memory.put(v) for v in self.reveal(*shares, to=to)]

    def local(self, f: LocalMap, x: Share, *others: Share) -> Share:
        """Apply f, linear in all its arguments together, to every term. No message."""
        return x.map(f, *others)

    def scope(self, label: str) -> AbstractContextManager[None]:
        """Meter what happens inside under this name."""
        return nullcontext() if self.party is None else self.party.meter.scope(label)

    def put_off(self) -> Callable[[], AbstractContextManager[None]]:
        """Remember where one is, for work that is done later: inside, it is metered here."""
        if self.party is None:
            return nullcontext
        meter, path = self.party.meter, self.party.meter.path
        return lambda: meter.at(path)
