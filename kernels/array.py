"""What counts as an array here, and the checks that come before memory is touched.

The array's type decides where a kernel runs. Today that is `numpy.ndarray`, on the CPU; a second
kind of array is one more branch in `require`.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Shape: TypeAlias = tuple[int, ...]

RING_DTYPES = (np.dtype(np.uint64), np.dtype(np.uint32))
UNSIGNED_DTYPES = tuple(np.dtype(t) for t in (np.uint8, np.uint16, np.uint32, np.uint64))
WORD = np.dtype(np.uint64)


def require(*arrays: Array, dtypes: tuple[np.dtype[Any], ...] = (WORD,)) -> None:
    """Raise TypeError unless all are NumPy arrays of one dtype, which is among `dtypes`."""
    for a in arrays:
        if type(a) is not np.ndarray:
            raise TypeError(f"kernels take numpy.ndarray, not {type(a).__name__}")
        if a.dtype not in dtypes or a.dtype != arrays[0].dtype:
            raise TypeError(
                f"kernel operands must share one dtype among {', '.join(map(str, dtypes))}, "
                f"not {', '.join(str(getattr(b, 'dtype', type(b).__name__)) for b in arrays)}"
            )


def require_shape(what: str, a: Array, shape: Shape) -> None:
    """Raise ValueError unless `a` has this shape."""
    if a.shape != shape:
        raise ValueError(f"{what} has shape {a.shape}, expected {shape}")


def require_target(out: Array) -> None:
    """Raise ValueError unless `out` can be written in place: C-contiguous and not read-only."""
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise ValueError("the array written to must be C-contiguous and writeable")
