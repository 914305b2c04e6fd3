"""Under additive sharing a factor is opened once, and serves every product of its share."""

import gc
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.conv import Geometry, conv, conv_input_grad, conv_weight_grad
from kernels.gemm import matmul
from kernels.ring import multiply
from mpc.correlated.items import Choice, Mask, Triple
from mpc.launch import run_parties
from mpc.sources import InsecureSource
from protocols.additive import AdditiveProtocol
from tests.protocols.words import ADDITIVE, SEEDS, TWO, asked, draw_words, joined, some

additive_sizes = pytest.mark.parametrize("at", ADDITIVE, ids=str)
SHAPE = (5, 5)
X, Y, Z = (draw_words(seed, SHAPE) for seed in range(3))


class Watched:
    """What steps cost one party, each as (rounds, elements sent to each peer)."""

    def __init__(self, party):
        self.total, self.peers, self.costs = party.meter.total, party.size - 1, []

    def __call__(self, step):
        rounds, sent = self.total.rounds, self.total.sent_bytes
        result = step()
        elements, rest = divmod(self.total.sent_bytes - sent, 8 * self.peers)
        assert not rest
        self.costs.append((self.total.rounds - rounds, elements))
        return result


def shared(p, *inputs, owner=0):
    return [p.input(x if p.party.rank == owner else None, x.shape, owner) for x in inputs]


def watched(at, program, *inputs):
    """Joined results of a program of a protocol, a watch and shares, its costs and its items."""

    def at_one(party):
        p = at.make(party)
        shares = shared(p, *inputs)
        watch, items = Watched(party), asked(p)
        return program(p, watch, *shares), watch.costs, items

    results, costs, items = zip(*at.run(at_one), strict=True)
    assert all(other == items[0] for other in items), "all parties ask for the same"
    assert all(other == costs[0] for other in costs)
    return [joined(parts) for parts in zip(*results, strict=True)], costs[0], items[0]


@additive_sizes
def test_a_factor_used_again_is_not_opened_again_and_its_products_are_right(at):
    def program(p, watch, x, y, z):
        return [
            *watch(lambda: p.bilinear(multiply, (x, y))),
            *watch(lambda: p.bilinear(multiply, (x, y))),
            *watch(lambda: p.bilinear(matmul, (x, z))),
            *watch(lambda: p.bilinear(matmul, (z, y))),
        ]

    found, costs, items = watched(at, program, X, Y, Z)
    for one, other in zip(found, [X * Y, X * Y, X @ Z, Z @ Y], strict=True):
        assert np.array_equal(one, other)
    assert costs == [(1, 50), (0, 0), (1, 25), (0, 0)]
    assert items == [
        Triple("multiply", SHAPE, SHAPE),
        Triple("multiply", SHAPE, SHAPE, Mask(0, 0), Mask(0, 1)),
        Triple("matmul", SHAPE, SHAPE, Mask(0, 0)),
        Triple("matmul", SHAPE, SHAPE, Mask(2, 0), Mask(0, 1)),
    ]


@additive_sizes
def test_a_square_has_one_mask_and_is_opened_once(at):
    def program(p, watch, x, y):
        return [
            *watch(lambda: p.bilinear(multiply, (x, x))),
            *watch(lambda: p.bilinear(matmul, (x, x))),
            *watch(lambda: p.bilinear(multiply, (y, x))),
            *watch(lambda: p.bilinear(multiply, (y, y))),
        ]

    found, costs, items = watched(at, program, X, Y)
    for one, other in zip(found, [X * X, X @ X, X * Y, Y * Y], strict=True):
        assert np.array_equal(one, other)
    assert costs == [(1, 25), (0, 0), (1, 25), (0, 0)]
    assert items == [
        Triple("multiply", SHAPE, SHAPE, square=True),
        Triple("matmul", SHAPE, SHAPE, Mask(0, 0), square=True),
        Triple("multiply", SHAPE, SHAPE, y_mask=Mask(0, 0)),
        Triple("multiply", SHAPE, SHAPE, Mask(2, 0), square=True),
    ]


