"""Copies to and from a card, on what stands for CuPy, whose copies take time."""

import weakref
from types import SimpleNamespace

import numpy as np

from kernels.cuda.staging import Staging


class Event:
    done = False


class Array(np.ndarray):
    """CuPy's two copies."""

    def get(self, out):
        out[...] = self.view(np.ndarray)

    def set(self, a):
        self[...] = a


class Stream:
    def record(self):
        EVENTS.append(event := Event())
        return event


EVENTS: list[Event] = []
PINNED: list[tuple] = []


def staging():
    def empty_pinned(shape, dtype):
        PINNED.append((shape, dtype))
        return np.empty(shape, dtype)

    PINNED.clear()
    EVENTS.clear()
    cupy = SimpleNamespace(
        empty=lambda shape, dtype: np.empty(shape, dtype).view(Array),
        cuda=SimpleNamespace(get_current_stream=Stream),
    )
    return Staging(cupy, SimpleNamespace(empty_pinned=empty_pinned))


def test_what_comes_to_the_host_is_in_page_locked_memory():
    a = np.arange(6, dtype=np.uint64).reshape(2, 3).view(Array)
    found = staging().get(a.T)
    assert np.array_equal(found, a.T) and PINNED == [((3, 2), np.uint64)]


def test_an_array_is_held_until_the_card_has_read_it_and_no_longer():
    copies = staging()
    arrays = [copies.room((4,), np.uint64) for _ in range(3)]
    held = [weakref.ref(a) for a in arrays]
    for a in arrays:
        copies.fill(a)
    del a
    arrays.clear()
    assert all(ref() is not None for ref in held)
    EVENTS[0].done = EVENTS[1].done = True
    copies.fill(copies.room((1,), np.uint64))
    assert [ref() is None for ref in held] == [True, True, False]


def test_nothing_is_copied_where_there_are_no_elements():
    copies = staging()
    assert copies.get(np.empty((0, 3), np.uint64).view(Array)).shape == (0, 3)
    assert copies.fill(np.empty((2, 0), np.uint16)).shape == (2, 0)
    assert not PINNED and not EVENTS
