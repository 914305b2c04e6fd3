"""max(x, 0) that waits for what follows it: a max-pool comes first, on what it was made from.

The largest of some rectified numbers is the largest of the numbers, rectified: one comparison for a
window in place of one for each of its places. So is the gradient: it goes where the largest is, if
that is above zero.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import cast

from mpc.ring import Shape
from mpc.shares import Share
from protocols.bits import BitProtocol
from protocols.secret.array import SecretArray, SecretBits


class Rectified(SecretArray[Share]):
    """max(source, 0), computed when it is first looked at, and once. Parties do so at one step."""

    __slots__ = ("_done", "_metered", "_source")

    protocol: BitProtocol[Share]
    _source: SecretArray[Share] | None  # None once it is computed
    _metered: Callable[[], AbstractContextManager[None]]
    _done: SecretArray[Share] | None

    def __init__(self, source: SecretArray[Share]) -> None:
        """Take what is to be rectified. No message."""
        for name, value in (
            ("protocol", source.protocol),
            ("fraction", source.fraction),
            ("memo", {}),
            ("_source", source),
            ("_metered", source.protocol.put_off()),
            ("_done", None),
        ):
            object.__setattr__(self, name, value)

    @property
    def source(self) -> SecretArray[Share] | None:
        """What it will be made from; None once it is made."""
        return self._source

    @property
    def share(self) -> Share:
        """The share, computed now if it was not yet. Cost: `positive_part`, once."""
        return self._computed().share

    @property
    def shape(self) -> Shape:
        """Shape of the array; public, and known before the share is."""
        return self.share.shape if self._source is None else self._source.shape

    def positive(self) -> SecretBits[Share]:
        """Whether each element is above zero. Cost: none beside `share`."""
        return self._computed().positive()

    def positive_part(self) -> SecretArray[Share]:
        """The array itself: nothing of it is below zero."""
        return self

    def _computed(self) -> SecretArray[Share]:
        if self._source is not None:
            with self._metered():
                object.__setattr__(self, "_done", self._source.positive_part())
            object.__setattr__(self, "_source", None)
        return cast("SecretArray[Share]", self._done)