@additive_sizes
def test_a_share_in_several_pairs_of_one_call_is_opened_once(at):
    def program(p, watch, x, y, z):
        pairs = [(x, y), (y, x), (x, x), (z, y), (y, y), (z, z)]
        return watch(lambda: p.bilinear(matmul, *pairs))

    found, costs, items = watched(at, program, X, Y, Z)
    for one, other in zip(found, [X @ Y, Y @ X, X @ X, Z @ Y, Y @ Y, Z @ Z], strict=True):
        assert np.array_equal(one, other)
    assert costs == [(1, 75)]
    x, y, z = Mask(0, 0), Mask(0, 1), Mask(3, 0)
    assert [(item.x_mask, item.y_mask, item.square) for item in items] == [
        (None, None, False),
        (y, x, False),
        (x, None, True),
        (None, y, False),
        (y, None, True),
        (z, None, True),
    ]


@additive_sizes
def test_a_value_is_found_again_where_it_lies_with_its_axes_in_any_order(at):
    """The same slice taken anew, or a matrix that is transposed, as on the way back."""

    def program(p, watch, x, y):
        def times_y(f):
            return watch(lambda: p.bilinear(matmul, (x.map(f), y)))

        return [
            *times_y(lambda v: v),
            *times_y(lambda v: v[:]),
            *times_y(np.transpose),
            *times_y(lambda v: v[1:3]),
            *times_y(lambda v: v[1:3]),
            *watch(lambda: p.bilinear(matmul, (y, x.map(lambda v: v[1:3].T)))),
        ]

    found, costs, items = watched(at, program, X, Y)
    expected = [X @ Y, X @ Y, X.T @ Y, X[1:3] @ Y, X[1:3] @ Y, Y @ X[1:3].T]
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one, other)
    assert costs == [(1, 50), (0, 0), (0, 0), (1, 10), (0, 0), (0, 0)]
    x, y, row = Mask(0, 0), Mask(0, 1), Mask(3, 0)
    assert [(item.x_mask, item.y_mask) for item in items] == [
        (None, None),
        (x, y),
        (x._replace(axes=(1, 0)), y),
        (None, y),
        (row, y),
        (y, row._replace(axes=(1, 0))),
    ]


def test_axes_may_be_exchanged_more_than_once():
    x, y = draw_words(1, (2, 3, 4)), draw_words(2, (2, 3, 4))
    turns = [(1, 0, 2), (2, 0, 1), (0, 2, 1), (1, 2, 0), (2, 1, 0), (0, 1, 2)]

    def program(p, watch, x, y):
        results = []
        for axes in turns:
            one, other = (v.map(lambda v, axes=axes: v.transpose(axes)) for v in (x, y))
            results += watch(lambda one=one, other=other: p.bilinear(multiply, (one, other)))
        return results

    found, costs, items = watched(TWO, program, x, y)
    for one, axes in zip(found, turns, strict=True):
        assert np.array_equal(one, (x * y).transpose(axes))
    assert costs == [(1, 48), *[(0, 0)] * 5]
    # A mask is named by its own order, in which it was dealt at first: that of the first turn.
    first = np.transpose(x, turns[0])
    for item, axes in zip(items[1:], turns[1:], strict=True):
        assert np.array_equal(item.x_mask.moved(first), np.transpose(x, axes))


@additive_sizes
def test_other_numbers_are_another_factor(at):
    """Other elements, or the same ones walked otherwise, are opened under a mask of their own."""
    maps = [
        lambda v: v[:3],
        lambda v: v[1:4],
        lambda v: v[::2],
        lambda v: v[::-1],
        lambda v: v.reshape(25, 1)[:3] * np.ones((1, 5), np.uint64),
        lambda v: v.copy(),
        lambda v: v + v,
        lambda v: np.broadcast_to(v[:1], (5, 5)),
    ]

    def program(p, watch, x, y):
        watch(lambda: p.bilinear(matmul, (x, y)))
        return [z for f in maps for z in watch(lambda f=f: p.bilinear(matmul, (x.map(f), y)))]

    found, costs, items = watched(at, program, X, Y)
    for one, f in zip(found, maps, strict=True):
        assert np.array_equal(one, f(X) @ Y)
    assert costs == [(1, 50), *((1, f(X).size) for f in maps)]
    assert all(item.x_mask is None for item in items)


