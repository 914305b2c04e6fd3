"""Convolutions mod 2^64 or 2^32 and their two gradients, in 1, 2 and 3 dimensions.

Layouts are PyTorch's: input (N, C, *S), weight (O, C / groups, *K), output (N, O, *T). Each map is
a sum of matrix products whose operands are read through tables of offsets, so no unfolded copy of
the input is made: beyond the result, a thread holds one padded tile of input and packed panels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from kernels.array import Array, Shape
from kernels.bilinear import Bilinear, ShapeMap, compiled
from kernels.machines import machine_of

_FORWARD, _INPUT_GRAD, _WEIGHT_GRAD = range(3)  # Kind, in src/view.h


@dataclass(frozen=True)
class Geometry:
    """How a kernel walks over its input: a number for each spatial dimension, and the groups."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1

    def __post_init__(self) -> None:
        d = len(self.stride)
        if not 1 <= d <= 3 or len(self.padding) != d or len(self.dilation) != d:
            raise ValueError(
                "a geometry has 1 to 3 dimensions, the same for stride, padding, dilation"
            )
        if min(*self.stride, *self.dilation, self.groups) < 1 or min(self.padding) < 0:
            raise ValueError(f"{self}: stride, dilation and groups start at 1, padding at 0")

    @property
    def dims(self) -> int:
        """Number of spatial dimensions."""
        return len(self.stride)

    def reach(self, spatial: Shape, kernel: Shape) -> Shape:
        """Spatial shape of the output. Raises ValueError where the kernel does not fit."""
        out = tuple(
            (s + 2 * p - d * (k - 1) - 1) // q + 1
            for s, k, q, p, d in zip(
                spatial, kernel, self.stride, self.padding, self.dilation, strict=True
            )
        )
        if min(out) < 1 or min(kernel) < 1:
            raise ValueError(f"conv: kernel {kernel} does not fit input {spatial} under {self}")
        return out

    def __str__(self) -> str:
        """Only what differs from the plain convolution, as in "stride=2 padding=1x0"."""
        parts = [
            f"{name}={_times(value)}"
            for name, value, plain in (
                ("stride", self.stride, 1),
                ("padding", self.padding, 0),
                ("dilation", self.dilation, 1),
            )
            if set(value) != {plain}
        ]
        return " ".join(parts + ([f"groups={self.groups}"] if self.groups > 1 else []))


def _times(sizes: Shape) -> str:
    return str(sizes[0]) if len(set(sizes)) == 1 else "x".join(map(str, sizes))


def _name(kind: str, geometry: Geometry, *sizes: Shape) -> str:
    extra = ["x".join(map(str, s)) for s in sizes]
    return " ".join(
        [kind.format(geometry.dims), *extra, *([str(geometry)] if str(geometry) else [])]
    )


def _require_rank(what: str, shape: Shape, dims: int) -> None:
    if len(shape) != dims + 2:
        raise ValueError(f"conv{dims}d: {what} needs {dims + 2} dimensions, has shape {shape}")


def _require_channels(inputs: int, weight_shape: Shape, geometry: Geometry) -> None:
    outputs, per_group = weight_shape[:2]
    if inputs != per_group * geometry.groups or outputs % geometry.groups:
        raise ValueError(
            f"conv: weight {weight_shape} in {geometry.groups} groups does not fit "
            f"{inputs} channels"
        )


def _bilinear(kind: int, name: str, geometry: Geometry, shape: ShapeMap) -> Bilinear:
    walk = (kind, geometry.stride, geometry.padding, geometry.dilation, geometry.groups)

    def add(out: Array, x: Array, y: Array) -> None:
        machine_of(out).conv_add(*walk, out, x, y)

    def cross(out: Array, x0: Array, x1: Array, y0: Array, y1: Array) -> None:
        machine_of(out).conv_cross(*walk, out, x0, x1, y0, y1)

    return compiled(name, shape, add, cross)


@cache
def conv(geometry: Geometry) -> Bilinear:
    """The convolution (x, weight) -> output, as `torch.nn.functional.conv{1,2,3}d` has it."""

    def shape(x: Shape, weight: Shape) -> Shape:
        _require_rank("input", x, geometry.dims)
        _require_rank("weight", weight, geometry.dims)
        _require_channels(x[1], weight, geometry)
        return (x[0], weight[0], *geometry.reach(x[2:], weight[2:]))

    return _bilinear(_FORWARD, _name("conv{}d", geometry), geometry, shape)


@cache
def conv_input_grad(geometry: Geometry, input_spatial: tuple[int, ...]) -> Bilinear:
    """(grad_out, weight) -> gradient of the input, whose spatial shape is `input_spatial`.

    Input positions that no window reached, where sizes do not divide, get zero.
    This is also the forward map of a transposed convolution.
    """

    def shape(grad: Shape, weight: Shape) -> Shape:
        _require_rank("grad_out", grad, geometry.dims)
        _require_rank("weight", weight, geometry.dims)
        inputs = weight[1] * geometry.groups
        _require_channels(inputs, weight, geometry)
        expected = (grad[0], weight[0], *geometry.reach(input_spatial, weight[2:]))
        if grad != expected:
            raise ValueError(f"conv: grad_out has shape {grad}, expected {expected}")
        return (grad[0], inputs, *input_spatial)

    name = _name("conv{}d_input_grad", geometry, input_spatial)
    return _bilinear(_INPUT_GRAD, name, geometry, shape)


@cache
def conv_weight_grad(geometry: Geometry, kernel_spatial: tuple[int, ...]) -> Bilinear:
    """(input, grad_out) -> gradient of the weight, whose spatial shape is `kernel_spatial`."""

    def shape(x: Shape, grad: Shape) -> Shape:
        _require_rank("input", x, geometry.dims)
        _require_rank("grad_out", grad, geometry.dims)
        weight = (grad[1], x[1] // geometry.groups, *kernel_spatial)
        _require_channels(x[1], weight, geometry)
        expected = (x[0], grad[1], *geometry.reach(x[2:], kernel_spatial))
        if grad != expected:
            raise ValueError(f"conv: grad_out has shape {grad}, expected {expected}")
        return weight

    name = _name("conv{}d_weight_grad", geometry, kernel_spatial)
    return _bilinear(_WEIGHT_GRAD, name, geometry, shape)
