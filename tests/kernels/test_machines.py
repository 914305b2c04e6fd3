"""Where arrays lie, and how they come from one memory to another."""

import numpy as np
import pytest

from kernels.machines import HOST, as_array, beside, on_host
from tests.kernels.drawing import Words
from tests.kernels.oncard import CARD, OnCard


@pytest.mark.parametrize("layout", ["plain", "transposed", "strided", "reversed"])
def test_what_is_put_and_fetched_is_the_same_on_a_card(layout):
    x = Words(0)(3, 4, layout=layout)
    there = CARD.put(x)
    assert type(there) is OnCard and CARD.put(there) is there
    assert type(on_host(there)) is np.ndarray and np.array_equal(on_host(there), x)
    assert np.array_equal(HOST.put(there), x) and HOST.put(x) is x
    assert type(beside(x, there)) is OnCard and type(beside(there, x)) is np.ndarray


def test_what_only_repeats_does_so_on_a_card_too():
    x = np.broadcast_to(Words(0)(3, 1, 2), (5, 3, 4, 2))
    there = CARD.put(x)
    assert [s == 0 for s in there.strides] == [True, False, True, False]
    assert np.array_equal(on_host(there), x)


def test_scalars_become_arrays_and_arrays_stay_as_they_are():
    x = Words(0)(3)
    assert as_array(x) is x and as_array(x[0]).shape == ()
    there = CARD.put(x)
    assert as_array(there) is there
    assert type(CARD.put(x[0])) is OnCard and CARD.put(x[0]).shape == ()


def test_pieces_cross_to_the_host_and_to_a_card_while_it_computes():
    """Round after round, so that memory of both kinds is used again."""
    for seed in range(10):
        x, y = (Words(seed + k)(40_001) for k in (0, 100))
        tripled, target = CARD.put(x) * np.uint64(3), CARD.put(y) * np.uint64(5)
        crossing = CARD.crossing(tripled)
        room, whole = crossing.fetch(tripled.view(np.uint8))
        came = crossing.room(y.nbytes)
        came[:] = y.view(np.uint8)
        crossing.land(target.view(np.uint8), came)
        crossing.join()
        after = target + np.uint64(1)
        del target, came
        while not whole():
            pass
        assert np.array_equal(room.view(np.uint64), x * np.uint64(3))
        assert np.array_equal(on_host(after), y + np.uint64(1))
