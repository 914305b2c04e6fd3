"""Products on matrix units against NumPy, under an emulator of a thread block."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.cuda import products
from kernels.cuda.digits import FALLING
from kernels.cuda.operand import Gather, Side, Target, matrix
from kernels.cuda.products import add_product, matmul_add, matmul_cross, planes_of, product
from tests.kernels.drawing import LAYOUTS, RING, SEEDS, Words, crossed, largest_digits
from tests.kernels.emulator import GPU, emulate

ALONE = replace(GPU, cores=1)  # never shares the depth of a product among blocks
few = settings(deadline=None, max_examples=8)
MANY = st.integers(1, 130)


@pytest.fixture(scope="module", autouse=True)
def by_digits():
    """Whatever would be chosen: shapes here are small, for which words are shorter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "choose", lambda *_: product)
        yield


def digits_of(matrix):
    """Balanced digits [digit][row][column], one after the other from the lowest."""
    rest, digits = matrix.astype(object), []
    for _ in range(matrix.dtype.itemsize):
        digit = (rest + 128) % 256 - 128
        digits.append(digit.astype(np.int8))
        rest = (rest - digit) // 256
    return np.stack(digits)


def by_digit(planes, x):
    """Digits of rows as they are in memory, [digit][row][column]."""
    rows = planes.digits.view(np.int8).reshape(-1, x.itemsize, planes.depth)
    return rows[: len(planes.rows)].swapaxes(0, 1)


