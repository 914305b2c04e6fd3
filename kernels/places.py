"""Where arrays lie, said alike in every memory: by that, a value that was met before is known."""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np

from kernels.array import Array
from kernels.machines import known_kinds, xp_of


class Place(NamedTuple):
    """Where the elements of an array lie: two arrays of one place are the same elements.

    It says the same of the same steps in every memory: an axis that is not walked has no stride.

    Args:
        owner: the array whose memory it is; while one holds it, nothing else lies there.
        offset: bytes from the owner's first element to the array's.
        walk: (length, stride) of each axis.
    """

    owner: Array
    offset: int
    walk: tuple[tuple[int, int], ...]


def owner_of(a: Array) -> Array:
    """The array whose memory an array lies in."""
    owner, kinds = a, known_kinds()
    while isinstance(owner.base, kinds):
        owner = cast(Array, owner.base)
    return owner


def place_of(a: Array) -> Place:
    """Where an array lies."""
    owner = owner_of(a)
    walk = tuple((n, s if n > 1 and a.size else 0) for n, s in zip(a.shape, a.strides, strict=True))
    return Place(owner, _address(a) - _address(owner) if a.size else 0, walk)


def _address(a: Array) -> int:
    """Of the first element; CuPy's arrays have a pointer."""
    found = a.__array_interface__["data"][0] if isinstance(a, np.ndarray) else a.data.ptr
    return int(found)


def lock(a: Array) -> None:
    """Let nothing be written into it any more, on the host: CuPy's arrays cannot be locked.

    Nor into what it is a view of. Other views that were made before stay as they are.
    """
    of: object = a
    while isinstance(of, np.ndarray):
        of.flags.writeable = False
        of = of.base


def laid_out(a: Array, *given: Array) -> Array:
    """`a`, which was made of the arrays given, such that it lies alike in every memory.

    NumPy lays out what is new as what it was made of, CuPy in order: so then a step that needs no
    copy in one would need one in the other. A number that is taken out of an array is a copy under
    NumPy, and a view under CuPy: here it is a copy. Views of what was given stay views.
    """
    if not a.ndim:
        return a.copy()
    if a.flags.c_contiguous or any(place_of(a).owner is place_of(g).owner for g in given):
        return a
    ordered: Array = xp_of(a).ascontiguousarray(a)
    return ordered
