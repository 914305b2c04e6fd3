"""torch's products of int64 tensors, carried out by our kernels: the same numbers, sooner.

torch multiplies integers one by one where it would call a tuned library for reals. Here the kernels
of `kernels.gemm` and `kernels.conv` do it, modulo 2^64, which is what int64 does in torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch

from kernels.bilinear import Bilinear
from kernels.conv import Geometry, conv, conv_input_grad
from kernels.gemm import matmul
from kernels.ring import multiply
from mpc.ring import Array, Shape
from protocols.interop.crypten.views import in_ring, tensor, words

PRODUCTS = ("matmul", "conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d")
View = Callable[[Array], Array]


@dataclass(frozen=True)
class Plan:
    """A product of torch's as a map of ours, and how operands and result are seen for it."""

    map: Bilinear
    x: View
    y: View
    result: View

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The product of two tensors of int64 on the CPU, as a new tensor."""
        return tensor(self.result(self.map(self.x(words(x)), self.y(words(y)))))


def plan(op: str, x: Shape, y: Shape, **settings: Any) -> Plan | None:
    """How `torch.<op>(x, y, **settings)` is done; None where it is better left to torch.

    Args:
        op: mul, matmul, conv1d, conv2d, conv_transpose1d or conv_transpose2d.
        x: shape of the first operand.
        y: shape of the second.
        settings: stride, padding, dilation, groups, output_padding, as torch has them.
    """
    if op == "mul":
        return None if settings else Plan(multiply, _same, _same, _same)
    if op == "matmul":
        return None if settings or not x or not y else _matmul(len(x) == 1, len(y) == 1)
    if settings.pop("bias", None) is not None:
        return None
    rank = int(op[-2])
    frozen = {
        key: (value,) * rank
        if isinstance(value, int)
        else tuple(value)
        if len(value) > 1
        else tuple(value) * rank
        for key, value in settings.items()
        if key != "groups" and not isinstance(value, str)
    }
    if len(frozen) < len(settings) - ("groups" in settings) or len(y) != rank + 2:
        return None  # padding="same", which CrypTen never asks for
    groups = int(settings.get("groups", 1))
    known = {"stride", "padding", "dilation", "output_padding", "groups"}
    if not settings.keys() <= known or len(x) not in (rank + 1, rank + 2):
        return None
    if op.startswith("conv_transpose"):
        return _transposed(x, y, groups, **frozen)
    geometry = _geometry(rank, groups, **frozen)
    return _batched(conv(geometry), single=len(x) == rank + 1)


def _same(a: Array) -> Array:
    return a


@cache
def _matmul(x_is_row: bool, y_is_column: bool) -> Plan:
    def result(z: Array) -> Array:
        z = z[..., 0] if y_is_column else z
        if x_is_row:
            z = z[..., 0] if y_is_column else z[..., 0, :]
        return z

    return Plan(
        matmul,
        (lambda a: a[None]) if x_is_row else _same,
        (lambda a: a[:, None]) if y_is_column else _same,
        result,
    )


def _batched(f: Bilinear, *, single: bool) -> Plan:
    if single:
        return Plan(f, lambda a: a[None], _same, lambda z: z[0])
    return Plan(f, _same, _same, _same)


def _geometry(
    rank: int,
    groups: int,
    stride: Shape | None = None,
    padding: Shape | None = None,
    dilation: Shape | None = None,
) -> Geometry:
    ones, zeros = (1,) * rank, (0,) * rank
    return Geometry(stride or ones, padding or zeros, dilation or ones, groups)


def _transposed(
    x: Shape, y: Shape, groups: int, output_padding: Shape | None = None, **frozen: Shape
) -> Plan | None:
    rank = len(y) - 2
    geometry = _geometry(rank, groups, **frozen)
    places, more = x[len(x) - rank :], output_padding or (0,) * rank
    spatial = tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + o + 1
        for n, s, p, d, k, o in zip(
            places, geometry.stride, geometry.padding, geometry.dilation, y[2:], more, strict=True
        )
    )
    if any(o >= s for o, s in zip(more, geometry.stride, strict=True)) or min(spatial) < 1:
        return None  # the rows added are more than a stride: no convolution has this gradient
    return _batched(conv_input_grad(geometry, spatial), single=len(x) == rank + 1)


class RingTorch:
    """Stands where CrypTen's modules say `torch`; products of shares go to our kernels.

    Everything else, and every operand that is not a tensor of int64 in this machine's memory, is
    torch's own.
    """

    def __getattr__(self, name: str) -> Any:
        """What torch calls by this name, or the same product of ours."""
        return partial(_product, name) if name in PRODUCTS else getattr(torch, name)


def _product(op: str, x: Any, y: Any, *more: Any, **settings: Any) -> Any:
    ours = in_ring(x, y) and not more
    chosen = plan(op, tuple(x.shape), tuple(y.shape), **settings) if ours else None
    if chosen is not None and fits(chosen, tuple(x.shape), tuple(y.shape)):
        return chosen(x, y)
    # Where shapes do not fit, torch says so in its own way.
    return getattr(torch, op)(x, y, *more, **settings)


def fits(chosen: Plan, x: Shape, y: Shape) -> bool:
    """Whether the shapes go together and the result has any elements."""
    seen = [f(np.broadcast_to(np.uint64(0), s)).shape for f, s in ((chosen.x, x), (chosen.y, y))]
    try:
        return 0 not in (*x, *y, *chosen.map.shape(*seen))
    except ValueError:
        return False
