"""CrypTen's gradients where ours cost less: ReLU and max-pool by bits, convolutions as such.

What a step looked at on its way forward, it keeps in memory of its own for the way back: bits are
chosen by again without becoming ring elements, and an operand that was opened under a mask is not
opened again.

CrypTen finds the gradient of a convolution's weights by a convolution of as many groups as there
are images and channels, whose operand is the gradient repeated for each channel. Here it is a
bilinear map of its own, from operands as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels.conv import Geometry, conv, conv_input_grad, conv_weight_grad
from mpc.shares import Additive, Bits
from protocols.functions.extremes import Tournament
from protocols.interop.crypten import comparisons
from protocols.interop.crypten.engine import current
from protocols.interop.crypten.secret import (
    as_tensor,
    is_ours,
    kept_share,
    mpc_tensor,
    rescaled,
    secret,
    share,
)
from protocols.nn.pooling import Windows

Function = Callable[..., Any]


def relu_forward(original: Function) -> Function:
    """A replacement of `AutogradReLU.forward`."""

    def forward(ctx: Any, input: Any) -> Any:
        if not is_ours(input):
            return original(ctx, input)
        bits, part = comparisons.positive_part(input)
        ctx.save_for_backward(bits)
        return part

    return forward


def relu_backward(original: Function) -> Function:
    """A replacement of `AutogradReLU.backward`."""

    def backward(ctx: Any, grad_output: Any) -> Any:
        (bits,) = ctx.saved_tensors
        if not isinstance(bits, Bits):
            return original(ctx, grad_output)
        kept = current().protocol.select(bits, share(grad_output))
        return mpc_tensor(kept.own, grad_output.encoder._precision_bits)

    return backward


@dataclass(frozen=True)
class Pooled:
    """Which input each window took."""

    windows: Windows
    tournament: Tournament[Additive]


def pool_forward(original: Function) -> Function:
    """A replacement of `AutogradMaxPool2D.forward`."""

    def forward(
        ctx: Any,
        input: Any,
        kernel_size: Any,
        padding: Any = 0,
        stride: Any = None,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        given = (kernel_size, padding, stride, dilation, ceil_mode)
        if input.dim() < 2 or not is_ours(input):
            return original(ctx, input, *given, return_indices)
        where = comparisons.windows(input, *given)
        largest, won = comparisons.pooled(secret(input), where)
        ctx.save_for_backward(Pooled(where, won))
        if not return_indices:
            return as_tensor(largest)
        marks = comparisons.winners(won, largest)
        indices = as_tensor(comparisons.indices(marks, where))
        ctx.mark_non_differentiable(indices)
        return as_tensor(largest), indices

    return forward


def pool_backward(original: Function) -> Function:
    """A replacement of `AutogradMaxPool2D.backward`: each window's gradient to its winner."""

    def backward(ctx: Any, grad_output: Any) -> Any:
        pooled = ctx.saved_tensors[0]
        if not isinstance(pooled, Pooled):
            return original(ctx, grad_output)
        return as_tensor(pooled.tournament.spread(secret(grad_output)).map(pooled.windows.scatter))

    return backward


@dataclass(frozen=True)
class Convolved:
    """What a convolution needs on its way back."""

    geometry: Geometry
    input: Additive
    kernel: Additive
    input_needed: bool
    scales: tuple[Any, Any]  # the operands themselves, for their encoders


def conv_forward(*order: str) -> Callable[[Function], Function]:
    """A replacement of `AutogradConv1D.forward` or `AutogradConv2D.forward`.

    Args:
        order: in which order settings come that are given without a name.
    """

    def replacing(original: Function) -> Function:
        def forward(ctx: Any, input: Any, kernel: Any, *args: Any, **kwargs: Any) -> Any:
            rank, given = input.dim() - 2, dict(zip(order, args, strict=False)) | kwargs
            if not is_ours(input, kernel) or kernel.dim() != rank + 2:
                return original(ctx, input, kernel, *args, **kwargs)
            geometry = Geometry(
                _of_rank(given.get("stride", 1), rank),
                _of_rank(given.get("padding", 0), rank),
                _of_rank(given.get("dilation", 1), rank),
                given.get("groups", 1),
            )
            x, w = kept_share(input), kept_share(kernel)
            f = conv(geometry)
            f.shape(x.shape, w.shape)  # a ValueError says what does not fit
            (z,) = current().protocol.bilinear(f, (x, w))
            ctx.save_for_backward(Convolved(geometry, x, w, input.requires_grad, (input, kernel)))
            return rescaled(z.own, input, kernel)

        return forward

    return replacing


def conv_backward(original: Function) -> Function:
    """A replacement of `AutogradConv1D.backward` and of `AutogradConv2D.backward`."""

    def backward(ctx: Any, grad_output: Any) -> Any:
        kept = ctx.saved_tensors[0]
        if not isinstance(kept, Convolved):
            return original(ctx, grad_output)
        input, kernel = kept.scales
        protocol, grad = current().protocol, kept_share(grad_output)
        of_input = None  # which nobody asks for, of an input that is data
        if kept.input_needed:
            f = conv_input_grad(kept.geometry, kept.input.shape[2:])
            (z,) = protocol.bilinear(f, (grad, kept.kernel))
            of_input = rescaled(z.own, grad_output, kernel)
        f = conv_weight_grad(kept.geometry, kept.kernel.shape[2:])
        (z,) = protocol.bilinear(f, (kept.input, grad))
        return of_input, rescaled(z.own, input, grad_output)

    return backward


def _of_rank(value: Any, rank: int) -> tuple[int, ...]:
    given = (int(value),) if isinstance(value, int | float) else tuple(np.ravel(value).tolist())
    return given * rank if len(given) == 1 else given
