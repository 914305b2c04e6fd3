"""Products by a library's products of bytes: exact, and asked of cuBLAS as cuBLAS reads it."""

import ctypes
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import reference
from kernels.conv import Geometry
from kernels.cuda import card, classes, convolutions
from kernels.cuda.classes import MOST_TERMS
from kernels.cuda.cublas import cublas_gemm
from kernels.cuda.digits import FALLING, planes_of
from kernels.cuda.operand import Side, Target, matrix
from kernels.cuda.products import matmul_add, matmul_cross
from tests.kernels.drawing import LAYOUTS, RING, SEEDS, Words, crossed
from tests.kernels.emulator import GPU

SIZES = st.integers(1, 40)
few = settings(deadline=None, max_examples=10)


def gemm(out, a, b):
    """NumPy's, in numbers too long to wrap; what comes out must fit."""
    assert a.dtype == b.dtype == np.int8 and out.dtype == np.int32
    assert a.shape[1] == b.shape[1] and a.shape[1] % 32 == 0
    assert all(n % 16 == 0 for x in (a, b) for n in (len(x), x.strides[0], x.ctypes.data))
    exact = a.astype(np.int64) @ b.T.astype(np.int64)
    # Rows that are too many have whatever was there, and are not looked at; others must fit.
    assert out.shape == exact.shape
    out[...] = exact.astype(np.int32)
    FURTHEST.append(int(np.abs(exact[0, 0])))


FURTHEST: list[int] = []
LIBRARY = replace(GPU, gemm=gemm)


@pytest.fixture(autouse=True)
def by_classes(monkeypatch):
    """However small: a product that may go to a library does."""
    for name in ("LEAST_ROWS", "LEAST_STEPS", "LEAST_PRODUCTS"):
        monkeypatch.setattr(classes, name, 0)
    monkeypatch.setattr("kernels.cuda.words.suits", lambda *_: False)
    FURTHEST.clear()


@pytest.mark.parametrize("dtype", RING)
@few
@given(m=SIZES, k=st.integers(1, 70), n=SIZES, seed=SEEDS, of_x=LAYOUTS, of_y=LAYOUTS)
def test_products_of_any_shape_are_exact(dtype, m, k, n, seed, of_x, of_y):
    words = Words(seed, dtype)
    x, y, out = words(m, k, layout=of_x), words(k, n, layout=of_y), words(m, n)
    expected = out + x @ y
    matmul_add(LIBRARY, out, x, y)
    assert np.array_equal(out, expected) and FURTHEST
    terms = x, words(m, k), y, words(k, n)
    expected = crossed(np.matmul, out, *terms)
    matmul_cross(LIBRARY, out, *terms)
    assert np.array_equal(out, expected)


@pytest.mark.parametrize("digit", [-128, 127])
@pytest.mark.parametrize("dtype", RING)
def test_the_deepest_product_of_the_largest_digits_is_exact(dtype, digit):
    size = np.dtype(dtype).itemsize
    k = MOST_TERMS // size // 32 * 32
    word = sum(digit * 256**i for i in range(size)) % 2 ** (8 * size)
    x, y, out = np.full((1, k), word, dtype), np.full((k, 2), word, dtype), np.zeros((1, 2), dtype)
    matmul_add(LIBRARY, out, x, y)
    assert np.array_equal(out, np.full((1, 2), k * word * word % 2 ** (8 * size), dtype))
    assert max(FURTHEST) == size * k * digit**2 < 2**31


@pytest.mark.parametrize("dtype", RING)
def test_what_might_not_fit_32_bits_is_made_otherwise(dtype):
    k = MOST_TERMS // np.dtype(dtype).itemsize + 1
    words = Words(2, dtype)
    x, y, out = words(1, k), words(k, 1), words(1, 1)
    expected = out + x @ y
    matmul_add(LIBRARY, out, x, y)
    assert np.array_equal(out, expected) and not FURTHEST
    assert MOST_TERMS * 128**2 < 2**31 <= (MOST_TERMS + 1) * 128**2


@pytest.mark.parametrize("most_sums", [1, 40_000])
@pytest.mark.parametrize("turned", [False, True])
def test_sums_are_made_in_runs_and_land_where_the_target_says(turned, most_sums, monkeypatch):
    monkeypatch.setattr(classes, "MOST_SUMS", most_sums)
    # out[i, 1 + b, j] += (a @ b^T)[3 i + b, j], and the same with rows and columns exchanged.
    words = Words(8)
    a, b, out = words(120, 20), words(50, 20), words(40, 5, 57)
    expected = out.copy()
    expected[:, 1:4, :50] += (a @ b.T).reshape(40, 3, 50)
    target = Target(3, 5 * 57, 57, 1, (57,))
    if turned:
        out, expected = (np.ascontiguousarray(x.transpose(2, 0, 1)) for x in (out, expected))
        target = Target(3, 5, 1, 200, (1,))
    left, right = (Side(matrix(len(x), 20, 20, 1), ((x, None),)) for x in (a, b))
    ranges = [(range(70), range(50)), (range(70, 120), range(13)), (range(70, 120), range(13, 50))]
    for rows, columns in ranges:
        planes = planes_of(GPU, left, rows), planes_of(GPU, right, columns, order=FALLING)
        classes.add_product(LIBRARY, out, target, *planes)
    assert np.array_equal(out, expected) and FURTHEST


