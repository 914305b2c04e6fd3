"""A product that keeps the fractional bits of both factors until it is known what follows.

A convolution is followed by a bias and a ReLU, a product by the shortcut of a residual block. All
that is added to a product can be added before it is truncated, without a message; and where a ReLU
follows, truncation and sign come from one opening.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np

from kernels.bilinear import Bilinear
from mpc.ring import WORD, Array, Shape
from mpc.shares import Share, Summand
from protocols.bits import BitProtocol
from protocols.secret.array import SecretArray, check
from protocols.secret.factors import Public


def pending_product(
    f: Bilinear, x: SecretArray[Share], y: SecretArray[Share]
) -> SecretArray[Share]:
    """f(x, y) at the finer scale of the two, truncated when it is first looked at.

    Cost: nothing yet; then as `SecretArray.bilinear`, or with `positive_part` at once.

    Raises:
        ShapeMismatch: the shapes do not go together.
    """
    kept = max(x.fraction, y.fraction)
    if not (x.fraction and y.fraction and x.ndim and y.ndim):
        return x.bilinear(f, y)
    check(f, x.shape, y.shape)
    (summand,) = x.protocol.product(f, (x.share, y.share))
    return PendingProduct(x.protocol, summand, x.fraction + y.fraction, kept)


class PendingProduct(SecretArray[Share]):
    """A secret array of `fraction` bits whose ring elements still have `scale` of them.

    Sums and differences with arrays that fit its shape stay pending; everything else looks at
    `share`, which truncates, once. Parties do the same steps in the same order, so they all do so
    at the same step.
    """

    __slots__ = ("_scale", "_summand", "_truncated")

    def __init__(
        self, protocol: BitProtocol[Share], summand: Summand, scale: int, fraction: int
    ) -> None:
        """Take the terms, which belong to this array alone from now on."""
        for name, value in (
            ("protocol", protocol),
            ("fraction", fraction),
            ("memo", {}),
            ("_summand", summand),
            ("_scale", scale),
            ("_truncated", None),
        ):
            object.__setattr__(self, name, value)

    _summand: Summand | None  # None once it is truncated
    _scale: int
    _truncated: Share | None

    @property
    def share(self) -> Share:
        """The share, truncated now if it was not yet. Cost: `truncate_summands`, once."""
        if self._truncated is None:
            dropped = self._scale - self.fraction
            self._keep(*self.protocol.truncate_summands(self._used_up(), fraction=dropped))
        return cast("Share", self._truncated)

    @property
    def shape(self) -> Shape:
        """Shape of the array; public, and known before the share is."""
        return self.share.shape if self._summand is None else self._summand.shape

    def positive_part(self) -> SecretArray[Share]:
        """max(x, 0). Cost: with the truncation that is due, `truncated_positive_part`."""
        if self._summand is None:
            return self._finished().positive_part()
        dropped, protocol = self._scale - self.fraction, self.protocol
        share, bits, part = protocol.truncated_positive_part(self._used_up(), fraction=dropped)
        self._keep(share)
        return self._with_sign(bits, part)

    def _used_up(self) -> Summand:
        """The terms, to be masked in place: they are let go here, so that no mask serves twice."""
        summand = cast("Summand", self._summand)
        object.__setattr__(self, "_summand", None)
        return summand

    def _keep(self, share: Share) -> None:
        object.__setattr__(self, "_truncated", share)

    def _finished(self) -> SecretArray[Share]:
        """The array as any other, with what it remembers."""
        return SecretArray(self.protocol, self.share, self.fraction, self.memo)

    # Sums stay pending. Each has terms of its own, and is masked on its own when it is truncated.

    def __neg__(self) -> SecretArray[Share]:
        """-x. No message."""
        if self._summand is None:
            return -self._finished()
        return self._pending(self._summand.map(np.negative))

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
        term = self._term_of(y)
        if term is None or self._summand is None:
            x = self._finished()
            return x + y if f is np.add else x - y
        return self._pending(self._summand.map(f, term))

    def _pending(self, summand: Summand) -> SecretArray[Share]:
        return PendingProduct(self.protocol, summand, self._scale, self.fraction)

    def _term_of(self, y: SecretArray[Share]) -> Summand | None:
        """What is added, as a term at this scale; None where the sum cannot stay pending."""
        if self._summand is None or y.fraction > self.fraction or not _fits(y.shape, self.shape):
            return None
        if isinstance(y, PendingProduct) and y._summand is not None and y._scale == self._scale:
            return y._summand
        factor = WORD(1 << (self._scale - y.fraction))
        return self.protocol.summand(y.share).map(lambda v: v * factor)


def _fits(y: Shape, x: Shape) -> bool:
    """Whether y can be added to x without making it larger."""
    try:
        return np.broadcast_shapes(x, y) == x
    except ValueError:
        return False
