"""Functions written once over the words."""

from protocols.functions.compare import (
    absolute,
    clamp,
    leaky_relu,
    maximum,
    minimum,
    relu,
    sign,
    where,
)
from protocols.functions.error_function import erf, gelu, gelu_slope
from protocols.functions.exponential import exp, sigmoid, silu, silu_slope, softplus, tanh
from protocols.functions.extremes import Tournament, argmax, maximum_along, tournament
from protocols.functions.power import divide, log, reciprocal, rsqrt, sqrt
from protocols.functions.softmax import log_softmax, log_softmax_and_softmax, softmax

__all__ = [
    "Tournament",
    "absolute",
    "argmax",
    "clamp",
    "divide",
    "erf",
    "exp",
    "gelu",
    "gelu_slope",
    "leaky_relu",
    "log",
    "log_softmax",
    "log_softmax_and_softmax",
    "maximum",
    "maximum_along",
    "minimum",
    "reciprocal",
    "relu",
    "rsqrt",
    "sigmoid",
    "sign",
    "silu",
    "silu_slope",
    "softmax",
    "softplus",
    "sqrt",
    "tanh",
    "tournament",
    "where",
]
