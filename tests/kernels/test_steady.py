"""Arrays that were said to be steady have a name, as long as they are there, and are locked."""

import gc

import numpy as np
import pytest

from kernels import machines
from kernels import steady as steadiness
from kernels.places import place_of
from kernels.steady import name_of, steady
from tests.kernels.drawing import Words
from tests.kernels.test_cuda_steady import VIEWS


def test_nothing_is_written_into_a_steady_array_of_the_host():
    words = Words(15)
    whole = words(6, 5)
    view = whole[1:].T
    steady(view)
    for a in (whole, whole[2:], view, view[1:]):
        with pytest.raises(ValueError, match="read-only"):
            a[...] = 0


def test_an_array_has_a_name_once_somebody_says_that_it_is_steady():
    words = Words(16)
    one, two = words(3, 4), words(3, 4)
    assert name_of(one) is None
    steady(one[1:])
    steady(one)
    name = name_of(one)
    assert name is not None and name_of(one.T[2:]) == name
    assert name_of(two) is None
    steady(two)
    assert name_of(two) != name
    assert name_of(one.copy()) is None


def test_no_name_is_given_again_where_an_array_lay():
    places, names = set(), set()
    for _ in range(20):
        w = np.zeros((40, 30), np.uint64)
        steady(w)
        places.add(id(w))
        names.add(name_of(w))
        del w
    assert len(names) == 20 and len(places) < 20


def test_views_of_cupys_own_arrays_go_by_their_owners_name(monkeypatch):
    """Such an array may lie anywhere, and needs no driver as long as nobody computes with it."""
    cupy = pytest.importorskip("cupy")
    monkeypatch.setitem(machines._KNOWN, cupy.ndarray, machines.HOST)
    room = np.zeros(3600, np.uint64)
    memory = cupy.cuda.UnownedMemory(room.ctypes.data, room.nbytes, room, 0)
    whole = cupy.ndarray((60, 60), np.uint64, cupy.cuda.MemoryPointer(memory, 0))
    other = cupy.ndarray((60, 60), np.uint64, cupy.cuda.MemoryPointer(memory, 0))
    views = [f(whole) for f in VIEWS.values()]
    dead = []
    monkeypatch.setattr(steadiness, "_keepers", [dead.append])
    steady(views[3])
    name = name_of(whole)
    assert name is not None and name_of(other) is None
    assert [name_of(v) for v in views] == [name] * len(views)
    assert [place_of(v).owner is whole for v in views] == [True] * len(views)
    del whole, views[:-1]
    gc.collect()
    assert dead == [] and name_of(views[0]) == name
    views.clear()
    gc.collect()
    assert dead == [name]
