"""The same memory as a torch tensor and as an array."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mpc.ring import WORD, Array


def words(tensor: torch.Tensor) -> Array:
    """A tensor of int64 on the CPU as uint64 words, without a copy; strides are kept."""
    return tensor.detach().numpy().view(WORD)


def tensor(array: Array) -> torch.Tensor:
    """Words as a tensor of int64, without a copy of what can be written."""
    return torch.from_numpy(np.require(array, requirements="W").view(np.int64))


def in_ring(*tensors: object) -> bool:
    """Whether all are plain tensors of int64 in this machine's memory."""
    return all(
        type(t) is torch.Tensor
        and t.dtype == torch.int64
        and t.device.type == "cpu"
        and t.layout == torch.strided
        for t in tensors
    )


def array_of(tensor: Any) -> Array:
    """A tensor of CrypTen's as an array; on the CPU without a copy, if it has no gaps."""
    plain: torch.Tensor = tensor.data
    return plain.cpu().contiguous().numpy()


def like(tensor: Any, array: Array) -> Any:
    """An array as a tensor on the device of another, wrapped as that is; on the CPU no copy."""
    if not tensor.data.is_cuda:
        return torch.from_numpy(array)
    made = tensor.clone()
    made.data.copy_(torch.from_numpy(array))
    return made


def arrays_of(tensors: Any) -> list[Array]:
    """As `array_of`, for each of several."""
    return [array_of(tensor) for tensor in tensors]
