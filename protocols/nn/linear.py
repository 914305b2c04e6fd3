"""Matrix products and convolutions, and the gradients of convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.bilinear import Bilinear
from kernels.conv import Geometry, conv, conv_input_grad, conv_weight_grad
from kernels.gemm import matmul
from kernels.machines import as_array
from mpc.errors import NotOffered, UsageError
from mpc.ring import Shape
from protocols.functions import sqrt
from protocols.nn.pointwise import Number, scaled
from protocols.nn.reduction import axes_of
from protocols.nn.shape import move
from protocols.nn.tensor import implements
from protocols.secret import FRACTION, SecretArray, pending_product


def apply(f: Bilinear, x: Number, y: Number, channels: int | None = None) -> Number:
    """f(x, y), where either may be public. A gradient's additional bits end here.

    Of two secrets at the ordinary scale it is pending: what is added comes before the truncation,
    and a ReLU shares its opening. See `pending_product` for `channels`.
    """
    if not isinstance(x, SecretArray):
        x, y, f = y, x, _swapped(f)
    if not isinstance(x, SecretArray):
        raise UsageError(f"{f.name} of two public arrays reached the secret operators")
    finest = max(x.fraction, y.fraction) if isinstance(y, SecretArray) else x.fraction
    if isinstance(y, SecretArray) and finest == FRACTION:
        return pending_product(f, x, y, channels=channels)
    return x.bilinear(f, y, fraction=FRACTION if finest > FRACTION else None)


def _swapped(f: Bilinear) -> Bilinear:
    return Bilinear(
        name=f"{f.name}, arguments swapped",
        shape=lambda x, y: f.shape(y, x),
        add_to=lambda out, x, y: f.add_to(out, y, x),
    )


@implements("mm", "bmm")
def product(x: Number, y: Number) -> Number:
    """Matrix product."""
    return apply(matmul, x, y)


@implements("addmm", "baddbmm")
def add_product(bias: Number, x: Number, y: Number, beta: float = 1, alpha: float = 1) -> Number:
    """beta·bias + alpha·x@y."""
    return scaled(bias, beta) + scaled(product(x, y), alpha)


@implements("mv")
def matrix_vector(x: Number, y: Number) -> Number:
    """Matrix times vector."""
    column = move(lambda v: v[:, None], y)
    return move(lambda v: v[:, 0], product(x, column))


@implements("dot")
def dot(x: Number, y: Number) -> Number:
    """Inner product."""
    row, column = move(lambda v: v[None], x), move(lambda v: v[:, None], y)
    return move(lambda v: as_array(v[0, 0]), product(row, column))


@implements("linalg_vector_norm")
def norm(x: Any, ord: float = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """Euclidean norm over axes, as gradient clipping asks for. Its square must stay below 2^30."""
    if ord != 2:
        raise NotOffered(f"norm of order {ord}: only the Euclidean norm")
    axes = axes_of(x, dim)
    kept = tuple(n for a, n in enumerate(x.shape) if a not in axes)
    order = (*(a for a in range(x.ndim) if a not in axes), *axes)
    rows = x.transpose(*order).reshape(math.prod(kept), -1) if x.ndim else x.reshape(1, 1)
    root = sqrt(row_products(rows, rows))
    full = tuple(1 if a in axes else n for a, n in enumerate(x.shape))
    return root.reshape(*(full if keepdim else kept))


def row_products(
    x: SecretArray[Any], y: SecretArray[Any], fraction: int = FRACTION
) -> SecretArray[Any]:
    """Inner products of rows, [r, m] and [r, m] to [r, 1]. Cost: one product for each row."""
    r, m = x.shape
    return x.reshape(r, 1, m).bilinear(matmul, y.reshape(r, m, 1), fraction=fraction).reshape(r, 1)


def _lines(out: int, size: int, corners: bool, scale: float | None) -> npt.NDArray[np.float64]:
    """Weights [out, size] of linear interpolation along an axis, as PyTorch places the samples."""
    step = (size - 1) / max(out - 1, 1) if corners else 1 / scale if scale else size / out
    at = np.arange(out) * step if corners else np.maximum((np.arange(out) + 0.5) * step - 0.5, 0)
    low = np.minimum(np.floor(at).astype(int), size - 1)
    weights = np.zeros((out, size))
    np.add.at(weights, (np.arange(out), low), 1 - (at - low))
    np.add.at(weights, (np.arange(out), np.minimum(low + 1, size - 1)), at - low)
    return weights


def _along_axes(x: Number, matrices: Sequence[npt.NDArray[np.float64]]) -> Number:
    """Each of the last axes times a public matrix. Cost: one truncation an axis."""
    rank = len(x.shape)
    for axis, matrix in enumerate(matrices, start=rank - len(matrices)):
        rows = move(lambda v, a=axis: np.moveaxis(v, a, -1), x)
        rows = rows @ matrix.T
        x = move(lambda v, a=axis: np.moveaxis(v, -1, a), rows)
    return x


def _register_upsampling(kind: str, rank: int) -> None:
    @implements(f"upsample_{kind}{rank}d")
    def upsample(x: Number, size: Sequence[int], corners: bool, *scales: float | None) -> Number:
        """Linear interpolation along each axis. Error: one ulp and 2^-16 of the result an axis."""
        given = scales or (None,) * rank
        rows = zip(size, x.shape[2:], given, strict=True)
        return _along_axes(x, [_lines(o, n, corners, s) for o, n, s in rows])

    @implements(f"upsample_{kind}{rank}d_backward")
    def upsample_backward(
        grad: Number,
        size: Sequence[int],
        input_size: Sequence[int],
        corners: bool,
        *scales: float | None,
    ) -> Number:
        """The transposed matrices."""
        given = scales or (None,) * rank
        rows = zip(size, input_size[2:], given, strict=True)
        return _along_axes(grad, [_lines(o, n, corners, s).T for o, n, s in rows])


for _kind, _rank in (("linear", 1), ("bilinear", 2), ("trilinear", 3)):
    _register_upsampling(_kind, _rank)


def _geometry(
    stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int, rank: int
) -> Geometry:
    def full(values: Sequence[int]) -> tuple[int, ...]:
        return tuple(values) * rank if len(values) == 1 else tuple(values)

    return Geometry(full(stride), full(padding), full(dilation), groups)


def _transposed_size(
    size: Shape, kernel: Shape, g: Geometry, output_padding: Sequence[int]
) -> tuple[int, ...]:
    extra = tuple(output_padding) * len(size) if len(output_padding) == 1 else output_padding
    rows = zip(size, kernel, g.stride, g.padding, g.dilation, extra, strict=True)
    return tuple((n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, k, s, p, d, e in rows)


@implements("convolution")
def convolution(
    x: Number,
    weight: Number,
    bias: Number | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Number:
    """Convolution in 1 to 3 dimensions, or its transpose. Cost: one bilinear map and truncation."""
    kernel, size = tuple(weight.shape[2:]), tuple(x.shape[2:])
    g = _geometry(stride, padding, dilation, groups, len(size))
    if transposed:
        f = conv_input_grad(g, _transposed_size(size, kernel, g, output_padding))
    else:
        f = conv(g)
    y = apply(f, x, weight, channels=None if transposed else 0)
    if bias is None:
        return y
    return y + move(lambda v: v.reshape(-1, *(1 for _ in size)), bias)


@implements("convolution_backward")
def convolution_backward(
    grad: Number,
    x: Number,
    weight: Number,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    wanted: Sequence[bool],
) -> tuple[Number | None, Number | None, Number | None]:
    """Gradients for input, weight and bias, those that are wanted."""
    kernel, size = tuple(weight.shape[2:]), tuple(x.shape[2:])
    g = _geometry(stride, padding, dilation, groups, len(size))
    for_x = for_weight = for_bias = None
    if wanted[0]:
        f = conv(g) if transposed else conv_input_grad(g, size)
        for_x = apply(f, grad, weight)
    if wanted[1]:
        operands = (grad, x) if transposed else (x, grad)
        for_weight = apply(conv_weight_grad(g, kernel), *operands)
    if wanted[2]:
        for_bias = grad.sum(axis=(0, *range(2, 2 + len(size))))
    return for_x, for_weight, for_bias
