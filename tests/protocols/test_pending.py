"""A product is truncated once, when it is known what is added to it and what follows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.ring import multiply
from mpc.errors import PeerError, ShapeMismatch
from mpc.launch import run_parties
from protocols import functions
from protocols.clear import Clear
from protocols.rep3 import Rep3Protocol
from protocols.secret import Rectified, SecretArray, constant, pending_product
from tests.protocols.words import SEEDS, ULP, computed, reals, some

protocols = pytest.mark.parametrize("protocol", ["clear", "rep3"])
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


def test_it_is_truncated_once():
    def program(party):
        p, counts = Rep3Protocol(party), []
        x = SecretArray(p, p.constant(np.arange(64, dtype=np.uint64) << np.uint64(16)))
        product = pending_product(multiply, x, x)
        for use in (lambda v: v.shape, lambda v: -v + x, lambda v: v.share, lambda v: v + x):
            before = party.meter.total.rounds
            use(product)
            counts.append(party.meter.total.rounds - before)
        return counts

    assert set(map(tuple, run_parties(3, program))) == {(0, 0, 2, 0)}


def rounds_of(function):
    """Rounds of a function of a product, at each party."""

    def program(party):
        p = Rep3Protocol(party)
        x = SecretArray(p, p.constant(np.arange(64, dtype=np.uint64) << np.uint64(16)))
        product, before = pending_product(multiply, x, x), party.meter.total.rounds
        function(product, x)
        return party.meter.total.rounds - before

    return set(run_parties(3, program))


def test_a_known_sign_is_used_again_and_a_shortcut_may_stand_on_the_left():
    assert rounds_of(lambda z, x: functions.relu(x + z)) == {7}
    assert rounds_of(lambda z, x: functions.relu(Rectified(x) - z)) == {7 + 7}
    assert rounds_of(lambda z, x: (z.positive(), z.share)) == {2 + 6}
    assert rounds_of(lambda z, x: (z.positive(), functions.relu(z))) == {2 + 6 + 2}
    assert rounds_of(lambda z, x: (functions.relu(z), z.positive(), z.share)) == {7}


@pytest.mark.parametrize(
    "function, rounds",
    [
        (lambda z: functions.clamp(z, -1, 1), 2 + 7),
        (functions.absolute, 2 + 7),
        (lambda z: functions.minimum(z, z), 2 + 7),
        (functions.sign, 2 + 8),
        (functions.sigmoid, 2 + 16),
        (functions.exp, 2 + 20),
        (lambda z: functions.leaky_relu(z, 0.5), 7 + 2),
    ],
)
def test_a_function_that_needs_the_value_several_times_truncates_it_once(function, rounds):
    assert rounds_of(lambda z, x: function(z).share) == {rounds}


def test_what_was_under_way_when_a_session_failed_says_so_when_it_is_asked_for():
    def program(party):
        p = Rep3Protocol(party)
        product = pending_product(multiply, *[constant(p, np.ones((2, 3)))] * 2)
        party.close("a test")
        with pytest.raises(PeerError, match="a test"):
            product.share  # noqa: B018
        assert product.shape == (2, 3) and "shape=(2, 3)" in repr(product)
        with pytest.raises(PeerError, match="lost with the session"):
            product.share  # noqa: B018

    run_parties(3, program)


def test_shapes_that_do_not_fit_are_refused():
    x, row = (constant(Clear(), np.ones(shape)) for shape in ((2, 3), (4,)))
    with pytest.raises(ShapeMismatch):
        pending_product(multiply, x, row)
    with pytest.raises(ShapeMismatch):
        pending_product(multiply, x, x) + row
