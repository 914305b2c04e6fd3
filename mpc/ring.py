"""Real numbers as elements of Z_2^64: fixed point, two's complement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt

from kernels.array import Array as Array  # what a ring array is, for the floors above too
from kernels.array import Shape as Shape
from kernels.machines import as_array, xp_of
from mpc.errors import NotOffered, RangeError

WORD = np.uint64
BITS = 64


@dataclass(frozen=True)
class FixedPoint:
    """x stands for the integer nearest to x·2^fraction, in two's complement on 64 bits.

    Args:
        fraction: fractional bits; 2^-fraction is the step (one ulp).
        integer: integer bits, sign not counted: |x| < 2^integer is accepted.
    """

    fraction: int = 16
    integer: int = 30

    def __post_init__(self) -> None:
        """Refuse a form that truncation could not handle."""
        if self.fraction < 0 or self.integer < 1 or self.fraction + self.integer > 62:
            raise NotOffered(
                f"{self.fraction} fractional and {self.integer} integer bits: "
                f"choose at least 0 and 1, and at most 62 together, or truncation could wrap"
            )

    def for_products(self) -> Self:
        """The form itself, if a product of two such numbers can be truncated without wrapping.

        Raises:
            NotOffered: 2·fraction + integer > 62.
        """
        if 2 * self.fraction + self.integer > 62:
            raise NotOffered(
                f"products of numbers with {self.fraction} fractional and {self.integer} integer "
                f"bits need 2·{self.fraction} + {self.integer} <= 62 bits, or truncation could wrap"
            )
        return self

    def encode(self, x: npt.ArrayLike) -> Array:
        """Round to the nearest ring element; half-way cases go to the even neighbour.

        Where an array lies it is encoded, to the same bits on a card as on the host.

        Raises:
            RangeError: NaN, infinity or |x| >= 2^integer, with counts and never a value.
        """
        given = as_array(cast(Any, x))
        xp = xp_of(given)
        reals = xp.asarray(given, np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # what does not fit is refused below
            scaled = as_array(xp.rint(reals * 2.0**self.fraction))
        fits = xp.abs(reals) < 2.0**self.integer  # a NaN does not fit either
        # A card has read all of x when this is known, so whoever has lent it may let go of it.
        if not bool(xp.all(fits)):
            nan, infinite = int(xp.isnan(reals).sum()), int(xp.isinf(reals).sum())
            large = reals.size - int(fits.sum()) - nan - infinite
            raise RangeError(
                f"{nan + infinite + large} of {reals.size} numbers do not fit "
                f"(NaN {nan}, infinite {infinite}, too large {large}): "
                f"they must be finite and below 2^{self.integer} in absolute value"
            )
        return cast(Array, scaled.astype(np.int64).view(WORD))

    def decode(self, x: Array) -> Array:
        """The float64 that a ring element stands for; exact below 2^53."""
        x = as_array(x)
        signed = xp_of(x).asarray(x, order="C").view(np.int64)
        return as_array(signed.astype(np.float64) / 2.0**self.fraction)
