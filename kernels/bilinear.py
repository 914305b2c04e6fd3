"""Maps linear in each of two arguments, as values that a protocol can be handed.

A protocol never hears of a convolution: it takes a `Bilinear`, asks for the shape of the result and
adds the terms it needs into place. That covers products, matrix products, convolutions and their
gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from kernels.array import RING_DTYPES, Array, Shape, require


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
    shape: Callable[[Shape, Shape], Shape] = field(compare=False, repr=False)
    add_to: Callable[[Array, Array, Array], None] = field(compare=False, repr=False)
    cross_to: Callable[[Array, Array, Array, Array, Array], None] = field(
        default=cast("Callable[..., None]", None),  # filled in below, and never None afterwards
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
        out = np.zeros(self.shape(x.shape, y.shape), x.dtype)
        self.add_to(out, x, y)
        return out

    def _cross_in_two_steps(self, out: Array, x0: Array, x1: Array, y0: Array, y1: Array) -> None:
        self.add_to(out, x0, y0 + y1)
        self.add_to(out, x1, y0)
