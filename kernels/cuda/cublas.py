"""Products of signed bytes by cuBLAS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.cuda.launch import Gemm

CUDA_R_8I, CUDA_R_32I = 3, 10  # of library_types.h


def cublas_gemm(handle: Callable[[], int], cublas: Any) -> Gemm:
    """A product on the current card and stream.

    cuBLAS reads by columns, so it is told of out^T = b a^T: rows of `b` and `a` are its columns,
    and `b` is to be transposed, which is the one form that it has for bytes on the matrix units.

    Args:
        handle: of cuBLAS on the current card.
        cublas: CuPy's module.
    """
    one, zero = np.ones(1, np.int32), np.zeros(1, np.int32)

    def gemm(out: Any, a: Any, b: Any) -> None:
        (m, k), n = a.shape, b.shape[0]
        of_b = (b.data.ptr, CUDA_R_8I, b.strides[0])
        of_a = (a.data.ptr, CUDA_R_8I, a.strides[0])
        cublas.gemmEx(
            handle(),
            cublas.CUBLAS_OP_T,
            cublas.CUBLAS_OP_N,
            n,
            m,
            k,
            one.ctypes.data,
            *of_b,
            *of_a,
            zero.ctypes.data,
            out.data.ptr,
            CUDA_R_32I,
            n,
            cublas.CUBLAS_COMPUTE_32I,
            cublas.CUBLAS_GEMM_DEFAULT,
        )

    return gemm
