"""Softmax and its logarithm, which share the exponentials and their sum.

The largest logit is taken off first, so the exponentials are at most 1 and their sum s is from 1 to
the number of classes. log s and 1/s come from the same exponent and mantissa of s.
"""

from __future__ import annotations

import numpy as np

from mpc.shares import Share
from protocols.functions.exponential import FINE, exp
from protocols.functions.extremes import maximum_along
from protocols.functions.normalise import Normalised, normalise
from protocols.functions.polynomial import EXACT, quartics, times_at
from protocols.functions.power import INVERSE, LOGARITHM, log_of_power
from protocols.secret import FRACTION, SecretArray

DROP = EXACT - FRACTION - LOGARITHM.scale  # leaves 16 bits of the logarithm and of the inverse


def softmax(x: SecretArray[Share], axis: int = -1) -> SecretArray[Share]:
    """exp(x) over its sum along an axis.

    Domain: |x| < 2^29, at most 128 classes.
    Error: 2^-11.
    Cost under rep3, for 10 classes: 69 rounds, 226.8 bytes a party for each element.
    """
    with x.protocol.scope("softmax"):
        _, e, n = _exponentials(x, axis)
        (u,), _ = n.arguments(INVERSE)
        low, rides = _inverse_power(n)
        (p,), power = quartics(DROP, (INVERSE, u), exact=rides)
        return _quotient(e, p, power[0] if power else low)


def log_softmax(x: SecretArray[Share], axis: int = -1) -> SecretArray[Share]:
    """Logarithm of `softmax`.

    Domain: |x| < 2^29, at most 128 classes.
    Error: 2^-11, however far the logits are apart.
    Cost under rep3, for 10 classes: 66 rounds, 205.2 bytes a party for each element.
    """
    with x.protocol.scope("softmax"):
        shifted, _, n = _exponentials(x, axis)
        (u,), _ = n.arguments(LOGARITHM)
        (p,), _ = quartics(DROP, (LOGARITHM, u))
        return shifted - (p + log_of_power(n))


def log_softmax_and_softmax(
    x: SecretArray[Share], axis: int = -1
) -> tuple[SecretArray[Share], SecretArray[Share]]:
    """`log_softmax`, and the `softmax` that its gradient needs, in one pass.

    Domain and errors: as theirs.
    Cost under rep3, for 10 classes: 69 rounds, 231.7 bytes a party for each element.
    """
    with x.protocol.scope("softmax"):
        shifted, e, n = _exponentials(x, axis)
        (u, v), _ = n.arguments(INVERSE, LOGARITHM)
        low, rides = _inverse_power(n)
        (p, q), power = quartics(DROP, (INVERSE, u), (LOGARITHM, v), exact=rides)
        return shifted - (q + log_of_power(n)), _quotient(e, p, power[0] if power else low)


def _exponentials(
    x: SecretArray[Share], axis: int
) -> tuple[SecretArray[Share], SecretArray[Share], Normalised[Share]]:
    """x less its largest, the exponentials of that, and their sum with its exponent."""
    x = x.at(FRACTION)
    largest = maximum_along(x, axis).map(lambda v: np.expand_dims(v, axis))
    shifted = x - largest
    e = exp(shifted, FINE)
    # Errors may bring the sum just below 1: without a leading one it keeps the lowest exponent.
    total = e.sum(axis, keepdims=True)
    return shifted, e, normalise(total, 1.0, float(x.shape[axis]), zero=False)


def _inverse_power(
    n: Normalised[Share],
) -> tuple[SecretArray[Share], list[tuple[SecretArray[Share], SecretArray[Share]]]]:
    """2^-e, or the first of its two factors, and the factors if they are two. No message."""
    low, high = n.power(-1)
    return low, [] if high is None else [(low, high)]


def _quotient(
    e: SecretArray[Share], inverse: SecretArray[Share], power: SecretArray[Share]
) -> SecretArray[Share]:
    """E times 1/m times 2^-e. The first product is one for each sum. Cost: 4 rounds."""
    (r,) = times_at(FINE, (inverse, power))
    (result,) = times_at(FRACTION, (e, r))
    return result
