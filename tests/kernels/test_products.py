"""Element-wise and matrix products against their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

from kernels import reference
from kernels.bilinear import Bilinear
from kernels.gemm import matmul
from kernels.ring import multiply
from tests.kernels.drawing import LAYOUTS, RING, SEEDS, Words, crossed, some

SIZES = st.one_of(st.integers(0, 40), st.sampled_from([63, 64, 65, 255, 257, 300]))
PAIRS = mutually_broadcastable_shapes(num_shapes=2, max_dims=4, min_side=0, max_side=20)


@pytest.mark.parametrize("dtype", RING)
@some
@given(shapes=PAIRS, seed=SEEDS, layout=LAYOUTS)
def test_multiply_broadcasts_as_numpy_does(machine, dtype, shapes, seed, layout):
    words = Words(seed, dtype)
    (a, b), z = shapes.input_shapes, shapes.result_shape
    x0, x1 = words(*a, layout=layout), words(*a)
    y0, y1 = words(*b), words(*b, layout=layout)
    assert np.array_equal(multiply(x0, y0), reference.multiply(x0, y0))

    out = words(*z)
    expected = crossed(reference.multiply, out, x0, x1, y0, y1)
    multiply.cross_to(out, x0, x1, y0, y1)
    assert np.array_equal(out, expected)


@pytest.mark.parametrize("dtype", RING)
@some
@given(m=SIZES, k=SIZES, n=SIZES, seed=SEEDS, x_layout=LAYOUTS, y_layout=LAYOUTS)
def test_matmul_is_exact_for_any_size_and_layout(machine, dtype, m, k, n, seed, x_layout, y_layout):
    words = Words(seed, dtype)
    x0, x1 = words(m, k, layout=x_layout), words(m, k, layout=x_layout)
    y0, y1 = words(k, n, layout=y_layout), words(k, n, layout=x_layout)
    assert np.array_equal(matmul(x0, y0), reference.matmul(x0, y0))

    out = words(m, n)
    expected = crossed(reference.matmul, out, x0, x1, y0, y1)
    matmul.cross_to(out, x0, x1, y0, y1)
    assert np.array_equal(out, expected)


@some
@given(
    batch=mutually_broadcastable_shapes(num_shapes=2, max_dims=2, min_side=0, max_side=4),
    m=st.integers(0, 12),
    k=st.integers(0, 12),
    n=st.integers(0, 30),
    seed=SEEDS,
)
def test_batches_of_matrices_broadcast_as_numpy_does(machine, batch, m, k, n, seed):
    words = Words(seed)
    a, b = batch.input_shapes
    x, y = words(*a, m, k), words(*b, k, n)
    assert np.array_equal(matmul(x, y), x @ y)
    out = words(*batch.result_shape, m, n)
    expected = crossed(np.matmul, out, x, x + x, y, y * y)
    matmul.cross_to(out, x, x + x, y, y * y)
    assert np.array_equal(out, expected)


@pytest.mark.parametrize("shape", [(700, 300, 90), (1, 5000, 1), (3, 1000, 700), (900, 9, 1)])
def test_matmul_is_exact_where_several_blocks_and_threads_meet(machine, shape):
    m, k, n = shape
    words = Words(1)
    x, y, weight = words(m, k), words(k, n), words(n, k)
    assert np.array_equal(matmul(x, y), x @ y)
    assert np.array_equal(matmul(x, weight.T), x @ weight.T)  # read where it lies if x is thin


def test_a_map_without_a_fused_cross_term_gets_one_in_two_steps():
    def add_to(out, x, y):
        out += x * y

    words = Words(2)
    plain = Bilinear("plain", lambda x, y: np.broadcast_shapes(x, y), add_to)
    x0, x1, y0, y1, out = (words(5, 7) for _ in range(5))
    expected = crossed(reference.multiply, out, x0, x1, y0, y1)
    plain.cross_to(out, x0, x1, y0, y1)
    assert np.array_equal(out, expected)


def test_maps_are_equal_when_their_names_are():
    assert matmul == Bilinear("matmul", matmul.shape, matmul.add_to)
    assert len({matmul, multiply, Bilinear("matmul", matmul.shape, matmul.add_to)}) == 2


@pytest.mark.parametrize(
    "f, x, y",
    [
        (multiply, (3,), (4,)),
        (matmul, (3,), (3, 2)),
        (matmul, (2, 3), (4, 2)),
        (matmul, (2, 5, 3), (3, 3, 2)),
    ],
)
def test_shapes_that_do_not_fit_raise(f, x, y):
    words = Words(0)
    with pytest.raises(ValueError, match=f.name):
        f(words(*x), words(*y))


def test_only_ring_arrays_of_one_dtype_are_taken():
    x = Words(0)(3, 3)
    for other in (x.astype(np.int64), x.astype(np.uint32), x.astype(float)):
        with pytest.raises(TypeError, match="share one dtype"):
            matmul(x, other)
    with pytest.raises(TypeError, match=r"take numpy\.ndarray.*, not list"):
        matmul(x, x.tolist())


@pytest.mark.parametrize("f", [multiply, matmul])
def test_a_target_that_cannot_be_written_in_place_raises(f):
    words = Words(0)
    x = words(4, 4)
    with pytest.raises(ValueError, match="expected"):
        f.add_to(words(4, 5), x, x)
    with pytest.raises(ValueError, match="C-contiguous"):
        f.add_to(words(4, 4).T, x, x)
    frozen = words(4, 4)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="writeable"):
        f.add_to(frozen, x, x)
