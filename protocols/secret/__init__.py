"""Secret arrays of reals and of truth values, and what goes with them.

In reading order:

    factors     the form of a real; a public factor as ring elements
    array       `SecretArray`, `SecretBits`, and what joins, aligns and multiplies arrays
    lazy        `Lazy`: an array that waits to be computed until it is known what follows
    pending     `pending_product`: one that is truncated when it is known what follows
    rectified   `Rectified`: max(x, 0) that lets a max-pool go first
"""

from protocols.secret.array import (
    SecretArray,
    SecretBits,
    align,
    concatenate,
    constant,
    products,
    stack,
)
from protocols.secret.factors import FORM, FRACTION, Public
from protocols.secret.pending import PendingProduct, pending_product
from protocols.secret.rectified import Rectified

__all__ = [
    "FORM",
    "FRACTION",
    "PendingProduct",
    "Public",
    "Rectified",
    "SecretArray",
    "SecretBits",
    "align",
    "concatenate",
    "constant",
    "pending_product",
    "products",
    "stack",
]
