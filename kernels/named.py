"""Bilinear maps by name, for who is told of one in a message: a dealer makes triples for it.

A name carries every parameter of a map ("conv2d stride=2 padding=1x0"), and names are all that is
read here: nothing of a message is run.
"""

from __future__ import annotations

import re

from kernels.array import Shape
from kernels.bilinear import Bilinear
from kernels.conv import Geometry, conv, conv_input_grad, conv_weight_grad
from kernels.gemm import matmul
from kernels.ring import multiply, summed_products

_PLAIN = {f.name: f for f in (multiply, matmul, summed_products)}
_SIZES = r"\d{1,9}(?:x\d{1,9}){0,2}"
_CONV = re.compile(
    rf"conv(?P<dims>[123])d(?:_(?P<kind>input|weight)_grad (?P<spatial>{_SIZES}))?"
    rf"(?: stride=(?P<stride>{_SIZES}))?(?: padding=(?P<padding>{_SIZES}))?"
    rf"(?: dilation=(?P<dilation>{_SIZES}))?(?: groups=(?P<groups>\d{{1,9}}))?"
)


def named(name: str) -> Bilinear:
    """The map of this name.

    Raises ValueError where there is none.
    """
    if name in _PLAIN:
        return _PLAIN[name]
    if (match := _CONV.fullmatch(name)) is None:
        raise ValueError(f"there is no bilinear map {name!r}")
    dims = int(match["dims"])

    def sizes(part: str, plain: int) -> Shape:
        given = tuple(map(int, (match[part] or str(plain)).split("x")))
        return given * dims if len(given) == 1 else given

    geometry = Geometry(
        sizes("stride", 1), sizes("padding", 0), sizes("dilation", 1), int(match["groups"] or 1)
    )
    if match["kind"] is None:
        return conv(geometry)
    # Of spatial sizes, and only of them, each is written out.
    spatial = tuple(map(int, match["spatial"].split("x")))
    return (conv_input_grad if match["kind"] == "input" else conv_weight_grad)(geometry, spatial)
