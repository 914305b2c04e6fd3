"""Products of int64 on a GPU, exact for every size.

A GPU multiplies reals of 53 bits, so CrypTen cuts words into 3 or 4 limbs, multiplies those as
float64 and adds up. A sum of K products of b-bit limbs needs 2b + log2 K bits. CrypTen chooses b by
the size of the window alone, so a convolution over many channels comes out wrong: a 3x3 one by 22
bits is sure only up to 56 channels. Here the limbs are as narrow as K asks for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from mpc.errors import NotOffered
from protocols.interop.crypten.importing import crypten

_WORD, _EXACT = 64, 53


def limbs(terms: int) -> tuple[int, int]:
    """How many limbs, and of how many bits, so that sums of `terms` products are exact."""
    for count in range(3, _WORD):
        bits = math.ceil(_WORD / count)
        if 2 * bits + math.ceil(math.log2(max(terms, 1))) <= _EXACT:
            return count, bits
    raise ValueError(f"sums of {terms} products do not fit a float64")


def product(op: str, x: torch.Tensor, y: torch.Tensor, terms: int, **settings: Any) -> torch.Tensor:
    """`torch.<op>(x, y, **settings)` modulo 2^64 for tensors of int64 on any device.

    Args:
        op: a map of torch's, linear in x and in y.
        x: first operand.
        y: second operand.
        terms: products in the longest sum.
        settings: of the map.

    Cost: c (c + 1) / 2 of torch's products of reals for c limbs.
    """
    count, bits = limbs(terms)
    of_x, of_y = _cut(x, count, bits), _cut(y, count, bits)
    total: torch.Tensor | None = None
    for i in range(count):
        for j in range(count - i):  # further limbs are past bit 64
            if bits * (i + j) >= _WORD:
                continue
            part = getattr(torch, op)(of_x[i], of_y[j], **settings).long() << (bits * (i + j))
            total = part if total is None else total.add_(part)
    assert total is not None  # there are at least three limbs
    return total


def terms(op: str, x: torch.Size, y: torch.Size, groups: int = 1) -> int:
    """Products in the longest sum of an element of the result."""
    if op == "matmul":
        return x[-1] if x else 1
    if op.startswith("conv_transpose"):
        return y[0] // groups * math.prod(y[2:])
    return math.prod(y[1:])


def exact(op: str) -> Callable[..., Any]:
    """What `CUDALongTensor` does for `torch.<op>`, in place of CrypTen's."""

    def product_of(x: Any, y: Any, *more: Any, **settings: Any) -> Any:
        if more or settings.get("bias") is not None:
            raise NotOffered(f"{op} of CUDALongTensor takes its settings by name, and no bias")
        settings = {key: value for key, value in settings.items() if key != "bias"}
        count = terms(op, x.shape, y.shape, settings.get("groups", 1))
        return crypten.cuda.CUDALongTensor(product(op, _plain(x), _plain(y), count, **settings))

    return product_of


def _plain(x: Any) -> torch.Tensor:
    """The tensor that a `CUDALongTensor` wraps."""
    made: torch.Tensor = x.tensor() if hasattr(x, "tensor") else x
    return made


def _cut(x: torch.Tensor, count: int, bits: int) -> list[torch.Tensor]:
    mask = (1 << bits) - 1
    return [((x >> (bits * i)) & mask).double() for i in range(count)]
