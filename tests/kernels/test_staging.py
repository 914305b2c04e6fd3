"""Copies to and from a card, on what stands for CuPy, whose copies take time."""

import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np

from kernels.cuda.staging import Staging


class Event:
    """Asked whether it is over, it lets other threads go first."""

    over = False

    @property
    def done(self):
        over = self.over
        time.sleep(0)
        return over


class Array(np.ndarray):
    """CuPy's two copies."""

    def get(self, out):
        out[...] = self.view(np.ndarray)

    def set(self, a):
        self[...] = a


class Stream:
    def record(self):
        LATEST.event = Event()
        EVENTS.append(LATEST.event)
        return LATEST.event


class NoMore(RuntimeError):
    """Memory that may be locked."""


LATEST = threading.local()
EVENTS: list[Event] = []
PINNED: list[tuple] = []


def staging(most=100):
    def empty_pinned(shape, dtype):
        if len(PINNED) == most:
            raise NoMore
        PINNED.append((shape, dtype))
        return np.empty(shape, dtype)

    PINNED.clear()
    EVENTS.clear()
    cupy = SimpleNamespace(
        empty=lambda shape, dtype: np.empty(shape, dtype).view(Array),
        cuda=SimpleNamespace(
            get_current_stream=Stream, runtime=SimpleNamespace(CUDARuntimeError=NoMore)
        ),
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
        copies.take(a)
    del a
    arrays.clear()
    assert all(ref() is not None for ref in held)
    EVENTS[0].over = EVENTS[1].over = True
    copies.take(copies.room((1,), np.uint64))
    assert [ref() is None for ref in held] == [True, True, False]


def test_nothing_is_copied_where_there_are_no_elements():
    copies = staging()
    assert copies.get(np.empty((0, 3), np.uint64).view(Array)).shape == (0, 3)
    assert copies.take(np.empty((2, 0), np.uint16)).shape == (2, 0)
    assert not PINNED and not EVENTS


def test_where_no_more_can_be_locked_memory_is_the_ordinary_one():
    copies = staging(most=1)
    rooms = [copies.room((2, 3), np.uint64) for _ in range(3)]
    assert len(PINNED) == 1 and all(room.shape == (2, 3) for room in rooms)


def test_threads_let_go_of_nothing_that_is_still_read():
    copies, early = staging(), []

    def many(_):
        for _ in range(300):
            a = copies.room((1,), np.uint64)
            copies.take(a)
            event = LATEST.event
            weakref.finalize(a, lambda event=event: event.over or early.append(event))
            del a
            event.over = True

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(many, range(4)))
    assert len(EVENTS) == 1200 and not early
