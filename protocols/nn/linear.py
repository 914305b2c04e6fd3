"""Matrix products and convolutions, and the gradients of convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels.bilinear import Bilinear
from kernels.conv import Geometry, conv, conv_input_grad, conv_weight_grad
from kernels.gemm import matmul
from mpc.errors import NotOffered
from mpc.ring import Shape
from protocols.functions import sqrt
from protocols.nn.pointwise import Number, scaled
from protocols.nn.shape import move
from protocols.nn.tensor import implements
from protocols.secret import SecretArray


def apply(f: Bilinear, x: Number, y: Number) -> Number:
    """f(x, y), where either may be public."""
    if isinstance(x, SecretArray):
        return x.bilinear(f, y)
    return y.bilinear(_swapped(f), x)


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
    return move(lambda v: np.asarray(v[0, 0]), product(row, column))


@implements("linalg_vector_norm")
def norm(x: Any, ord: float = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """Euclidean norm over all elements, as gradient clipping asks for."""
    if ord != 2 or dim is not None:
        raise NotOffered(f"norm of order {ord} over {dim}: only the Euclidean norm of all elements")
    flat = x.reshape(-1)
    root = sqrt(dot(flat, flat))
    return root.reshape(*(1 for _ in x.shape)) if keepdim else root


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
    y = apply(f, x, weight)
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
