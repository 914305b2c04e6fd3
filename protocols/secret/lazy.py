"""Secret arrays that wait to be computed until it is known what follows them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from mpc.ring import Shape
from mpc.shares import Share
from protocols.bits import BitProtocol
from protocols.secret.array import SecretArray, SecretBits


class Lazy(SecretArray[Share], ABC):
    """An array that is computed when it is first looked at, and once.

    Parties do the same steps in the same order, so they all compute it at the same step. What that
    costs is metered where the array was asked for.
    """

    __slots__ = ("_done", "_metered", "_shape")

    _done: SecretArray[Share] | None
    _metered: Callable[[], AbstractContextManager[None]]
    _shape: Shape

    def __init__(self, protocol: BitProtocol[Any], fraction: int, shape: Shape) -> None:
        """Note what is known before it is computed. No message."""
        self._set(protocol=protocol, fraction=fraction, memo={})
        self._set(_done=None, _metered=protocol.put_off(), _shape=shape)

    @abstractmethod
    def _compute(self) -> SecretArray[Share]:
        """Compute the array; called once, unless it fails."""

    def settled(self) -> SecretArray[Share]:
        """The array as any other, computed now if it was not yet."""
        if self._done is None:
            with self._metered():
                done = self._compute()
            done.memo.update(self.memo)
            self._set(_done=done, memo=done.memo)
            return done
        return self._done

    @property
    def share(self) -> Share:
        """The share. Cost: that of the computation, once."""
        return self.settled().share

    @property
    def shape(self) -> Shape:
        """Shape of the array; public, and known before the share is."""
        return self._shape

    def positive(self) -> SecretBits[Share]:
        """Whether each element is above zero. Found once for an array."""
        return self.settled().positive()

    def negative(self) -> SecretBits[Share]:
        """Whether each element is below zero. Found once for an array."""
        return self.settled().negative()

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)
