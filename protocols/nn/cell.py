"""Where the value of a secret tensor lives, so that all tensors on it see an in-place change."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.machines import xp_of
from mpc.ring import Array

Value = Any  # SecretArray, SecretBits, a public ndarray, or the winners of a max-pool


class Cell:
    """Where a tensor's value lives.

    Detached tensors share it, so an in-place change is seen by all of them.

    A view has a cell of its own. It knows the cell that it is a view of, its root, and looks again
    when that has changed. A view of all of its root can be written; what it gets, the root gets. A
    view of a part cannot.
    """

    __slots__ = ("__weakref__", "_derive", "_family", "_root", "_seen", "_value", "_version")

    def __init__(
        self, value: Value, base: Cell | None = None, derive: Callable[[Value], Value] | None = None
    ) -> None:
        """Hold a value.

        Args:
            value: the value.
            base: the cell that it is a view of.
            derive: how the view comes from the base's value.
        """
        self._value, self._version = value, 0
        self._root: Cell | None = None
        self._family: weakref.WeakSet[Cell] = (
            base._family if base is not None else weakref.WeakSet()
        )
        self._family.add(self)
        if base is None or derive is None:
            return
        root = base._looks_at()
        if root is None:
            root, self._derive = base, derive
        else:
            self._derive = after(base._derive, derive)
        self._root, self._seen = root, root._version

    @property
    def value(self) -> Value:
        """The value, as it is now."""
        root = self._looks_at()
        if root is not None and self._seen != root._version:
            self._value, self._seen = self._derive(root.value), root._version
        return self._value

    @value.setter
    def value(self, value: Value) -> None:
        root = self._looks_at()
        if root is not None:
            root.value = self._back(value, root)
            return
        self._value, self._root = value, None
        self._version += 1

    @property
    def writable(self) -> bool:
        """Whether a change finds its way to all who would have to see it."""
        root = self._looks_at()
        if root is not None:
            return bool(math.prod(root.value.shape) == math.prod(self._value.shape))
        return all(cell is self or cell._looks_at() is self for cell in self._family)

    def _looks_at(self) -> Cell | None:
        return self._root

    def _back(self, value: Value, root: Cell) -> Value:
        """The root's value from a view of all of it."""
        shape = tuple(root.value.shape)
        places = self._derive(np.arange(math.prod(shape)).reshape(shape)).reshape(-1)

        def back(v: Array) -> Array:
            out: Array = xp_of(v).empty(len(places), v.dtype)
            out[places] = v.reshape(-1)
            return out.reshape(shape)

        return back(value) if isinstance(value, np.ndarray) else value.map(back)


def after(f: Callable[[Value], Value], g: Callable[[Value], Value]) -> Callable[[Value], Value]:
    """G of f, as one map."""
    return lambda value: g(f(value))