@additive_sizes
def test_a_value_beside_itself_transposed_is_right_in_any_order(at):
    """Both operands are new, and each has a mask of its own in the item, though one is a view."""

    def program(p, watch, x, y):
        turned = x.map(np.transpose)
        return [
            *watch(lambda: p.bilinear(matmul, (x, turned))),
            *watch(lambda: p.bilinear(matmul, (turned, x), (x, turned), (turned, turned))),
            *watch(lambda: p.bilinear(matmul, (y, y.map(lambda v: v[:])))),
            *watch(lambda: p.bilinear(matmul, (y.map(np.transpose), y))),
        ]

    found, costs, items = watched(at, program, X, Y)
    expected = [X @ X.T, X.T @ X, X @ X.T, X.T @ X.T, Y @ Y, Y.T @ Y]
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one, other)
    assert costs == [(1, 50), (0, 0), (1, 25), (0, 0)]
    assert [item.square for item in items] == [False, False, False, True, True, False]


@additive_sizes
def test_a_public_array_that_is_shared_again_is_new_to_all_parties(at):
    """Only the first party's term holds it: all must come to the same items still."""

    def program(p, watch, x, _):
        def times(public):
            return watch(lambda: p.bilinear(matmul, (x, p.constant(public))))

        return [*times(Z), *times(Z), *times(Z.T), *times(Z[:, 1:3]), *times(np.asfortranarray(Z))]

    found, costs, _ = watched(at, program, X, Y)
    for one, public in zip(found, [Z, Z, Z.T, Z[:, 1:3], Z], strict=True):
        assert np.array_equal(one, X @ public)
    assert costs == [(1, 50), (1, 25), (1, 25), (1, 10), (1, 25)]


def test_a_public_array_may_change_after_it_was_shared():
    def program(p, watch, x, _):
        public = Z.copy()
        shared_then = p.constant(public)
        first = p.bilinear(multiply, (x, shared_then))
        public += np.uint64(1)
        return [*first, *p.bilinear(multiply, (x, shared_then))]

    found, _, _ = watched(TWO, program, X, Y)
    assert all(np.array_equal(one, X * Z) for one in found)


@some
@given(SEEDS, st.lists(st.tuples(*[st.integers(0, 3)] * 2, st.booleans()), max_size=12))
def test_products_in_any_order_open_each_share_once(seed, drawn):
    """Some alone, some several in one call; at three parties, so that one has nothing public."""
    inputs = [draw_words(seed + i, (3, 3)) for i in range(4)]
    calls = []
    for a, b, alone in drawn:
        calls += [[(a, b)]] if alone or not calls else []
        calls[-1] += [] if alone else [(b, a), (a, b)]

    def program(p, watch, *shares):
        return [
            z
            for pairs in calls
            for z in watch(
                lambda pairs=pairs: p.bilinear(matmul, *((shares[a], shares[b]) for a, b in pairs))
            )
        ]

    found, costs, _ = watched(ADDITIVE[1], program, *inputs)
    expected = [inputs[a] @ inputs[b] for pairs in calls for a, b in pairs]
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
    opened = set()
    for pairs, cost in zip(calls, costs, strict=True):
        new = {share for pair in pairs for share in pair} - opened
        assert cost == (bool(new), 9 * len(new))
        opened |= new


