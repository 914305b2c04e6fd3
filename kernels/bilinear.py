"""Maps linear in each of two arguments, as values that a protocol can be handed.

A protocol never hears of a convolution: it takes a `Bilinear`, asks for the shape of the result and
adds the terms it needs into place. That covers products, matrix products, convolutions and their
gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias, cast

from kernels.array import RING_DTYPES, Array, Shape, require, require_shape, require_target
from kernels.machines import xp_of

ShapeMap: TypeAlias = Callable[[Shape, Shape], Shape]
AddTo: TypeAlias = Callable[[Array, Array, Array], None]
CrossTo: TypeAlias = Callable[[Array, Array, Array, Array, Array], None]


@dataclass(frozen=True)
class Bilinear:
    """A map linear in each of two arguments: a product, a convolution or a gradient of one.

    `name` carries every parameter: two maps are equal, and hash alike, exactly when names agree.
    `shape(x.shape, y.shape)` is the shape of the result; ValueError where they do not fit.
    `add_to(out, x, y)` does out += f(x, y) in place; `out` is C-contiguous and apart
    from x and y in memory.
    `cross_to(out, x0, x1, y0, y1)` does out += f(x0, y0 + y1) + f(x1, y0), one party's term of a
    replicated product; left out, it is two calls of `add_to`.
    """

    name: str
    shape: ShapeMap = field(compare=False, repr=False)
    add_to: AddTo = field(compare=False, repr=False)
    cross_to: CrossTo = field(
        default=cast("CrossTo", None),  # filled in below, and never None afterwards
        compare=False,
        repr=False,
    )

    def __post_init__(self) -> None:
        if cast("object", self.cross_to) is None:
            object.__setattr__(self, "cross_to", self._cross_in_two_steps)

    def __call__(self, x: Array, y: Array) -> Array:
        """Return f(x, y) as a new array.

        Raises ValueError for shapes that do not fit, TypeError for other dtypes.
        """
        require(x, y, dtypes=RING_DTYPES)
        out = xp_of(x).zeros(self.shape(x.shape, y.shape), x.dtype)
        self.add_to(out, x, y)
        return cast("Array", out)

    def _cross_in_two_steps(self, out: Array, x0: Array, x1: Array, y0: Array, y1: Array) -> None:
        self.add_to(out, x0, y0 + y1)
        self.add_to(out, x1, y0)


def compiled(name: str, shape: ShapeMap, add: AddTo, cross: CrossTo) -> Bilinear:
    """A map whose two forms are compiled, with all checks before memory is touched.

    `add(out, x, y)` and `cross(out, x0, x1, y0, y1)` are called only with arrays of one ring dtype
    whose shapes fit, and an `out` that can be written in place.
    """

    def check_target(out: Array, x: Array, y: Array) -> None:
        require_shape(f"{name}: out", out, shape(x.shape, y.shape))
        require_target(out)

    def add_to(out: Array, x: Array, y: Array) -> None:
        require(out, x, y, dtypes=RING_DTYPES)
        check_target(out, x, y)
        add(out, x, y)

    def cross_to(out: Array, x0: Array, x1: Array, y0: Array, y1: Array) -> None:
        require(out, x0, x1, y0, y1, dtypes=RING_DTYPES)
        require_shape(f"{name}: x1", x1, x0.shape)
        require_shape(f"{name}: y1", y1, y0.shape)
        check_target(out, x0, y0)
        cross(out, x0, x1, y0, y1)

    return Bilinear(name, shape, add_to, cross_to)
