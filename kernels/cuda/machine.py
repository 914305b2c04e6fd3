"""All kernels of a card under the names of the compiled module: see `kernels.machines.Machine`."""

from __future__ import annotations

from kernels.array import Array, Shape
from kernels.cuda import convolutions, elementwise, planes, products, streams
from kernels.cuda.launch import Gpu


class CudaMachine:
    """The kernels on one card.

    Args:
        gpu: which, and what starts kernels there.
    """

    def __init__(self, gpu: Gpu) -> None:
        """Nothing is compiled before it is used."""
        self._gpu = gpu

    def multiply_add(self, out: Array, x: Array, y: Array) -> None:
        """See `Machine`."""
        elementwise.multiply_add(self._gpu, out, x, y)

    def multiply_cross(self, out: Array, x0: Array, x1: Array, y0: Array, y1: Array) -> None:
        """See `Machine`."""
        elementwise.multiply_cross(self._gpu, out, x0, x1, y0, y1)

    def matmul_add(self, out: Array, x: Array, y: Array) -> None:
        """See `Machine`."""
        products.matmul_add(self._gpu, out, x, y)

    def matmul_cross(self, out: Array, x0: Array, x1: Array, y0: Array, y1: Array) -> None:
        """See `Machine`."""
        products.matmul_cross(self._gpu, out, x0, x1, y0, y1)

    def conv_add(
        self,
        kind: int,
        stride: Shape,
        padding: Shape,
        dilation: Shape,
        groups: int,
        out: Array,
        x: Array,
        y: Array,
    ) -> None:
        """See `Machine`."""
        walk = stride, padding, dilation, groups
        convolutions.conv_add(self._gpu, kind, *walk, out, x, y)

    def conv_cross(
        self,
        kind: int,
        stride: Shape,
        padding: Shape,
        dilation: Shape,
        groups: int,
        out: Array,
        x0: Array,
        x1: Array,
        y0: Array,
        y1: Array,
    ) -> None:
        """See `Machine`."""
        walk = stride, padding, dilation, groups
        convolutions.conv_cross(self._gpu, kind, *walk, out, x0, x1, y0, y1)

    def truncation_public(self, out: Array, fraction: int, c: Array, rho: Array, mu: Array) -> None:
        """See `Machine`."""
        elementwise.truncation_public(self._gpu, out, fraction, c, rho, mu)

    def truncation_private(
        self, out: Array, fraction: int, c: Array, rho: Array, mu: Array
    ) -> None:
        """See `Machine`."""
        elementwise.truncation_private(self._gpu, out, fraction, c, rho, mu)

    def select_term(self, out: Array, c: Array, x: Array, x1: Array, beta: Array, w: Array) -> None:
        """See `Machine`."""
        elementwise.select_term(self._gpu, out, c, x, x1, beta, w)

    def conj_to(self, out: Array, a0: Array, a1: Array, b0: Array, b1: Array) -> None:
        """See `Machine`."""
        planes.conj_to(self._gpu, out, a0, a1, b0, b1)

    def carry_step(
        self, g_out: Array, p_out: Array, g0: Array, g1: Array, p0: Array, p1: Array
    ) -> None:
        """See `Machine`."""
        planes.carry_step(self._gpu, g_out, p_out, g0, g1, p0, p1)

    def block_products(self, out: Array, top: Array, x: Array, bits: int) -> None:
        """See `Machine`."""
        planes.block_products(self._gpu, out, top, x, bits)

    def block_carries(
        self, g: Array, p: Array, top: Array, shared: Array, x: Array, bits: int, whole: bool
    ) -> None:
        """See `Machine`."""
        planes.block_carries(self._gpu, g, p, top, shared, x, bits, whole)

    def to_planes(self, planes_: Array, x: Array, first_bit: int) -> None:
        """See `Machine`."""
        planes.to_planes(self._gpu, planes_, x, first_bit)

    def from_planes(self, x: Array, planes_: Array) -> None:
        """See `Machine`."""
        planes.from_planes(self._gpu, x, planes_)

    def chacha20(self, mode: int, out: Array, key_a: bytes, key_b: bytes, nonce: bytes) -> None:
        """See `Machine`."""
        streams.chacha20(self._gpu, mode, out, key_a, key_b, nonce)