@pytest.mark.parametrize("dtype", RING)
@few
@given(m=MANY, k=st.integers(1, 300), seed=SEEDS, layout=LAYOUTS.filter(lambda x: x != "reversed"))
def test_planes_are_the_balanced_digits_of_each_term(dtype, m, k, seed, layout):
    x, y, z = (Words(seed + i, dtype)(m, k, layout=layout) for i in range(3))
    gather = matrix(m, k, *(s // x.itemsize for s in x.strides))
    first = seed % m
    side, rows = Side(gather, ((x, None), (y, z))), range(first, m)
    found = planes_of(GPU, side, rows)
    digits = by_digit(found, x)
    assert np.array_equal(by_digit(planes_of(GPU, side, rows, order=FALLING), x)[::-1], digits)
    begin = -(-k // 16) * 16
    expected = np.zeros((x.itemsize, m - first, -(-(begin + k) // 32) * 32), np.int8)
    expected[..., :k] = digits_of(x[first:])
    expected[..., begin : begin + k] = digits_of((y + z)[first:])
    assert np.array_equal(digits, expected)


def place(g, i, k):
    """The definition, as gather.h has it."""
    at = 0
    for d in (2, 1, 0):
        (i, row), (k, column) = divmod(i, g.row[d + 1]), divmod(k, g.column[d + 1])
        position = g.origin[d] + g.by_row[d] * row + g.by_column[d] * column
        if not 0 <= position < g.limit[d]:
            return -1
        at += position * g.step[d]
    return at + i * g.row_step + k * g.column_step


def threes(lowest, highest):
    return st.tuples(*[st.integers(lowest, highest)] * 3)


@pytest.mark.parametrize("dtype", RING)
@few
@given(
    row=st.tuples(*[st.integers(1, 4)] * 4),
    column=st.tuples(*[st.integers(1, 3)] * 4),
    by=st.tuples(threes(-2, 3), threes(-2, 3)),
    origin=threes(-3, 6),
    limit=threes(1, 6),
    seed=SEEDS,
)
def test_a_side_may_be_windows_that_reach_outside(dtype, row, column, by, origin, limit, seed):
    words = Words(seed, dtype)
    x, y = words(4, 3, *limit), words(4, 3, *limit)
    steps = [s // x.itemsize for s in x.strides]
    g = Gather(row, column, *steps[:2], *by, origin, limit, tuple(steps[2:]))
    side = Side(g, ((x, y), (y, None)))
    planes = planes_of(GPU, side)
    digits = by_digit(planes, x)

    places = np.array([[place(g, i, k) for k in range(side.depth)] for i in range(side.rows)])
    begin = -(-side.depth // 16) * 16
    for first, term in (0, x + y), (begin, y):
        expected = np.where(places < 0, 0, term.ravel()[places]).astype(dtype)
        assert np.array_equal(digits[..., first : first + side.depth], digits_of(expected))


@pytest.mark.parametrize("dtype", RING)
@few
@given(m=MANY, k=st.integers(1, 100), n=MANY, seed=SEEDS, of_x=LAYOUTS, of_y=LAYOUTS)
def test_matmul_is_exact_for_any_size_and_layout(dtype, m, k, n, seed, of_x, of_y):
    words = Words(seed, dtype)
    x, y, out = words(m, k, layout=of_x), words(k, n, layout=of_y), words(m, n)
    expected = out + x @ y
    matmul_add(GPU, out, x, y)
    assert np.array_equal(out, expected)


@pytest.mark.parametrize("dtype", RING)
@few
@given(m=MANY, k=st.integers(1, 70), n=MANY, seed=SEEDS, layouts=st.tuples(*[LAYOUTS] * 4))
def test_the_cross_term_is_exact_however_its_parts_lie(dtype, m, k, n, seed, layouts):
    words = Words(seed, dtype)
    x0, x1 = (words(m, k, layout=layout) for layout in layouts[:2])
    y0, y1 = (words(k, n, layout=layout) for layout in layouts[2:])
    out = words(m, n)
    expected = crossed(np.matmul, out, x0, x1, y0, y1)
    matmul_cross(GPU, out, x0, x1, y0, y1)
    assert np.array_equal(out, expected)


BATCHES = [
    ((3,), (3,)),
    ((2, 3), (1, 1)),
    ((1, 1), (2, 3)),
    ((2, 3), (1, 3)),
    ((2, 1), (1, 3)),
    ((0,), (0,)),
    ((1,), (1,)),
]


@pytest.mark.parametrize("batches", BATCHES)
@pytest.mark.parametrize("layout", ["plain", "transposed", "strided"])
@pytest.mark.parametrize("m, k, n", [(5, 20, 7), (1, 40, 1)])
def test_batches_broadcast(batches, layout, m, k, n):
    words, batch = Words(2), np.broadcast_shapes(*batches)
    x0, x1 = (np.broadcast_to(words(*batches[0], m, k, layout=layout), (*batch, m, k)),) * 2
    y0, y1 = (
        np.broadcast_to(words(*batches[1], k, n, layout=of), (*batch, k, n))
        for of in (layout, "plain")
    )
    out = words(*batch, m, n)
    expected = out + x0 @ y1
    matmul_add(GPU, out, x0, y1)
    assert np.array_equal(out, expected)

    expected = crossed(np.matmul, out, x0, x1, y0, y1)
    matmul_cross(GPU, out, x0, x1, y0, y1)
    assert np.array_equal(out, expected)


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0)])
def test_an_empty_product_leaves_the_result_alone(shape):
    m, k, n = shape
    words = Words(3)
    out = words(m, n)
    before = out.copy()
    matmul_add(GPU, out, words(m, k), words(k, n))
    assert np.array_equal(out, before)


@pytest.mark.parametrize("dtype", RING)
@pytest.mark.parametrize("shared_bytes", [64 << 10, 99 << 10])
def test_every_number_of_stages_gives_the_same(dtype, shared_bytes):
    words, gpu = Words(4, dtype), replace(GPU, shared_bytes=shared_bytes)
    for k in (1, 33, 65, 97, 160, 555):
        x, y, out = words(70, k), words(k, 9), words(70, 9)
        expected = out + x @ y
        matmul_add(gpu, out, x, y)
        assert np.array_equal(out, expected)


@pytest.mark.parametrize("dtype", RING)
def test_the_older_form_of_turing_gives_the_same(dtype):
    words, gpu = Words(8, dtype), replace(GPU, launch=partial(emulate, kind=("TURING",)))
    x, y, out = words(70, 99), words(99, 41), words(70, 41)
    expected = out + x @ y
    matmul_add(gpu, out, x, y)
    assert np.array_equal(out, expected)


@pytest.mark.parametrize("dtype", RING)
@pytest.mark.parametrize("cores", [3, 100])
def test_blocks_that_share_a_depth_add_up(dtype, cores):
    words = Words(5, dtype)
    x, y, out = words(2, 3, 1700), words(2, 1700, 4), words(2, 3, 4)
    expected = out + x @ y
    matmul_add(replace(GPU, cores=cores), out, x, y)
    assert np.array_equal(out, expected)


@pytest.mark.parametrize("k", [32736, 32768])
def test_sums_of_the_largest_digits_do_not_overflow(k):
    # From a depth of 32,768 on, class 3 has a sum of 2^31.
    x, out = largest_digits(1, k), Words(6)(1, 1)
    expected = out + x @ x.T
    matmul_add(ALONE, out, x, x.T)
    assert np.array_equal(out, expected)


@pytest.mark.parametrize("dtype", RING)
def test_large_sides_are_cut_into_runs(dtype, monkeypatch):
    monkeypatch.setattr(products, "MOST_PLANES", 64 * 64 * 8)
    words = Words(7, dtype)
    x, y, out = words(2, 150, 40), words(2, 40, 70), words(2, 150, 70)
    expected = out + x @ y
    matmul_add(GPU, out, x, y)
    assert np.array_equal(out, expected)


def test_results_land_where_the_target_says():
    # out[c, i, b, j] += (a_c @ b_c^T)[3 i + b, j], with two products that go to the same place.
    words = Words(8)
    a, b = words(3, 12, 20), words(20, 5)
    out = words(2, 4, 5, 7)
    expected = out.copy()
    for c, to in enumerate([0, 1, 1]):
        expected[to, :, 1:4, :5] += (a[c] @ b).reshape(4, 3, 5)
    target = Target(3, 35, 7, 1, tuple(7 + 140 * to for to in [0, 1, 1]))
    left = Side(matrix(12, 20, 20, 1), ((a, None),), (0, 240, 480))
    right = Side(matrix(5, 20, 1, 5), ((b, None),))
    product(GPU, out, target, left, right)
    assert np.array_equal(out, expected)


def test_planes_that_are_kept_serve_many_products():
    words = Words(9)
    weight = words(10, 30)
    kept = planes_of(GPU, Side(matrix(10, 30, 30, 1), ((weight, None),)))
    for m in (1, 65):
        x, out = words(m, 30), words(m, 10)
        expected = out + x @ weight.T
        left = planes_of(GPU, Side(matrix(m, 30, 30, 1), ((x, None),)))
        add_product(GPU, out, Target(m, 0, 10, 1), left, kept)
        assert np.array_equal(out, expected)


def test_sides_that_do_not_fit_are_refused():
    words = Words(10)
    out, x, y = words(2, 2), words(2, 40), words(2, 4)
    a, b = Side(matrix(2, 40, 40, 1), ((x, None),)), Side(matrix(2, 4, 4, 1), ((y, None),))
    with pytest.raises(ValueError, match="no product"):
        product(GPU, out, Target(2, 0, 2, 1), a, b)
    with pytest.raises(ValueError, match="no product"):
        add_product(GPU, out, Target(2, 0, 2, 1), planes_of(GPU, a), planes_of(GPU, b))
    with pytest.raises(ValueError, match="a batch of 3"):
        product(GPU, out, Target(2, 0, 2, 1, (0, 4, 8)), Side(a.gather, a.terms, (0, 0)), a)
