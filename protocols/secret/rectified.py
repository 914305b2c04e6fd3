"""max(x, 0) that waits for what follows it: a max-pool comes first, on what it was made from.

The largest of some rectified numbers is the largest of the numbers, rectified: one comparison with
zero for a window in place of one for each of its places. So is the gradient: it goes where the
largest is, if that is above zero. Where the numbers come from a convolution that is two rounds
more, since its truncation does not share the ReLU's opening, and about a third of the bytes less.
"""

from __future__ import annotations

from typing import cast

from mpc.shares import Share
from protocols.secret.array import SecretArray
from protocols.secret.lazy import Lazy


class Rectified(Lazy[Share]):
    """max(source, 0)."""

    __slots__ = ("_source",)

    _source: SecretArray[Share] | None  # None once it is computed

    def __init__(self, source: SecretArray[Share]) -> None:
        """Take what is to be rectified. No message."""
        super().__init__(source.protocol, source.fraction, source.shape)
        self._set(_source=source)

    @property
    def source(self) -> SecretArray[Share] | None:
        """What it will be made from; None once it is made."""
        return self._source

    def positive_part(self) -> SecretArray[Share]:
        """The array itself: nothing of it is below zero."""
        return self

    def _compute(self) -> SecretArray[Share]:
        made = cast("SecretArray[Share]", self._source).positive_part()
        self._set(_source=None)
        return made
