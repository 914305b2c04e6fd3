"""A product that keeps the fractional bits of both factors until it is known what follows.

A convolution is followed by a bias and a ReLU, a product by the shortcut of a residual block. All
that is added to a product can be added before it is truncated, without a message; and where a ReLU
follows, truncation and sign come from one opening.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Generic, cast

import numpy as np

from kernels.bilinear import Bilinear
from kernels.ring import multiply
from mpc.errors import PeerError
from mpc.ring import WORD, Array, Shape
from mpc.shares import Share, Summand
from protocols.bits import BitProtocol
from protocols.secret.array import SecretArray, check
from protocols.secret.factors import Public
from protocols.secret.lazy import Lazy

FOLDED_BITS = 4  # a batch norm's scale of 1/100 then costs no more accuracy than it does unfolded


@dataclass(frozen=True, slots=True)
class Factors(Generic[Share]):
    """A product that is not computed yet. `channels` is the axis of y along which channels lie."""

    f: Bilinear
    x: SecretArray[Share]
    y: SecretArray[Share]
    channels: int | None

    @property
    def shape(self) -> Shape:
        """Shape of the product."""
        return self.f.shape(self.x.shape, self.y.shape)

    def multiplied(self, protocol: BitProtocol[Share]) -> Summand:
        """The product, as one term a party. No message."""
        (summand,) = protocol.product(self.f, (self.x.share, self.y.share))
        return summand


def pending_product(
    f: Bilinear, x: SecretArray[Share], y: SecretArray[Share], *, channels: int | None = None
) -> SecretArray[Share]:
    """f(x, y) at the finer scale of the two, truncated when it is first looked at.

    Args:
        f: linear in both arguments.
        x: the first factor.
        y: the second.
        channels: an axis of y such that a number for each place along it can as well multiply the
            second axis of the result. None where there is no such axis.

    Cost: nothing yet; then as `SecretArray.bilinear`, or with `positive_part` at once.

    Raises:
        ShapeMismatch: the shapes do not go together.
    """
    if not (x.fraction and y.fraction and x.ndim and y.ndim):
        return x.bilinear(f, y)
    check(f, x.shape, y.shape)
    kept, factors = max(x.fraction, y.fraction), Factors(f, x, y, channels)
    # Factors are kept alive only where something may still be put into them.
    held = factors.multiplied(x.protocol) if channels is None else factors
    return PendingProduct(x.protocol, held, x.fraction + y.fraction, kept)


class PendingProduct(Lazy[Share]):
    """A secret array of `fraction` bits whose ring elements still have `scale` of them.

    Sums and differences with arrays that fit its shape stay pending; everything else truncates it,
    once. What is made of it by a sum is rounded by itself: use it once, or `settled` first.
    """

    __slots__ = ("_held", "_scale")

    takes_sums: ClassVar[bool] = True
    _held: Summand | Factors[Share] | None  # None once it is used up
    _scale: int

    def __init__(
        self,
        protocol: BitProtocol[Share],
        held: Summand | Factors[Share],
        scale: int,
        fraction: int,
    ) -> None:
        """Take the factors, or terms, which belong to this array alone from now on."""
        super().__init__(protocol, fraction, held.shape)
        self._set(_held=held, _scale=scale)

    def times_channels(self, scale: SecretArray[Share]) -> SecretArray[Share] | None:
        """The product with a number for each place of its second axis, put into the second factor.

        None where it cannot go there. The factor keeps FOLDED_BITS more fractional bits, so that
        small numbers lose nothing by it: right while the product is below 2^(30 - FOLDED_BITS).
        Cost: one product for each element of the second factor, the first time only.
        """
        held = self._held
        if not isinstance(held, Factors) or held.channels is None:
            return None
        y, axis = held.y, held.channels
        column = scale.reshape(-1, *(1 for _ in y.shape[axis + 1 :]))
        bits = y.fraction + FOLDED_BITS
        folded = scale.remembered(
            "folded", y, lambda: y.bilinear(multiply, column, fraction=bits).steady()
        )
        factors = Factors(held.f, held.x, folded, axis)
        return PendingProduct(self.protocol, factors, held.x.fraction + bits, self.fraction)

    def positive_part(self) -> SecretArray[Share]:
        """max(x, 0). Cost: with the truncation that is due, `truncated_positive_part`."""
        if self._held is None or "positive" in self.memo:
            return self.settled().positive_part()
        dropped, protocol = self._scale - self.fraction, self.protocol
        share, bits, part = protocol.truncated_positive_part(self._used_up(), fraction=dropped)
        self._set(_done=SecretArray(protocol, share, self.fraction, self.memo))
        return self._with_sign(bits, part)

    def _compute(self) -> SecretArray[Share]:
        if self._held is None:
            raise PeerError("this product was lost with the session: start again")
        dropped = self._scale - self.fraction
        (share,) = self.protocol.truncate_summands(self._used_up(), fraction=dropped)
        return SecretArray(self.protocol, share, self.fraction)

    def _terms(self) -> Summand | None:
        """The product's terms, computed now if they were not yet; None once they are used up."""
        if isinstance(self._held, Factors):
            with self._metered():
                self._set(_held=self._held.multiplied(self.protocol))
        return cast("Summand | None", self._held)

    def _used_up(self) -> Summand:
        """The terms, to be masked in place: they are let go here, so that no mask serves twice."""
        summand = cast("Summand", self._terms())
        self._set(_held=None)
        return summand

    # Sums stay pending. Each has terms of its own, and is masked on its own when it is truncated.

    def __neg__(self) -> SecretArray[Share]:
        """-x. No message."""
        terms = self._terms()
        return -self.settled() if terms is None else self._pending(terms.map(np.negative))

    def __add__(self, other: SecretArray[Share] | Public) -> SecretArray[Share]:
        """x + y. No message."""
        return self._joined(np.add, other)

    def __sub__(self, other: SecretArray[Share] | Public) -> SecretArray[Share]:
        """x - y. No message."""
        return self._joined(np.subtract, other)

    def __rsub__(self, other: SecretArray[Share] | Public) -> SecretArray[Share]:
        """y - x. No message."""
        return -self + other

    __radd__ = __add__

    def _joined(
        self, f: Callable[..., Array], other: SecretArray[Share] | Public
    ) -> SecretArray[Share]:
        y = self._secret(other)
        added, terms = self._term_of(y), self._terms()
        if added is None or terms is None:
            x, y = self.settled(), y.settled()
            return x + y if f is np.add else x - y
        return self._pending(terms.map(f, added))

    def _pending(self, summand: Summand) -> SecretArray[Share]:
        return PendingProduct(self.protocol, summand, self._scale, self.fraction)

    def _term_of(self, y: SecretArray[Share]) -> Summand | None:
        """What is added, as a term at this scale; None where the sum cannot stay pending."""
        if self._held is None or y.fraction > self.fraction or not _fits(y.shape, self.shape):
            return None
        if isinstance(y, PendingProduct) and y._scale == self._scale and (terms := y._terms()):
            return terms
        factor = WORD(1 << (self._scale - y.fraction))
        return self.protocol.summand(y.share).map(lambda v: v * factor)


def _fits(y: Shape, x: Shape) -> bool:
    """Whether y can be added to x without making it larger."""
    try:
        return np.broadcast_shapes(x, y) == x
    except ValueError:
        return False
