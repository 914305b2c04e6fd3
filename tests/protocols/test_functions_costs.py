"""Declared costs are promises: what the meter sees is what the docstring says."""

import numpy as np
import pytest

from protocols import functions
from protocols.secret import constant
from tests.protocols.words import REP3, TWO

COUNT = 640  # a multiple of 64, so that no plane is padded


def after(function, slope):
    """The slope of an array whose function was found before."""

    def prepared(x):
        function(x)
        return lambda: slope(x)

    return prepared


def alone(function):
    return lambda x: lambda: function(x)


# name: (what to run, rounds, bytes of the three parties together for each element)
COSTS = {
    "reciprocal": (alone(functions.reciprocal), 24, 874.5),
    "reciprocal in a window": (alone(lambda x: functions.reciprocal(x, 2**-8, 2**20)), 23, 790.75),
    "rsqrt": (alone(functions.rsqrt), 24, 830.25),
    "sqrt": (alone(functions.sqrt), 24, 826.25),
    "divide": (alone(lambda x: functions.divide(x, x)), 26, 932.5),
    "log": (alone(functions.log), 22, 740),
    "exp": (alone(functions.exp), 20, 502.875),
    "sigmoid": (alone(functions.sigmoid), 16, 512.875),
    "tanh": (alone(functions.tanh), 16, 512.875),
    "silu": (alone(functions.silu), 16, 540.625),
    "silu_slope": (alone(functions.silu_slope), 18, 572.875),
    "silu_slope after silu": (after(functions.silu, functions.silu_slope), 6, 156.25),
    "softplus": (alone(functions.softplus), 14, 480.625),
    "erf": (alone(functions.erf), 16, 512.875),
    "gelu": (alone(functions.gelu), 14, 480.625),
    "gelu_slope": (alone(functions.gelu_slope), 16, 512.875),
    "gelu_slope after gelu": (after(functions.gelu, functions.gelu_slope), 4, 96.25),
    "softmax": (alone(functions.softmax), 69, 680.25),
    "log_softmax": (alone(functions.log_softmax), 66, 615.45),
    "log_softmax_and_softmax": (alone(functions.log_softmax_and_softmax), 69, 695.05),
}

# Of additive sharing between two: rounds, and bytes that each sends for each element. What a
# function multiplies by several times is opened once.
BETWEEN_TWO = {
    "reciprocal": (22, 292),
    "reciprocal in a window": (21, 268.25),
    "rsqrt": (22, 283.875),
    "sqrt": (22, 283.875),
    "divide": (24, 308),
    "log": (20, 242.375),
    "exp": (16, 148.375),
    "sigmoid": (11, 149.25),
    "tanh": (11, 149.25),
    "silu": (12, 165.125),
    "silu_slope": (13, 173.25),
    "silu_slope after silu": (5, 64.125),
    "softplus": (10, 141.125),
    "erf": (11, 149.25),
    "gelu": (10, 141.125),
    "gelu_slope": (11, 149.25),
    "gelu_slope after gelu": (3, 48.125),
    "softmax": (51, 198.525),
    "log_softmax": (48, 178.525),
    "log_softmax_and_softmax": (51, 204.925),
}


def metered(at, prepare, shape):
    """Rounds at each party, and bytes of all, while the prepared function runs."""

    def program(party):
        p = at.make(party)
        run = prepare(constant(p, np.linspace(0.5, 7.5, COUNT).reshape(shape)))
        rounds, sent = party.meter.total.rounds, party.meter.total.sent_bytes
        run()
        return party.meter.total.rounds - rounds, party.meter.total.sent_bytes - sent

    seen = at.run(program)
    return {rounds for rounds, _ in seen}, sum(sent for _, sent in seen)


@pytest.mark.parametrize("name", COSTS)
def test_the_declared_cost_is_what_the_wire_saw(name):
    prepare, rounds, element_bytes = COSTS[name]
    seen_rounds, seen_bytes = metered(REP3, prepare, (64, 10) if "softmax" in name else (COUNT,))
    assert seen_rounds == {rounds}
    assert seen_bytes == element_bytes * COUNT


@pytest.mark.parametrize("name", COSTS)
def test_between_two_it_costs_what_the_wire_saw(name):
    rounds, element_bytes = BETWEEN_TWO[name]
    seen = metered(TWO, COSTS[name][0], (64, 10) if "softmax" in name else (COUNT,))
    assert seen == ({rounds}, round(2 * element_bytes * COUNT))


@pytest.mark.parametrize("name", COSTS)
def test_the_docstring_quotes_the_declared_cost(name):
    _, rounds, element_bytes = COSTS[name]
    said = " ".join(getattr(functions, name.split()[0]).__doc__.split())
    assert f"{rounds} rounds, {element_bytes / 3:.1f} bytes" in said


def test_what_a_function_does_is_metered_under_its_name():
    def program(party):
        x = constant(REP3.make(party), np.ones(64))
        functions.log(functions.exp(x))
        return party.meter.operations

    for operations in REP3.run(program):
        assert operations["exp"].rounds == 20
        assert operations["log"].rounds == 22
