"""Reciprocals, roots, quotients, logarithms: a quartic of the mantissa, and a power of two.

Each takes a public window, `low` to `high`, in which |x| is known to lie. The default is every
number there is. A narrower window costs fewer bytes, and a round less for each halving of its
number of places. Below the window a function is what it is at 0; above it the result means nothing.
The bounds are derived in docs/numerics.md.
"""

from __future__ import annotations

import math

from mpc.shares import Share
from protocols.functions.normalise import HIGHEST, LOWEST, Normalised, normalise
from protocols.functions.polynomial import EXACT, QUARTIC, Quartic, quartics, times_at
from protocols.secret import FRACTION, SecretArray

# Minimax on [1, 2] for 1/m, 1/sqrt(m), sqrt(m) (relative error 2^-11.71, 2^-13.72, 2^-16.87) and
# ln(m) (absolute 2^-14.01), with the leading coefficient that `Quartic` asks for.
INVERSE = Quartic(6085, -1, 1, (1.3333330512, -1.1913369890, 1.0692584671, -1.1144611411))
INVERSE_ROOT = Quartic(4625, -1, 1, (1.6330101285, -0.9620405093, 0.8498880212, -0.9422448045))
ROOT = Quartic(3136, -1, -1, (2.4494812685, 2.1324005406, -0.9261018087, 0.8611308362))
LOGARITHM = Quartic(4751, -1, -1, (0.8108962466, 2.2970310131, -1.3162295013, 1.1047432736))


def reciprocal(
    x: SecretArray[Share], low: float = LOWEST, high: float = HIGHEST
) -> SecretArray[Share]:
    """1/x for x of either sign.

    Domain: low <= |x| <= high; by default all |x| < 2^30. 1/0 is 0, and so is the reciprocal of
    -2^-16, and of anything below low/2.
    Error: 2^-11 of the result and 2^-16.
    Cost under rep3: 24 rounds, 291.5 bytes a party for each element; from 2^-8 to 2^20 23 rounds,
    263.6 bytes.
    """
    with x.protocol.scope("reciprocal"):
        return _power(normalise(x.at(FRACTION), low, high, signed=True), INVERSE, -1)


def rsqrt(x: SecretArray[Share], low: float = LOWEST, high: float = HIGHEST) -> SecretArray[Share]:
    """1/sqrt(x).

    Domain: low <= x <= high; by default all 0 < x < 2^30. For 0, and anything below low/2, it is 0.
    For a negative x the result means nothing.
    Error: 2^-12 of the result and 2^-16.
    Cost under rep3: 24 rounds, 276.8 bytes a party for each element.
    """
    with x.protocol.scope("rsqrt"):
        return _power(normalise(x.at(FRACTION), low, high), INVERSE_ROOT, -0.5)


def sqrt(x: SecretArray[Share], low: float = LOWEST, high: float = HIGHEST) -> SecretArray[Share]:
    """Square root; of 0 exactly 0.

    Domain: low <= x <= high and 0; by default all 0 <= x < 2^30. For a negative x the result means
    nothing.
    Error: 2^-13 of the result and 2^-16.
    Cost under rep3: 24 rounds, 275.4 bytes a party for each element.
    """
    with x.protocol.scope("sqrt"):
        return _power(normalise(x.at(FRACTION), low, high), ROOT, 0.5)


def divide(
    x: SecretArray[Share], y: SecretArray[Share], low: float = LOWEST, high: float = HIGHEST
) -> SecretArray[Share]:
    """x / y for y of either sign; better than x times `reciprocal` where both are large.

    Domain: |x| < 2^30, low <= |y| <= high, |x/y| < 2^16. x/0 is 0.
    Error: 2^-11 of the result, 2^-16, and 2^-15 / |y|.
    Cost under rep3: 26 rounds, 310.8 bytes a party for each element.
    """
    with x.protocol.scope("divide"):
        n = normalise(y.at(FRACTION), low, high, signed=True)
        p, power = _factors(n, INVERSE, -1, QUARTIC)
        (numerator,) = times_at(FRACTION, (x.at(FRACTION), p))
        (quotient,) = times_at(FRACTION, (numerator, power))
        return quotient


def log(x: SecretArray[Share], low: float = LOWEST, high: float = HIGHEST) -> SecretArray[Share]:
    """Natural logarithm.

    Domain: low <= x <= high; by default all 0 < x < 2^30. For 0 it is some number about
    ln(low) - 2; for a negative x it means nothing.
    Error: 2^-12.
    Cost under rep3: 22 rounds, 246.7 bytes a party for each element.
    """
    with x.protocol.scope("log"):
        n = normalise(x.at(FRACTION), low, high, zero=False)
        (u,), _ = n.arguments(LOGARITHM)
        (p,), _ = quartics(EXACT - FRACTION - LOGARITHM.scale, (LOGARITHM, u))
        return p + log_of_power(n)


def log_of_power(n: Normalised[Share]) -> SecretArray[Share]:
    """e·ln 2. No message. ln 2 to 16 bits is off by 2^-19.4, and |e| <= 30."""
    e = n.exponent() * round(math.ldexp(math.log(2), FRACTION))
    return SecretArray(e.protocol, e.share, FRACTION)


def _power(n: Normalised[Share], mantissa: Quartic, a: float) -> SecretArray[Share]:
    """sign·|x|^a from the quartic for m^a, with as many bits as the ring has room for."""
    bits = min(24, EXACT - n.largest_power(a))
    p, power = _factors(n, mantissa, a, bits)
    (result,) = times_at(FRACTION, (p, power))
    return result


def _factors(
    n: Normalised[Share], mantissa: Quartic, a: float, bits: int
) -> tuple[SecretArray[Share], SecretArray[Share]]:
    """m^a with so many fractional bits, and sign·2^(a·e). Cost: 6 rounds."""
    (u,), factor = n.arguments(mantissa)
    low, high = n.power(a)
    second = high if n.sign is None else factor  # the sign is for a = -1 only, where they agree
    drop = EXACT - bits - mantissa.scale
    if second is None:
        (p,), _ = quartics(drop, (mantissa, u))
        return p, low
    (p,), (power,) = quartics(drop, (mantissa, u), exact=[(low, second)])
    return p, power
