"""Functions that are one comparison and one choice."""

from __future__ import annotations

from mpc.errors import ShapeMismatch
from mpc.shares import Share
from protocols.secret import SecretArray, SecretBits, stack


def relu(x: SecretArray[Share]) -> SecretArray[Share]:
    """max(x, 0), exactly, for |x| < 2^(width - 1) in ring elements.

    The result remembers where x, and so it, is above zero, which is what its gradient needs. Of a
    product that is not truncated yet, both are done at once.

    Cost under rep3: 7 rounds and 26 bytes a party for each element at width 64, 18 at width 32.
    """
    return x.positive_part()


def leaky_relu(x: SecretArray[Share], slope: float) -> SecretArray[Share]:
    """X where it is positive, slope·x elsewhere. Error: as of a product with the public slope.

    Cost: `relu` and one truncation.
    """
    positive = x.positive_part()  # first, so that a product is truncated with it
    y = positive + (x.settled() - positive) * slope
    if slope >= 0:  # else where x is negative the result is positive, too
        y.memo["positive"] = x.positive()
    return y


def where(
    condition: SecretBits[Share], x: SecretArray[Share], y: SecretArray[Share]
) -> SecretArray[Share]:
    """X where the condition holds, y elsewhere; all of one shape. Exact. Cost: one `select`."""
    if x.shape != y.shape:
        raise ShapeMismatch(f"where: {x.shape} and {y.shape} differ")
    return condition.select(x - y) + y


def maximum(x: SecretArray[Share], y: SecretArray[Share]) -> SecretArray[Share]:
    """The larger of two, element by element. Exact. Cost: `relu`."""
    x, y = x.settled(), y.settled()
    return relu(x - y) + y


def minimum(x: SecretArray[Share], y: SecretArray[Share]) -> SecretArray[Share]:
    """The smaller of two, element by element. Exact. Cost: `relu`."""
    x, y = x.settled(), y.settled()
    return x - relu(x - y)


def absolute(x: SecretArray[Share]) -> SecretArray[Share]:
    """|x|. Exact. Cost: `relu`."""
    x = x.settled()
    lost = -(-x).positive_part()
    return x - lost - lost


def clamp(
    x: SecretArray[Share], low: float | None = None, high: float | None = None
) -> SecretArray[Share]:
    """X kept within public bounds, which are rounded to x's scale. Exact otherwise.

    Cost: `relu` of as many elements as there are bounds, at once.
    """
    x = x.settled()
    if low is None or high is None:
        if low is not None:
            return relu(x - low) + low
        return x if high is None else x - relu(x - high)
    low = min(low, high)  # as PyTorch: where they cross, high wins
    beyond = relu(stack([low - x, x - high]))
    return x + beyond[0] - beyond[1]


def sign(x: SecretArray[Share]) -> SecretArray[Share]:
    """-1, 0 or 1, as an integer. Exact. Cost: two signs at once and two bits to numbers."""
    x = x.settled()
    both = stack([x, -x]).negative().ring()
    return both[1] - both[0]
