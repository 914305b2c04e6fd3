"""Which values were factors before, so that they are not opened again.

This saves messages; nothing of safety hangs on it, since a value that is not found again is opened
under another mask.

A value is known by where it lies in memory: the array that owns the elements, and how they are
walked. So a slice that is taken anew in each epoch is found again, and so is a matrix whose axes
were exchanged, as on the way back through a layer. Shares are never changed in place; what was
found out about an array goes when it does, before its memory is another's.

All parties must find the same values, also where some have a card (`kernels.places.laid_out`).
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field, replace
from itertools import permutations

import numpy as np

from kernels.places import lock, place_of
from mpc.correlated.items import Mask
from mpc.ring import Array

View = tuple[int, tuple[tuple[int, int], ...]]  # offset, and (length, stride) of each axis


@dataclass(frozen=True, eq=False, repr=False)
class Factor:
    """The mask of a value, and the value less that mask: what all know once it is opened.

    Of a steady value (`kernels.steady`) what its products read is kept here, as it was dealt:
    "mask", this party's share of it, and "rest", that less what was opened.
    """

    mask: Mask
    opened: Array
    kept: dict[str, Array] = field(default_factory=dict)

    def moved(self, axes: tuple[int, ...]) -> Factor:
        """The same of the value with its axes in another order."""
        before = self.mask.axes or tuple(range(self.opened.ndim))
        mask = replace_axes(self.mask, tuple(before[a] for a in axes))
        return replace(self, mask=mask, opened=self.opened.transpose(axes))


class Factors:
    """What all know of values that were factors."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._known: dict[int, dict[View, Factor]] = {}

    def find(self, own: Array) -> Factor | None:
        """What is known of the value of which this is a party's term, if it was a factor."""
        owner, offset, walk = place_of(own)
        views = self._known.get(id(owner), {})
        if (exact := views.get((offset, walk))) is not None:
            return exact
        if own.ndim > 3:
            return None  # no layer exchanges the axes of such factors
        for axes in permutations(range(own.ndim)):
            # own = known.transpose(axes), so axis i of own is axis axes[i] of what is known.
            inverse = np.argsort(axes)
            there = views.get((offset, tuple(walk[a] for a in inverse)))
            if there is not None:
                return there.moved(axes)
        return None

    def keep(self, own: Array, factor: Factor) -> None:
        """Remember what is known of a value for as long as its elements lie in memory."""
        owner, offset, walk = place_of(own)
        if id(owner) not in self._known:
            self._known[id(owner)] = {}
            lock(owner)  # or what all know of it would not be of it
            weakref.finalize(owner, _forget, weakref.ref(self), id(owner)).atexit = False
        self._known[id(owner)][offset, walk] = factor

    def forget(self, place: int) -> None:
        """Its elements are gone."""
        self._known.pop(place, None)


def _forget(factors: weakref.ref[Factors], place: int) -> None:
    if (there := factors()) is not None:
        there.forget(place)


def replace_axes(mask: Mask, axes: tuple[int, ...]) -> Mask:
    """The mask with its axes in this order; none is said where it is the mask's own."""
    return mask._replace(axes=() if axes == tuple(range(len(axes))) else axes)


def same_place(x: Array, y: Array) -> bool:
    """Whether two terms are one value: the same elements, walked alike."""
    (owner, *view), (other, *other_view) = place_of(x), place_of(y)
    return owner is other and view == other_view
