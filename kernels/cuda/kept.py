"""What was made of steady arrays on a card, kept until they die.

See `kernels.steady` for what that is, and who says it.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, NamedTuple, TypeVar

from kernels import steady
from kernels.cuda.launch import Gpu
from kernels.cuda.operand import Side
from kernels.places import place_of

T = TypeVar("T")


class Spot(NamedTuple):
    """Where a side begins to be read: the name of a steady array, and bytes from its start."""

    name: int
    offset: int


class Key(NamedTuple):
    """All that decides the digits of a side.

    How an array is walked is in `gather`, which all reading goes by, from the array's start on.

    Args:
        gpu: where they are.
        gather: how matrices are read.
        spots: of each array of each term; None where a term has no second one.
        rows: of the side.
        offsets: of the products.
        size: bytes of a word.
        order: see `digits.Planes`.
    """

    gpu: Gpu
    gather: tuple[int, ...]
    spots: tuple[Spot | None, ...]
    rows: range
    offsets: tuple[int, ...]
    size: int
    order: int


def key_of(
    gpu: Gpu, side: Side, rows: range, offsets: tuple[int, ...], *, order: int
) -> Key | None:
    """What a side's digits are kept by; None unless all that they are made of is steady."""
    spots: list[Spot | None] = []
    for a in (a for term in side.terms for a in term):
        if a is None:
            spots.append(None)
        elif (name := steady.name_of(a)) is not None:
            spots.append(Spot(name, place_of(a).offset))
        else:
            return None
    size = side.terms[0][0].dtype.itemsize
    return Key(gpu, side.gather.words, tuple(spots), rows, offsets, size, order)


class Kept(Generic[T]):
    """Things by key, as long as there is room on their card.

    A model reads its weights in the same order again and again. So where not all have room those
    that came first stay: to let go of what was not used for longest would serve none of them.

    A process starts its products on one stream of a card, so what is found has been made before it
    is read. Parties may be threads of one process. An array may die at any line, also of this class
    and while its lock is held: so what it leaves is noted without waiting, and let go by whoever
    can.
    """

    def __init__(self) -> None:
        """Nothing yet."""
        self._things: dict[Key, tuple[T, int]] = {}
        self._lock = threading.Lock()
        self._dead: deque[int] = deque()
        self.nbytes = 0
        steady.tell(self._forget)

    def __len__(self) -> int:
        """How many things."""
        return len(self._things)

    def find(self, key: Key) -> T | None:
        """What was kept, if it still is."""
        with self._lock:
            found = self._things.get(key)
        self._sweep()
        return None if found is None else found[0]

    def keep(self, key: Key, thing: T, nbytes: int) -> None:
        """Keep a thing of so many bytes, if there is room for it."""
        self._sweep()
        with self._lock:
            if key not in self._things and self.nbytes + nbytes <= key.gpu.kept_bytes:
                self._things[key] = thing, nbytes
                self.nbytes += nbytes
        self._sweep()

    def _drop(self, key: Key) -> None:
        _, nbytes = self._things.pop(key, (None, 0))
        self.nbytes -= nbytes

    def _forget(self, name: int) -> None:
        """A steady array is gone."""
        self._dead.append(name)
        self._sweep()

    def _sweep(self) -> None:
        """Let go of what the dead have left. Whoever holds the lock meanwhile comes here next."""
        while self._dead and self._lock.acquire(blocking=False):
            try:
                while self._dead:
                    name = self._dead.popleft()
                    for key in [k for k in self._things if _is_of(k, name)]:
                        self._drop(key)
            finally:
                self._lock.release()


def _is_of(key: Key, name: int) -> bool:
    return any(spot is not None and spot.name == name for spot in key.spots)
