"""Steady arrays are split once; digits are never another array's, and go when their own does."""

import gc
import threading
import weakref
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from kernels import reference
from kernels.conv import Geometry
from kernels.cuda import convolutions, products
from kernels.cuda.digits import FALLING, KEPT, RISING, planes_of
from kernels.cuda.operand import Side, matrix
from kernels.cuda.products import matmul_add, matmul_cross, product
from kernels.steady import steady
from tests.kernels.drawing import RING, Words, crossed
from tests.kernels.emulator import GPU
from tests.kernels.test_convolutions import operands


@pytest.fixture(scope="module", autouse=True)
def by_digits():
    """Whatever would be chosen: shapes here are small, for which words are shorter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "choose", lambda *_: product)
        yield


class Watched:
    """A card of its own that counts how often each kernel starts."""

    def __init__(self):
        self.count = Counter()
        self.gpu = replace(GPU, launch=self._launch)

    def _launch(self, source, kernel, *rest):
        self.count[kernel.partition("_")[0]] += 1
        GPU.launch(source, kernel, *rest)

    def splits(self, step):
        """How many splits a step starts."""
        before = self.count["split"]
        step()
        return self.count["split"] - before


@pytest.fixture
def card():
    return Watched()


def times(card, x, w):
    """How many splits x @ w takes; it has to be right."""
    out = np.zeros((*x.shape[:-1], w.shape[-1]), w.dtype)
    found = card.splits(lambda: matmul_add(card.gpu, out, x, w))
    assert np.array_equal(out, x @ w)
    return found


@pytest.mark.parametrize("dtype", RING)
def test_a_steady_side_is_split_once_for_all_that_it_meets(card, dtype):
    words = Words(1, dtype)
    w = words(40, 30)
    assert [times(card, words(m, 40), w) for m in (5, 5)] == [2, 2]  # nobody said anything
    steady(w)
    assert [times(card, words(m, 40), w) for m in (5, 70, 5)] == [2, 1, 1]
    x = words(5, 40)
    steady(x)
    assert [times(card, x, w) for _ in range(2)] == [1, 0]


@pytest.mark.parametrize("marked, later", [("", 4), ("0", 4), ("1", 4), ("01", 2)])
def test_a_replicated_side_is_kept_only_if_both_its_terms_are_steady(card, marked, later):
    words = Words(2)
    y = words(40, 9), words(40, 9)
    steady(*(y[int(i)] for i in marked))
    for splits in (4, later):
        x, out = (words(7, 40), words(7, 40)), words(7, 9)
        expected = crossed(np.matmul, out, *x, *y)
        found = card.splits(lambda x=x, out=out: matmul_cross(card.gpu, out, *x, *y))
        assert found == splits
        assert np.array_equal(out, expected)


VIEWS = {
    "all": lambda w: w,
    "rows": lambda w: w[:30],
    "other rows": lambda w: w[30:],
    "columns": lambda w: w[:, :30],
    "other columns": lambda w: w[:, 1:31],
    "transposed": lambda w: w.T,
    "rows of it transposed": lambda w: w[:30].T,
    "every second row": lambda w: w[::2],
    "reshaped": lambda w: w.reshape(100, 36),
    "a batch": lambda w: w.reshape(2, 30, 60),
    "the end of it": lambda w: w.reshape(2, 30, 60)[1:, 7:],
    "a row for all": lambda w: np.broadcast_to(w[:1], (20, 60)),
    "as shorter words": lambda w: w.reshape(-1)[:1800].view(np.uint32).reshape(60, 60),
}


def test_each_view_of_a_steady_array_has_digits_of_its_own(card):
    words = Words(3)
    w = words(60, 60)
    steady(w)
    views = [f(w) for f in VIEWS.values()]
    for first in (True, False):
        for name, v in zip(VIEWS, views, strict=True):
            x = Words(4, v.dtype)(*v.shape[:-2], 3, v.shape[-2])
            # Each is one product, or as many as a batch has, split at once.
            assert times(card, x, v) == (2 if first else 1), name


def test_a_view_taken_anew_is_found_again_and_a_copy_is_not(card):
    words = Words(5)
    w, x = words(60, 40), words(3, 40)
    steady(w[2:])
    assert [times(card, x, w[10:30].T) for _ in range(2)] == [2, 1]
    assert [times(card, x, w[10:30].T.copy()) for _ in range(2)] == [2, 2]
    backwards = w[::-1].T  # no kernel reads so: it is copied first
    assert [times(card, x, backwards) for _ in range(2)] == [2, 2]


def test_batches_and_runs_of_rows_are_kept_apart(card, monkeypatch):
    monkeypatch.setattr(products, "MOST_PLANES", 64 * 64 * 8)
    words = Words(6)
    w = words(2, 40, 150)
    steady(w)
    splits = [times(card, words(2, 5, 40), w) for _ in range(2)]
    assert splits[0] > 4 and splits[1] == 2  # of x, in two runs of the batch
    assert times(card, words(5, 40), w[1]) == 4
    assert times(card, words(5, 40), w[1]) == 1


def test_digits_in_another_order_and_those_of_another_card_are_others(card):
    words = Words(7)
    w = words(40, 40)
    steady(w)
    side, other = Side(matrix(40, 40, 40, 1), ((w, None),)), Watched()
    one, two = (planes_of(card.gpu, side, order=order) for order in (RISING, FALLING))
    assert not np.array_equal(one.digits, two.digits)
    assert planes_of(card.gpu, side) is one and planes_of(card.gpu, side, order=FALLING) is two
    assert planes_of(other.gpu, side) is not one
    assert planes_of(card.gpu, side, range(16, 32)) is not one


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dtype", RING)
def test_weights_of_a_convolution_are_split_once_each_way(card, dtype, stride):
    """A strided gradient reads slices of them, which are taken anew each time."""
    geometry, spatial, kernel = Geometry((stride,) * 2, (1, 1), (1, 1), 2), (7, 6), (3, 3)
    draw, walk = Words(8, dtype), ((stride,) * 2, (1, 1), (1, 1), 2)
    case = geometry, spatial, kernel, (2, 3, 4)
    ways = (
        (convolutions.FORWARD, lambda x, w: reference.conv(geometry, x, w), 0),
        (
            convolutions.INPUT_GRAD,
            lambda g, w: reference.conv_input_grad(geometry, spatial, g, w),
            2,
        ),
    )
    (_, weights, _), (_, others, _) = (operands(draw, case, "plain") for _ in range(2))
    steady(weights, others)
    for kind, definition, at in ways:
        splits = []
        for _ in range(2):
            one, two = (operands(draw, case, "plain")[at] for _ in range(2))
            out = draw(*definition(one, weights).shape)
            expected = crossed(definition, out, one, two, weights, others)
            terms = one, two, weights, others
            splits.append(
                card.splits(
                    lambda kind=kind, out=out, terms=terms: convolutions.conv_cross(
                        card.gpu, kind, *walk, out, *terms
                    )
                )
            )
            assert np.array_equal(out, expected)
        assert splits[1] * 2 == splits[0]  # of one side, and not of both


def test_digits_go_when_the_array_does(card):
    words, before = Words(9), (len(KEPT), KEPT.nbytes)
    w = words(40, 30)
    steady(w)
    times(card, words(5, 40), w)
    times(card, words(5, 30), w.T)
    view, made = w[1:], [planes.digits for planes, _ in list(KEPT._things.values())[-2:]]
    assert (len(KEPT), KEPT.nbytes) == (before[0] + 2, before[1] + sum(a.nbytes for a in made))
    found = [*map(weakref.ref, made)]
    del made
    del w
    gc.collect()
    assert all(a() is not None for a in found), "a view holds the array"
    del view
    gc.collect()
    assert (len(KEPT), KEPT.nbytes) == before
    assert not any(a() is not None for a in found)


def test_an_array_where_a_steady_one_lay_is_not_taken_for_it(card):
    words, places = Words(10), Counter()
    for k in range(20):
        w = words(40, 30)
        places[id(w), w.ctypes.data] += 1
        if k % 2:
            assert [times(card, words(5, 40), w) for _ in range(2)] == [2, 2], "nobody said so"
        else:
            steady(w)
            assert [times(card, words(5, 40), w) for _ in range(2)] == [2, 1]
        del w
    assert len(places) < 20, "the same place was never given again: this has tested nothing"


def test_what_has_no_room_is_not_kept_and_pushes_nothing_out(card):
    words = Words(11)
    one, two, large = words(40, 30), words(40, 30), words(40, 130)
    steady(one, two, large)
    times(card, words(5, 40), one)
    _, nbytes = KEPT._things[next(reversed(KEPT._things))]
    card.gpu = replace(card.gpu, kept_bytes=KEPT.nbytes + 3 * nbytes)
    assert [times(card, words(5, 40), w) for w in (one, one)] == [2, 1]  # of another card
    assert [times(card, words(5, 40), large) for _ in range(2)] == [2, 2]
    assert [times(card, words(5, 40), two) for _ in range(2)] == [2, 1]
    assert times(card, words(5, 40), one) == 1
    del two
    gc.collect()
    three = words(40, 30)
    steady(three)
    assert [times(card, words(5, 40), three) for _ in range(2)] == [2, 1]  # in the room of the dead


def test_parties_may_be_threads(card):
    """Of one steady array and of their own, which die while others look."""
    words = Words(13)
    shared, failed = words(40, 30), []
    steady(shared)
    before = len(KEPT)

    def party(seed):
        try:
            mine = Words(100 + seed)
            for _ in range(6):
                own = mine(40, 20)
                steady(own)
                for w in (shared, own, own, shared):
                    x, out = mine(3, 40), mine(3, w.shape[1])
                    expected = out + x @ w
                    matmul_add(card.gpu, out, x, w)
                    assert np.array_equal(out, expected)
                del own
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=party, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    gc.collect()
    assert len(KEPT) == before + 1, "only the one that is still there"
    assert card.count["split"] <= 4 * 6 * (4 + 1) + 4  # each x, each own one, and the shared one


def test_an_array_that_dies_while_others_are_looked_for_waits_for_nobody(card):
    words = Words(14)
    w, other = words(40, 30), words(40, 30)
    steady(w, other)
    times(card, words(5, 40), w)
    times(card, words(5, 40), other)
    before, done = len(KEPT), threading.Event()

    def dies(arrays):
        with KEPT._lock:  # as in the middle of `find`, in this thread or in another
            arrays.clear()
            gc.collect()
        done.set()

    arrays = [w]
    del w
    thread = threading.Thread(target=dies, args=(arrays,), daemon=True)
    thread.start()
    assert done.wait(10), "it waits for the lock that it is held under"
    assert times(card, words(5, 40), other) == 1
    assert len(KEPT) == before - 1
