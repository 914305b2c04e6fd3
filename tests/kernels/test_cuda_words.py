"""Products word by word on the emulator, and how sides are read out of arrays, against NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.cuda import words
from kernels.cuda.operand import Gather, Side, Target, matrix
from tests.kernels.drawing import RING, SEEDS, Words, some
from tests.kernels.emulator import GPU

SIZES = st.sampled_from([1, 2, 7, 8, 9, 16, 63, 65, 130])
LEVELS = st.lists(st.integers(1, 4), min_size=3, max_size=3).map(tuple)


def side(terms, axes=(1, 2)):
    """Of arrays (batch, rows, depth), or with rows last: `axes` says which are which."""
    (first, _), *_ = terms
    sizes = [first.shape[axis] for axis in axes]
    batch, *steps = (first.strides[axis] // first.itemsize for axis in (0, *axes))
    return Side(matrix(*sizes, *steps), terms, tuple(batch * z for z in range(len(first))))


def target(out, inner=None):
    batch, m, n = (step // out.itemsize for step in out.strides)
    inner = inner or out.shape[1]
    return Target(inner, inner * m, m, n, tuple(batch * z for z in range(len(out))))


@pytest.mark.parametrize("dtype", RING)
@some
@given(
    sizes=st.tuples(st.integers(1, 3), SIZES, SIZES, st.integers(0, 300)),
    terms=st.sampled_from([(False,), (True,), (False, False), (False, True), (True, False)]),
    ways=st.tuples(*[st.sampled_from([(0, 1, 2), (0, 2, 1), (1, 2, 0)])] * 3),
    seed=SEEDS,
)
def test_a_product_adds_what_numpy_does_in_any_layout(dtype, sizes, terms, ways, seed):
    draw, (batch, m, n, depth) = Words(seed, dtype), sizes

    def array(way, *shape):
        """Of this shape, with its axes in memory in another order, and gaps between elements."""
        return draw(*(shape[axis] for axis in way), 2)[..., 1].transpose(np.argsort(way))

    def given_terms(way, rows):
        return tuple(
            (array(way, batch, rows, depth), array(way, batch, rows, depth) if plus else None)
            for plus in terms
        )

    a, b, out = given_terms(ways[0], m), given_terms(ways[1], n), array(ways[2], batch, m, n)
    expected = out.copy()
    for (x, more_x), (y, more_y) in zip(a, b, strict=True):
        whole_x, whole_y = (
            (x if more_x is None else x + more_x),
            (y if more_y is None else y + more_y),
        )
        expected += whole_x @ whole_y.transpose(0, 2, 1)
    words.product(GPU, out, target(out), side(a), side(b))
    assert np.array_equal(out, expected)


@pytest.mark.parametrize("m, n", [(1, 1), (3, 70), (70, 3), (30, 40)])
@pytest.mark.parametrize("dtype", RING)
def test_a_long_sum_is_shared_by_blocks(dtype, m, n):
    draw = Words(5, dtype)
    x, y, out = draw(1, m, 4608), draw(1, n, 4608), draw(1, m, n)
    assert 4608 > words._span(GPU, 1, 4608) and words._span(GPU, 1, 127) == 128
    expected = out + x @ y.transpose(0, 2, 1)
    words.product(GPU, out, target(out), side(((x, None),)), side(((y, None),)))
    assert np.array_equal(out, expected)


def test_more_products_than_a_launch_has_blocks_are_walked_through(monkeypatch):
    monkeypatch.setattr(words, "MOST_Z", 3)
    draw = Words(6)
    x, y, out = draw(8, 2, 5), draw(8, 3, 5), draw(8, 2, 3)
    expected = out + x @ y.transpose(0, 2, 1)
    words.product(GPU, out, target(out), side(((x, None),)), side(((y, None),)))
    assert np.array_equal(out, expected)


def test_a_batch_may_share_a_side_or_add_to_one_place():
    draw = Words(8)
    x, y, out = draw(3, 2, 5), draw(1, 70, 5), draw(3, 2, 70)
    a, b = side(((x, None),)), side(((y, None),))
    each, expected = x @ y[0].T, out + x @ y[0].T
    words.product(GPU, out, target(out), a, b)
    assert np.array_equal(out, expected)

    where = target(out)
    where = Target(where.inner, 0, where.inner_step, where.column_step, (0, 0, 0))
    expected[0] += each[0] + each[1] + each[2]
    words.product(GPU, out, where, a, b)
    assert np.array_equal(out, expected)

    with pytest.raises(ValueError, match="sides of depth 5 and 4 have no product"):
        words.product(GPU, out, where, a, side(((draw(1, 70, 4), None),)))
    with pytest.raises(ValueError, match="a batch of 3, and sides of 3 and 2"):
        words.product(GPU, out, where, a, side(((draw(2, 70, 5), None),)))


@pytest.mark.parametrize("inner", [5, 7, 35])
def test_rows_of_a_result_may_stand_in_runs(inner):
    draw = Words(7)
    x, y = draw(1, 35, 20), draw(1, 9, 20)
    out = draw(35 // inner, 9, inner)  # as a convolution's: (image, channel, place)
    product = (x[0] @ y[0].T).reshape(35 // inner, inner, 9).transpose(0, 2, 1)
    expected = out + product
    where = Target(inner, 9 * inner, 1, inner)
    words.product(GPU, out, where, side(((x, None),)), side(((y, None),)))
    assert np.array_equal(out, expected)


def test_positions_that_do_not_fit_are_refused():
    x, out = Words(0)(1, 4), Words(0)(1, 1, 1)
    far = Gather((1, 2, 1, 1), (4, 1, 1, 1), 0, 1, by_row=(1 << 31, 0, 0), limit=(4, 1, 1))
    with pytest.raises(ValueError, match="do not fit into 32 bits"):
        words.product(GPU, out, target(out), Side(far, ((x, None),)), side(((x[None], None),)))


# -- places


@st.composite
def gathers(draw):
    """Any matrix of the form that operand.Gather can say, over an array that is large enough."""

    def numbers(low, high):
        return tuple(draw(st.lists(st.integers(low, high), min_size=3, max_size=3)))

    row, column = (
        (draw(st.integers(1, 3)), *numbers(1, 3)),
        (draw(st.integers(1, 3)), *numbers(1, 3)),
    )
    limit, step = numbers(1, 5), numbers(0, 50)
    return Gather(
        row,
        column,
        draw(st.integers(0, 50)),
        draw(st.integers(0, 50)),
        numbers(-3, 3),
        numbers(-3, 3),
        numbers(-3, 3),
        limit,
        step,
    )


def places(g):
    """By NumPy, for all indices at once; -1 where there is no element."""
    row = np.indices(g.row).reshape(4, -1, 1)
    column = np.indices(g.column).reshape(4, 1, -1)
    at = row[0] * g.row_step + column[0] * g.column_step
    exists = np.ones(at.shape, bool)
    for d in range(3):
        position = g.origin[d] + g.by_row[d] * row[d + 1] + g.by_column[d] * column[d + 1]
        exists &= (position >= 0) & (position < g.limit[d])
        at = at + position * g.step[d]
    return np.where(exists, at, -1)


@some
@given(g=gathers(), seed=SEEDS)
def test_elements_are_read_where_numpy_finds_them(g, seed):
    """The matrix times the identity, as either side."""
    at = places(g)
    draw = Words(seed)
    x = draw(int(at.max(initial=0)) + 1)
    expected = np.where(at < 0, np.uint64(0), x[at])
    m, depth = at.shape
    whole, one = Side(g, ((x, None),)), side(((np.eye(depth, dtype=np.uint64)[None], None),))
    out, other = np.zeros((1, m, depth), np.uint64), np.zeros((1, depth, m), np.uint64)
    words.product(GPU, out, target(out), whole, one)
    words.product(GPU, other, target(other), one, whole)
    assert np.array_equal(out[0], expected) and np.array_equal(other[0], expected.T)
