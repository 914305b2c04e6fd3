"""What counts as an array here, and the checks that come before memory is touched.

The array's type decides where a kernel runs: `numpy.ndarray` on the CPU, and other kinds where
`kernels.machines` was told of them.
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
KINDS: list[type] = [np.ndarray]  # of arrays that kernels take; see kernels.machines.make_known


def require(*arrays: Array, dtypes: tuple[np.dtype[Any], ...] = (WORD,)) -> None:
    """Raise TypeError unless all are arrays of one kind and dtype, which is among `dtypes`.

    Raises ValueError where they lie on different devices.
    """
    for a in arrays:
        if type(a) not in KINDS:
            names = ", ".join(f"{kind.__module__}.{kind.__name__}" for kind in KINDS)
            raise TypeError(f"kernels take {names}, not {type(a).__name__}")
        if a.dtype not in dtypes or a.dtype != arrays[0].dtype:
            raise TypeError(
                f"kernel operands must share one dtype among {', '.join(map(str, dtypes))}, "
                f"not {', '.join(str(getattr(b, 'dtype', type(b).__name__)) for b in arrays)}"
            )

    require_one_memory(*arrays)


def require_one_memory(*arrays: Array) -> None:
    """Raise TypeError unless all are arrays of one kind, ValueError unless on one device."""
    for a in arrays[1:]:
        if type(a) is not type(arrays[0]):
            raise TypeError(
                f"kernel operands must lie in one memory: {type(arrays[0]).__module__} and "
                f"{type(a).__module__} arrays were given"
            )
        if a.device != arrays[0].device:
            raise ValueError(
                f"kernel operands must lie on one device, not {arrays[0].device} and {a.device}"
            )


def require_shape(what: str, a: Array, shape: Shape) -> None:
    """Raise ValueError unless `a` has this shape."""
    if a.shape != shape:
        raise ValueError(f"{what} has shape {a.shape}, expected {shape}")


def may_be_written(a: Array) -> bool:
    """Whether an array is not read-only. CuPy has no such arrays, and no such flag."""
    return getattr(a.flags, "writeable", True)


def require_target(out: Array) -> None:
    """Raise ValueError unless `out` can be written in place: C-contiguous and not read-only."""
    if not (out.flags.c_contiguous and may_be_written(out)):
        raise ValueError("the array written to must be C-contiguous and writeable")
