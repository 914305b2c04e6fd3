"""A product is truncated once, when it is known what is added to it and what follows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.ring import multiply
from mpc.errors import PeerError, ShapeMismatch
from protocols import functions
from protocols.clear import Clear
from protocols.secret import Rectified, SecretArray, constant, pending_product
from tests.protocols.test_functions_costs import BETWEEN_TWO, COSTS
from tests.protocols.words import (
    PROTOCOLS,
    REP3,
    SEEDS,
    TWO,
    ULP,
    computed,
    each_protocol,
    reals,
    some,
)

protocols = pytest.mark.parametrize("protocol", PROTOCOLS)
SHAPES = st.sampled_from([(1,), (5, 13), (2, 3, 4), (64,)])


@protocols
@some
@given(seed=SEEDS, shape=SHAPES)
def test_what_is_added_is_exact_and_the_sum_is_rounded_once(protocol, seed, shape):
    x, y, z = (reals(seed + i, shape) for i in range(3))

    def function(x, y, z):
        product = pending_product(multiply, x, y)
        sums = [product + z, z - product, -product - z[..., :1], product + product - 1]
        return [*sums, product, 0.5 + product, z + product]

    row = z[..., :1]
    exact = [x * y + z, z - x * y, -x * y - row, 2 * x * y - 1, x * y, 0.5 + x * y, z + x * y]
    for found, value in zip(computed(protocol, function, x, y, z), exact, strict=True):
        assert np.all(np.abs(found - value) <= ULP)


@protocols
@some
@given(seed=SEEDS)
def test_the_positive_part_is_that_of_the_whole_sum(protocol, seed):
    x, y, z = (reals(seed + i, (5, 13)) for i in range(3))

    def function(x, y, z):
        total = pending_product(multiply, x, y) + z
        part = functions.relu(total)
        again = functions.relu(total)  # its sign is known by now
        return [part, again, total, total.positive().ring()]

    exact = x * y + z
    part, again, total, positive = computed(protocol, function, x, y, z)
    assert np.all(np.abs(total - exact) <= ULP)
    assert np.array_equal(part, np.where(positive, total, 0))
    assert np.array_equal(part, again)
    assert np.all((positive == (exact > 0)) | (np.abs(exact) <= ULP))


@protocols
def test_a_larger_or_finer_array_is_added_to_the_rounded_product(protocol):
    x, y = reals(1, (3, 1)), reals(2, (3, 4))

    def function(x, y):
        product = pending_product(multiply, x, x)
        return [product + y, product - y.finer(40), y - product]

    exact = x * x
    for found, value in zip(
        computed(protocol, function, x, y), [exact + y, exact - y, y - exact], strict=True
    ):
        assert np.all(np.abs(found - value) <= ULP)


# Rounds of a truncation, a positive part, a sign, a choice and of bits as ring elements.
ROUNDS = {REP3: (2, 7, 6, 2, 2), TWO: (1, 4, 3, 1, 1)}


@each_protocol
def test_it_is_truncated_once(at):
    def program(party):
        p, counts = at.make(party), []
        x = SecretArray(p, p.constant(np.arange(64, dtype=np.uint64) << np.uint64(16)))
        product = pending_product(multiply, x, x)
        for use in (lambda v: v.shape, lambda v: -v + x, lambda v: v.share, lambda v: v + x):
            before = party.meter.total.rounds
            use(product)
            counts.append(party.meter.total.rounds - before)
        return counts

    truncation, *_ = ROUNDS[at]
    assert set(map(tuple, at.run(program))) == {(0, 0, truncation, 0)}


def rounds_of(at, function):
    """Rounds of a function of a product, at each party."""

    def program(party):
        p = at.make(party)
        x = SecretArray(p, p.constant(np.arange(64, dtype=np.uint64) << np.uint64(16)))
        product, before = pending_product(multiply, x, x), party.meter.total.rounds
        function(product, x)
        return party.meter.total.rounds - before

    return set(at.run(program))


@each_protocol
def test_a_known_sign_is_used_again_and_a_shortcut_may_stand_on_the_left(at):
    truncation, relu, sign, choice, _ = ROUNDS[at]
    assert rounds_of(at, lambda z, x: functions.relu(x + z)) == {relu}
    assert rounds_of(at, lambda z, x: functions.relu(Rectified(x) - z)) == {2 * relu}
    assert rounds_of(at, lambda z, x: (z.positive(), z.share)) == {truncation + sign}
    both = rounds_of(at, lambda z, x: (z.positive(), functions.relu(z)))
    assert both == {truncation + sign + choice}
    assert rounds_of(at, lambda z, x: (functions.relu(z), z.positive(), z.share)) == {relu}


@each_protocol
@pytest.mark.parametrize(
    "function, rounds",
    [
        (lambda z: functions.clamp(z, -1, 1), lambda relu, sign, to_ring: relu),
        (functions.absolute, lambda relu, sign, to_ring: relu),
        (lambda z: functions.minimum(z, z), lambda relu, sign, to_ring: relu),
        (functions.sign, lambda relu, sign, to_ring: sign + to_ring),
    ],
)
def test_a_function_that_needs_the_value_several_times_truncates_it_once(at, function, rounds):
    truncation, relu, sign, _, to_ring = ROUNDS[at]
    expected = truncation + rounds(relu, sign, to_ring)
    assert rounds_of(at, lambda z, x: function(z).share) == {expected}


@pytest.mark.parametrize("function", [functions.sigmoid, functions.exp])
def test_so_does_one_that_multiplies_many_times(function):
    name = function.__name__
    found = rounds_of(REP3, lambda z, x: function(z).share)
    assert found == {2 + COSTS[name][1]}
    found = rounds_of(TWO, lambda z, x: function(z).share)
    assert found == {1 + BETWEEN_TWO[name][0]}


@each_protocol
def test_a_leaky_relu_takes_the_positive_part_with_the_truncation(at):
    truncation, relu, *_ = ROUNDS[at]
    found = rounds_of(at, lambda z, x: functions.leaky_relu(z, 0.5).share)
    assert found == {relu + truncation}


@each_protocol
def test_what_was_under_way_when_a_session_failed_says_so_when_it_is_asked_for(at):
    def program(party):
        p = at.make(party)
        product = pending_product(multiply, *[constant(p, np.ones((2, 3)))] * 2)
        party.close("a test")
        with pytest.raises(PeerError, match="a test"):
            product.share  # noqa: B018
        assert product.shape == (2, 3) and "shape=(2, 3)" in repr(product)
        with pytest.raises(PeerError, match="lost with the session"):
            product.share  # noqa: B018

    at.run(program)


def test_shapes_that_do_not_fit_are_refused():
    x, row = (constant(Clear(), np.ones(shape)) for shape in ((2, 3), (4,)))
    with pytest.raises(ShapeMismatch):
        pending_product(multiply, x, row)
    with pytest.raises(ShapeMismatch):
        pending_product(multiply, x, x) + row
