"""The exponential, and what is made of it: sigmoid, tanh, SiLU, softplus.

The bounds are derived in docs/numerics.md.
"""

from __future__ import annotations

from mpc.shares import Share
from protocols.functions.folding import Curve, ramp, step
from protocols.functions.polynomial import polynomial, times_at
from protocols.secret import FRACTION, SecretArray

LOWEST = -20.0  # below it exp is 0
FINE = 24  # fractional bits inside exp

# exp(x/8) in t = (x + 6) / 16. The polynomial's eighth power is off by 2^-15.8 relative on [-9, 8],
# and by 2^-29 absolute below.
EIGHTH = (
    *(0.47236672, 0.94473588, 0.94474713, 0.62983074),
    *(0.31479046, 0.12570562, 0.04217611, 0.01278795, 0.00307702),
)
# sigmoid(-t)
SIGMOID = Curve(
    limit=9.0,
    shrink=3,
    coefficients=(
        *(0.01115089, -0.08775552, 0.31961160, -0.82378595),
        *(1.96403227, -2.77103794, -0.63924355, 5.72781532, -3.85356720),
    ),
)
# 1 - tanh(t)
TANH = Curve(
    limit=4.5,
    shrink=2,
    coefficients=(
        *(0.02230205, -0.17550934, 0.63919898, -1.64764006),
        *(3.92839898, -5.54149666, -1.27991846, 11.45434298, -7.70526237),
    ),
)
# t·sigmoid(-t)
SILU = Curve(
    limit=12.0,
    shrink=3,
    coefficients=(
        *(0.01472966, -0.09875407, 0.32835924, -0.61171928),
        *(0.43652298, -0.46518264, 2.43980607, 0.81750636),
        *(-13.56514113, 10.28156627, 10.63211232, -10.38402070, -0.39307718),
    ),
)
# sigmoid(-t) - t·sigmoid(t)·sigmoid(-t), the slope of SiLU at -t
SILU_SLOPE = Curve(
    limit=12.0,
    shrink=3,
    coefficients=(
        *(-0.01206789, 0.08193487, -0.26869683, 0.22219082),
        *(0.60614698, 1.80721427, -6.70450639, -13.54117550),
        *(39.09873137, 13.36819804, -61.04577725, -0.71698454, 29.61443187),
    ),
)
# log(1 + exp(-t))
SOFTPLUS = Curve(
    limit=9.0,
    shrink=3,
    coefficients=(
        *(0.01102270, -0.09009345, 0.35128651, -0.80980974),
        *(1.63596179, -3.66949309, 3.78189300, 3.08139385, -5.90121384),
    ),
)


def exp(x: SecretArray[Share], fraction: int = FRACTION) -> SecretArray[Share]:
    """e^x, as the eighth power of a polynomial for e^(x/8).

    Domain: -2^30 < x <= 8. Below -20 it is exactly 0; above 8 it means nothing.
    Error: 2^-13 of the result and two ulps.
    Cost under rep3: 20 rounds, 167.6 bytes a party for each element.

    Args:
        x: the numbers.
        fraction: fractional bits of the result, 16 to 24.
    """
    with x.protocol.scope("exp"):
        x = x.settled().at(FRACTION)
        kept = x >= LOWEST
        t = SecretArray(x.protocol, (x + 6.0).share, FRACTION + 4)
        y = polynomial(t, EIGHTH, FINE)
        (y,) = times_at(FINE, (y, y))
        (y,) = times_at(FINE, (y, y))
        (y,) = times_at(fraction, (y, y))
        # Below -20 the powers have left the ring and y is any number; 0·y is 0 all the same.
        return kept.select(y)


def sigmoid(x: SecretArray[Share]) -> SecretArray[Share]:
    """1 / (1 + e^-x). Its slope is y·(1 - y).

    Domain: every |x| < 2^30.
    Error: 2^-12.
    Cost under rep3: 16 rounds, 171.0 bytes a party for each element.
    """
    with x.protocol.scope("sigmoid"):
        return step(x, SIGMOID, 0)


def tanh(x: SecretArray[Share]) -> SecretArray[Share]:
    """Hyperbolic tangent. Its slope is 1 - y^2.

    Domain: every |x| < 2^30.
    Error: 2^-11.
    Cost under rep3: 16 rounds, 171.0 bytes a party for each element.
    """
    with x.protocol.scope("tanh"):
        return step(x, TANH, -1)


def silu(x: SecretArray[Share]) -> SecretArray[Share]:
    """x·sigmoid(x), as max(x, 0) less what is missing.

    Domain: every |x| < 2^30.
    Error: 2^-12; from |x| = 12 on 2^-13.
    Cost under rep3: 16 rounds, 180.2 bytes a party for each element.
    """
    with x.protocol.scope("silu"):
        return ramp(x, SILU, -1)


def silu_slope(x: SecretArray[Share]) -> SecretArray[Share]:
    """Derivative of `silu`.

    Domain: every |x| < 2^30.
    Error: 2^-10.
    Cost under rep3: 18 rounds, 191.0 bytes a party for each element; after `silu` of the same array
    6 rounds, 52.1 bytes.
    """
    with x.protocol.scope("silu"):
        return step(x, SILU_SLOPE, 0)


def softplus(x: SecretArray[Share]) -> SecretArray[Share]:
    """log(1 + e^x), as max(x, 0) and the rest. Its slope is sigmoid(x).

    Domain: every |x| < 2^30.
    Error: 2^-12.
    Cost under rep3: 14 rounds, 160.2 bytes a party for each element.
    """
    with x.protocol.scope("softplus"):
        return ramp(x, SOFTPLUS, 1)
