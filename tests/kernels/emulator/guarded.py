"""Copies of memory with forbidden pages on both sides: who reads or writes beyond one is caught.

A card would read on in silence, in what belongs to another array, or stop with all that it holds.
"""

from __future__ import annotations

import ctypes
import mmap
import random

PAGE = mmap.PAGESIZE
CANARY = 0xA5
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_NONE = 0  # PROT_NONE


class Guarded:
    """Bytes from `low` to `high`, copied to an end of pages of their own.

    Args:
        low: where they begin; the copy's address is the same modulo `aligned`.
        high: where they end.
        aligned: bytes; there are fewer than this between the copy and the page that is forbidden.
    """

    def __init__(self, low: int, high: int, aligned: int = 16) -> None:
        """Copy, at one end or the other."""
        self._here, self._size = low, high - low
        room = -(-(self._size + aligned) // PAGE) * PAGE
        self._pages = mmap.mmap(-1, room + 2 * PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._pages))
        for guard in (start, start + PAGE + room):
            if _LIBC.mprotect(guard, PAGE, _NONE):
                raise OSError(ctypes.get_errno(), "mprotect")
        first, last = start + PAGE, start + PAGE + room - self._size
        if random.random() < 0.5:
            self.address = first + (low - first) % aligned
        else:
            self.address = last - (last - low) % aligned
        self._first, self._room = first, room
        ctypes.memset(first, CANARY, room)
        ctypes.memmove(self.address, low, self._size)

    def back(self) -> bool:
        """Copy what was changed back; whether nothing was written beside it."""
        after = ctypes.string_at(self.address, self._size)
        if after != ctypes.string_at(self._here, self._size):  # what was read may be read-only
            ctypes.memmove(self._here, after, self._size)
        before, end = self.address - self._first, self.address + self._size - self._first
        beside = (
            ctypes.string_at(self._first, before),
            ctypes.string_at(self._first + end, self._room - end),
        )
        return all(part == bytes([CANARY]) * len(part) for part in beside)