@pytest.mark.parametrize("square_first", [False, True])
def test_a_model_step_opens_each_of_its_tensors_once(square_first):
    """Forward and both gradients of a convolution: weights, images and slopes."""
    geometry = Geometry((1, 2), (1, 0), (1, 1), 2)
    x, w = draw_words(1, (2, 4, 5, 6)), draw_words(2, (6, 2, 3, 3))
    f = conv(geometry)
    g = draw_words(3, f.shape(x.shape, w.shape))
    to_input, to_weight = conv_input_grad(geometry, (5, 6)), conv_weight_grad(geometry, (3, 3))

    def program(p, watch, x, w, g):
        squares = watch(lambda: p.bilinear(multiply, (w, w))) if square_first else ()
        forward = watch(lambda: p.bilinear(f, (x, w)))
        return [
            *forward,
            *watch(lambda: p.bilinear(to_input, (g, w))),
            *watch(lambda: p.bilinear(to_weight, (x, g))),
            *squares,
        ]

    (y, dx, dw, *_), costs, _ = watched(TWO, program, x, w, g)
    assert np.array_equal(y, f(x, w))
    assert np.array_equal(dx, to_input(g, w)) and np.array_equal(dw, to_weight(x, g))
    sizes = [prod(v.shape) for v in (x, w, g)]
    first = [(1, sizes[1]), (1, sizes[0])] if square_first else [(1, sizes[0] + sizes[1])]
    assert costs == [*first, (1, sizes[2]), (0, 0)]


def test_a_factor_may_have_no_axes_or_no_elements():
    x, empty = draw_words(1, ()), np.zeros((0, 3), np.uint64)

    def program(p, watch, x, empty):
        return [
            *watch(lambda: p.bilinear(multiply, (x, x), (x, empty))),
            *watch(lambda: p.bilinear(multiply)),
        ]

    (square, nothing), costs, _ = watched(TWO, program, x, empty)
    assert np.array_equal(square, x * x) and nothing.shape == (0, 3)
    assert costs == [(1, 1), (0, 0)]


def test_what_was_opened_of_a_value_is_let_go_with_it():
    """A view keeps it, as it keeps the elements."""

    def program(party):
        p = TWO.make(party)
        x, y = shared(p, X, Y)
        p.bilinear(multiply, (x, y))
        known = p._factors._known
        counts = [len(known)]
        view = x.map(lambda v: v[1:])
        del x
        gc.collect()
        counts.append(len(known))
        del view
        gc.collect()
        counts.append(len(known))
        p.bilinear(multiply, (y, y))
        return counts

    assert TWO.run(program) == [[2, 2, 1]] * 2


def test_a_share_made_where_an_old_one_lay_is_not_taken_for_it():
    """Python may give a new object the place of a dead one: the new one is opened all the same."""

    def program(party):
        p = TWO.make(party)
        (y,) = shared(p, Y)
        watch, results = Watched(party), []
        for k in range(20):
            z = y.map(lambda v, k=k: v * np.uint64(k))
            results += watch(lambda z=z: p.bilinear(multiply, (z, y)))
            del z
        return results, watch.costs

    results, costs = zip(*TWO.run(program), strict=True)
    assert costs[0] == [(1, 50), *[(1, 25)] * 19]
    for k, parts in enumerate(zip(*results, strict=True)):
        assert np.array_equal(joined(parts), np.uint64(k) * Y * Y)


def test_a_step_that_was_refused_leaves_no_factor_behind():
    x, w = np.arange(4, dtype=np.uint64), np.arange(3, dtype=np.uint64)

    def program(party):
        p = AdditiveProtocol(party, source=InsecureSource(party))
        mine = [v if party.rank == 0 else None for v in (x, w)]
        shared = [p.input(v, like.shape, 0) for v, like in zip(mine, (x, w), strict=True)]
        with pytest.raises(ValueError, match="do not broadcast"):
            p.bilinear(multiply, (shared[0], shared[0]), tuple(shared))
        (z,) = p.bilinear(multiply, (shared[0], shared[0]))
        return p.open(z, reason="a test")[0]

    for found in run_parties(2, program):
        assert np.array_equal(found, x * x)


def test_what_was_a_factor_cannot_be_changed_in_place():
    def program(party):
        p = AdditiveProtocol(party, source=InsecureSource(party))
        x = p.input(np.arange(4, dtype=np.uint64) if party.rank == 0 else None, (4,), 0)
        p.bilinear(multiply, (x, x))
        with pytest.raises(ValueError, match="read-only"):
            x.own[...] = 0

    run_parties(2, program)


def test_what_was_dealt_is_not_printed():
    def program(party):
        return repr(InsecureSource(party).take(Choice(5)))

    assert set(run_parties(2, program)) == {"Dealt(0: 2 masks, 2 products)"}
