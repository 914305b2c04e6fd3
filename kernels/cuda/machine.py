"""All kernels of a card under the names of the compiled module: see `kernels.machines.Machine`."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import cast

from kernels.cuda import convolutions, elementwise, planes, products, streams
from kernels.cuda.launch import Gpu
from kernels.machines import Machine

_KERNELS = (
    elementwise.multiply_add,
    elementwise.multiply_cross,
    elementwise.truncation_public,
    elementwise.truncation_private,
    elementwise.select_term,
    products.matmul_add,
    products.matmul_cross,
    convolutions.conv_add,
    convolutions.conv_cross,
    planes.conj_to,
    planes.carry_step,
    planes.block_products,
    planes.block_carries,
    planes.to_planes,
    planes.from_planes,
    streams.chacha20,
)


def cuda_machine(gpu: Gpu) -> Machine:
    """The kernels on one card; nothing is compiled before it is used."""
    return cast(Machine, SimpleNamespace(**{f.__name__: partial(f, gpu) for f in _KERNELS}))