@pytest.mark.parametrize("kind", range(3))
def test_convolutions_go_to_the_library_too(kind):
    words, geometry = Words(4), Geometry((2, 1), (1, 1), (1, 1))
    x, w = words(3, 6, 9, 8), words(17, 6, 3, 3)
    grad = words(3, 17, *geometry.reach((9, 8), (3, 3)))
    args, definition = (
        ((x, w), lambda: reference.conv(geometry, x, w)),
        ((grad, w), lambda: reference.conv_input_grad(geometry, (9, 8), grad, w)),
        ((x, grad), lambda: reference.conv_weight_grad(geometry, (3, 3), x, grad)),
    )[kind]
    out = words(*definition().shape)
    expected = out + definition()
    walk = geometry.stride, geometry.padding, geometry.dilation, 1
    convolutions.conv_add(LIBRARY, kind, *walk, out, *args)
    assert np.array_equal(out, expected) and FURTHEST


def test_digits_the_wrong_way_round_are_refused():
    side = Side(matrix(2, 4, 4, 1), ((Words(1)(2, 4), None),))
    rising, target = planes_of(GPU, side), Target(2, 0, 2, 1)
    with pytest.raises(ValueError, match="no product"):
        classes.add_product(LIBRARY, Words(1)(2, 2), target, rising, rising)


class Cublas:
    """`gemmEx` as NVIDIA's manual has it: matrices by columns, and multiples of 4 of bytes."""

    CUBLAS_OP_N, CUBLAS_OP_T, CUBLAS_COMPUTE_32I, CUBLAS_GEMM_DEFAULT = 0, 1, 72, -1

    def gemmEx(  # noqa: N802
        self,
        handle,
        ta,
        tb,
        m,
        n,
        k,
        alpha,
        a,
        at,
        lda,
        b,
        bt,
        ldb,
        beta,
        c,
        ct,
        ldc,
        compute,
        algo,
    ):
        assert (handle, at, bt, ct, compute, algo) == (7, 3, 3, 10, 72, -1)
        assert (ta, tb) == (1, 0) and k % 4 == m % 4 == lda % 4 == ldb % 4 == 0
        assert a % 4 == b % 4 == 0 and lda >= k and ldb >= k and ldc >= m
        left = self._columns(ctypes.c_int8, a, k, lda, m)
        right = self._columns(ctypes.c_int8, b, k, ldb, n)
        out = self._columns(ctypes.c_int32, c, m, ldc, n)
        scale, keep = (ctypes.cast(p, ctypes.POINTER(ctypes.c_int32))[0] for p in (alpha, beta))
        assert (scale, keep) == (1, 0)
        out[...] = left.T.astype(np.int32) @ right.astype(np.int32)

    @staticmethod
    def _columns(kind, at, rows, step, columns):
        length = step * (columns - 1) + rows
        flat = np.ctypeslib.as_array(ctypes.cast(at, ctypes.POINTER(kind)), (length,))
        strides = (flat.itemsize, step * flat.itemsize)
        return np.lib.stride_tricks.as_strided(flat, (rows, columns), strides)


def on_card(a):
    at = SimpleNamespace(ptr=a.ctypes.data)
    return SimpleNamespace(shape=a.shape, strides=a.strides, data=at)


def test_cublas_is_asked_for_the_product_of_rows():
    asked = cublas_gemm(lambda: 7, Cublas())
    draw = np.random.default_rng(0)
    for m, n, k, first in ((16, 32, 64, 0), (48, 16, 32, 32), (16, 16, 96, 0)):
        a, b = (draw.integers(-128, 128, (rows, 96), np.int8) for rows in (m, n))
        a, b, out = a[:, :k], b[:, first : first + k], np.empty((m, n), np.int32)
        asked(*map(on_card, (out, a, b)))
        assert np.array_equal(out, a.astype(np.int32) @ b.T.astype(np.int32))


def test_without_cublas_our_own_kernels_do_it(monkeypatch):
    libraries = pytest.importorskip("cupy_backends.cuda.libs")
    if "cublas" in vars(libraries):  # imported before; looking for it otherwise would import it
        monkeypatch.delattr(libraries, "cublas")
    monkeypatch.setitem(sys.modules, "cupy_backends.cuda.libs.cublas", None)  # no such import
    assert card._gemm() is None
    x, out = Words(1)(40, 40), Words(2)(40, 40)
    expected = out + x @ x
    matmul_add(GPU, out, x, x)
    assert GPU.gemm is None and np.array_equal(out, expected) and not FURTHEST
