"""What the emulator must not let pass: a card would, or would stop with all that it holds."""

import numpy as np
import pytest

from tests.kernels import emulator
from tests.kernels.emulator.guarded import Guarded
from tests.kernels.emulator.spans import Spans

ONE_ROW = np.array([[1] * 5 + [4], [0] * 5 + [1], [0] * 5 + [1]], np.int64)  # sizes, and both steps
MULTIPLY = "elementwise", "multiply_any_add_u64", (1, 1, 1), 32


def multiply(out, x, y, n):
    """out += x y for n elements, however many there are."""
    sizes = ONE_ROW.copy()
    sizes[0, -1] = n
    emulator.emulate(*MULTIPLY, (out, x, y, sizes, n))


def words(n):
    return np.arange(n, dtype=np.uint64)


def test_what_stays_in_its_arrays_is_done():
    out = words(4)
    multiply(out, words(4), words(4), 4)
    assert np.array_equal(out, [0, 2, 6, 12])


def test_a_read_far_beyond_an_array_is_caught_wherever_it_lies():
    for _ in range(8):
        with pytest.raises(AssertionError, match=r"outside the arrays|wrote beside"):
            multiply(words(4096), words(4), words(4), 4096)


def test_a_read_just_beyond_an_array_is_caught_where_its_page_ends():
    caught = 0
    for _ in range(64):
        try:
            multiply(words(6), words(4), words(6), 6)
        except AssertionError as error:
            caught += "outside the arrays" in str(error)
    assert 8 < caught < 56  # the array is at the end of its page half of the times


def test_a_write_beside_an_array_is_caught():
    for _ in range(8):
        with pytest.raises(AssertionError, match=r"outside the arrays|wrote beside an array"):
            multiply(words(4), words(6), words(6), 6)


def test_a_wide_read_at_an_odd_address_is_caught():
    odd = np.zeros(40, np.uint8)[1:33].view(np.uint64)
    with pytest.raises(AssertionError, match="undefined step: an odd address"):
        multiply(words(4), odd, words(4), 4)


def test_shared_memory_that_is_too_small_is_caught():
    out, key = np.zeros(64, np.uint8), [0] * 6
    with pytest.raises(AssertionError, match="shared memory"):
        emulator.emulate("chacha20", "chacha20_fill", (1, 1, 1), 32, (out, out.size, *key), 1024)


def test_threads_that_wait_for_others_in_vain_are_caught():
    out, key = np.zeros(64, np.uint8), [0] * 6
    planes, x = np.zeros(1, np.uint64), words(8)
    with pytest.raises(AssertionError, match="wait for others"):  # half a warp shuffles
        emulator.emulate("planes", "to_planes", (1, 1, 1), 16, (planes, x, 8, 1, 0, 1))
    emulator.emulate("chacha20", "chacha20_fill", (1, 1, 1), 32, (out, out.size, *key), 2048)
    assert out.any()  # the next launch is as if nothing had been


def test_arrays_that_share_memory_are_one_span():
    x = words(12)
    spans = Spans((x[2:6], x[4:9], 7, x[10:], x[:0]))
    low = x.ctypes.data
    assert spans.bounds == [(low + 16, low + 72), (low + 80, low + 96)]
    there = {low + 16: 1000, low + 80: 5000}
    assert [spans.moved(a, there) for a in (x[4:9], 7, x[11:], x[:0])] == [1016, 7, 5008, 0]


def test_a_copy_keeps_its_alignment_and_what_it_was_given():
    x = np.arange(100, dtype=np.uint8)
    for start in range(17):
        part = x[start : start + 40]
        low = part.ctypes.data
        copy = Guarded(low, low + part.size)
        assert (copy.address - low) % 16 == 0 and copy.back()
    assert np.array_equal(x, np.arange(100))
