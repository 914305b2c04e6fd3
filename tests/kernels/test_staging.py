"""Copies to and from a card, on what stands for CuPy, whose copies are made as late as may be."""

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kernels.cuda.staging import Staging
from tests.kernels import streams
from tests.kernels.streams import SPOILED, Copied, Event, get_current_stream


@pytest.fixture
def pool():
    return streams.Pool()


@pytest.fixture
def staging(pool):
    get_current_stream().synchronize()
    return Staging(*streams.modules(pool))


@pytest.fixture
def late(monkeypatch):
    """Events come only where somebody waits for them, however often they are asked."""
    monkeypatch.setattr(Event, "late", True)


def there(n, start=0):
    """So many different bytes on the card."""
    return ((np.arange(n) + start) % 100).astype(np.uint8).view(Copied)


def came(crossing, n, start=50):
    """A message that has come to the host."""
    room = crossing.room(n)
    room[:] = there(n, start)
    return room


def read(a):
    """As a step on the card would: when the thread's stream comes to it."""
    get_current_stream().synchronize()
    return np.array(a)


def free(pool):
    return sum(map(len, pool.free.values()))


def test_what_comes_to_the_host_is_in_page_locked_memory_and_whole(staging, pool):
    a = np.arange(6, dtype=np.uint64).reshape(2, 3).view(Copied)
    found = staging.get(a.T)
    assert np.array_equal(found, a.T) and pool.has(found)
    assert staging.get(a[:0]).shape == (0, 3)


def test_where_no_more_can_be_locked_memory_is_the_ordinary_one(staging, pool):
    pool.most = 1
    rooms = [staging.room((2, 3), np.uint64) for _ in range(3)]
    assert [pool.has(room) for room in rooms] == [True, False, False]
    crossing, target = staging.crossing(there(1)), there(9)
    room, whole = crossing.fetch(there(700))
    crossing.land(target, came(crossing, 9))
    crossing.join()
    assert whole() or whole() or whole()
    assert np.array_equal(room, there(700)) and np.array_equal(read(target), there(9, 50))


def test_page_locked_memory_serves_again_for_pieces_of_like_size(staging, pool):
    for n in (4096, 3000, 2049):
        crossing = staging.crossing(there(1))
        _, whole = crossing.fetch(there(n))
        while not whole():
            pass
        crossing.land(there(n), came(crossing, n))
        crossing.join()
        get_current_stream().synchronize()
        staging.hold(staging.record(get_current_stream()), None)
        del crossing, whole, _
        get_current_stream().synchronize()
        assert len(pool.locked) == 2


def test_a_piece_is_whole_when_its_copy_is_over_and_not_before(staging, late):
    pieces = [there(600, k) for k in range(3)]
    crossing = staging.crossing(pieces[0])
    fetched = [crossing.fetch(piece) for piece in pieces]
    for _ in range(10):
        assert not any(whole() for _, whole in fetched)
    assert all(np.all(room == SPOILED) for room, _ in fetched)
    out, _ = staging.streams(streams.DEVICE)
    while not fetched[1][1]():  # the wait, a copy, its event, a copy, its event
        out.one()
    assert [whole() for _, whole in fetched] == [True, True, False]
    for k, (room, _) in enumerate(fetched):
        assert np.array_equal(room, pieces[k]) == (k < 2)


def test_what_is_fetched_was_computed_first(staging):
    piece = there(10)
    get_current_stream().add(lambda: piece.fill(42))
    room, whole = staging.crossing(piece).fetch(piece)
    while not whole():
        assert not np.any(room == 42)
    assert np.all(room == 42)


def test_what_lands_is_not_written_over_by_what_was_told_before(staging):
    target = there(10)
    get_current_stream().add(lambda: target.fill(42))
    crossing = staging.crossing(target)
    crossing.land(target, came(crossing, 10))
    _, back = staging.streams(streams.DEVICE)
    back.synchronize()  # a card may do it at once
    crossing.join()
    assert np.array_equal(read(target), there(10, 50))


def test_what_is_told_after_a_round_comes_after_what_landed(staging):
    targets = [there(10), there(600)]
    crossing = staging.crossing(targets[0])
    for target in targets:
        crossing.land(target, came(crossing, target.size))
    assert np.array_equal(targets[0], there(10)), "the host waits for nothing"
    crossing.join()
    for target in targets:
        assert np.array_equal(read(target), there(target.size, 50))


def test_what_has_landed_is_held_until_the_card_has_read_it_and_no_longer(staging, pool, late):
    crossing, target = staging.crossing(there(1)), there(600)
    crossing.land(target, came(crossing, 600))
    crossing.join()
    del crossing
    other = staging.room((1024,), np.uint8)
    other[:] = 1
    assert len(pool.locked) == 2 and free(pool) == 0
    assert np.array_equal(read(target), there(600, 50))
    event = staging.record(get_current_stream())
    staging.hold(event, None)
    assert free(pool) == 1


def test_a_crossing_that_is_kept_keeps_all_that_copies_still_use(staging, pool):
    source, target = there(600), there(600)
    crossing = staging.crossing(source)
    crossing.fetch(source)
    crossing.land(target, came(crossing, 600))
    alive = weakref.ref(source), weakref.ref(target)
    del source, target
    assert free(pool) == 0 and all(ref() is not None for ref in alive)
    del crossing
    assert free(pool) == 2


def test_both_ways_have_streams_of_their_own_that_nobody_elses_work_holds_up(staging):
    def pair(_=None):
        return staging.streams(streams.DEVICE)

    with ThreadPoolExecutor(1) as other:
        (theirs,) = other.map(pair, [0])
    found = {*pair(), *theirs}
    assert len(found) == 4 and all(s.non_blocking for s in found) and pair() == pair()


def test_a_round_in_which_nothing_lands_leaves_the_current_stream_alone(staging):
    crossing = staging.crossing(there(1))
    get_current_stream().synchronize()
    crossing.fetch(there(5))
    crossing.join()
    assert not get_current_stream().queue


def test_a_copy_that_will_never_be_over_since_the_card_failed_is_an_error(staging, monkeypatch):
    monkeypatch.setattr(Event, "query", lambda event: 700)
    _, whole = staging.crossing(there(1)).fetch(there(5))
    with pytest.raises(streams.CUDARuntimeError, match="700"):
        whole()


def test_settling_waits_for_what_this_thread_told_the_card(staging):
    a = there(5)
    get_current_stream().add(lambda: a.fill(42))
    staging.settle(a)
    assert np.all(a == 42)


def test_threads_let_go_of_nothing_that_is_still_read(staging):
    wrong, lock = [], threading.Lock()

    def many(thread):
        for k in range(200):
            start = 7 * thread + k
            crossing, target = staging.crossing(there(1)), there(40)
            crossing.land(target, came(crossing, 40, start))
            crossing.join()
            del crossing
            if not np.array_equal(read(target), there(40, start)):
                with lock:
                    wrong.append(start)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(many, range(4)))
    assert not wrong
