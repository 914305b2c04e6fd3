"""Arrays into which nobody writes any more: what is made of one may be kept, and serves again.

Nothing could find that out, so whoever owns an array says it: the elements are what they are until
the array is gone. On the host it is locked, so that a test fails where this is not kept to; CuPy's
arrays cannot be.

An array is known by a name that no other ever has. When it dies, what is kept under its name is let
go, before its memory is another's; so nothing is found again by an address.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

from kernels.array import Array
from kernels.places import lock, owner_of


class _Mark(NamedTuple):
    owner: weakref.ref[Array]
    name: int


_marks: dict[int, _Mark] = {}  # by the owner's id
_names = count()
_keepers: list[Callable[[int], None]] = []


def steady(*arrays: Array) -> None:
    """Say that nothing is written any more to where these arrays lie, as long as that is theirs."""
    for a in arrays:
        lock(a)
        owner = owner_of(a)
        if name_of(owner) is None:
            name = next(_names)
            _marks[id(owner)] = _Mark(weakref.ref(owner), name)
            weakref.finalize(owner, _ended, id(owner), name).atexit = False


def name_of(a: Array) -> int | None:
    """The name of the array whose memory this one lies in; None if nobody said it is steady."""
    if not _marks:  # most programs never say it
        return None
    owner = owner_of(a)
    mark = _marks.get(id(owner))
    return mark.name if mark is not None and mark.owner() is owner else None


def tell(keeper: Callable[[int], None]) -> None:
    """Let a keeper be told the name of each steady array that dies.

    It is called wherever Python lets go of the array, in any thread: it must not wait for a lock.
    """
    _keepers.append(keeper)


def _ended(place: int, name: int) -> None:
    _marks.pop(place, None)
    for keeper in _keepers:
        keeper(name)
