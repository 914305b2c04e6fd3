"""The gradient of a strided convolution as several of stride one, which multiply no zeros.

Position t of the input was reached by tap k of the kernel where t + padding - dilation * k is a
multiple of the stride: t's remainder says by which taps. So what has one remainder is a gradient of
its own, of a kernel with these taps alone; together they have the products that there are, where a
gradient with the stride's zeros written in has stride times as many in each dimension.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import gcd
from typing import NamedTuple

from kernels.array import Shape


class Phase(NamedTuple):
    """What has one remainder in each dimension.

    Args:
        places: where it lies in the input.
        taps: which taps of the kernel reach it.
        padding: of the convolution of stride one that has its gradient; it may be below zero.
        dilation: of that one.
    """

    places: tuple[slice, ...]
    taps: tuple[slice, ...]
    padding: Shape
    dilation: Shape


def phases(
    sizes: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape
) -> Iterator[Phase]:
    """Those that any tap reaches.

    Args:
        sizes: of the input, a number for each spatial dimension, as in all of these.
        kernel: taps.
        stride: of the convolution.
        padding: at both ends.
        dilation: of the kernel.
    """
    dims = zip(sizes, kernel, stride, padding, dilation, strict=True)
    for parts in product(*(list(_of_dimension(*dim)) for dim in dims)):
        places, taps, pads, reaches = zip(*parts, strict=True)
        yield Phase(places, taps, pads, reaches)


def _of_dimension(
    size: int, taps: int, by: int, pad: int, reach: int
) -> Iterator[tuple[slice, slice, int, int]]:
    apart = by // gcd(by, reach)  # taps from one to the next that reaches the same places
    for place in range(min(by, size)):
        for tap in range(min(apart, taps)):
            if (place + pad - reach * tap) % by == 0:
                moved = (place + pad - reach * tap) // by
                yield slice(place, None, by), slice(tap, None, apart), moved, reach * apart // by
