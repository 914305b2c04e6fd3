"""Element-wise steps as a card does them, on the emulator, through the functions that all use."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

from kernels import reference, ring
from kernels.bits import words
from kernels.cuda.elementwise import merged
from kernels.machines import on_host
from tests.kernels.drawing import LAYOUTS, RING, SEEDS, Words, crossed, some
from tests.kernels.oncard import OnCard, on_card

SIZES = st.sampled_from([0, 1, 63, 64, 65, 1000])
PAIRS = mutually_broadcastable_shapes(num_shapes=2, max_dims=4, min_side=0, max_side=6)


@pytest.mark.parametrize("dtype", RING)
@some
@given(shapes=PAIRS, seed=SEEDS, layout=LAYOUTS)
def test_multiply_broadcasts_as_numpy_does(dtype, shapes, seed, layout):
    draw = Words(seed, dtype)
    (a, b), z = shapes.input_shapes, shapes.result_shape
    x0, x1, y0, y1 = draw(*a, layout=layout), draw(*a), draw(*b), draw(*b, layout=layout)
    x, y = ring.multiply(on_card(x0), on_card(y0)), reference.multiply(x0, y0)
    assert type(x) is OnCard and np.array_equal(on_host(x), y)
    out = draw(*z)
    expected, there = crossed(reference.multiply, out, x0, x1, y0, y1), on_card(out.copy())
    ring.multiply.cross_to(there, *map(on_card, (x0, x1, y0, y1)))
    assert np.array_equal(on_host(there), expected)


def test_more_dimensions_than_a_kernel_has_are_copied_together():
    x = Words(1)(*(3, 2) * 4)[::2, :, ::2, :, ::2, :, ::2, :].transpose(*range(7, -1, -1))
    assert len(merged(x.shape, x.strides, x.strides, x.itemsize)) == 8
    assert np.array_equal(on_host(ring.multiply(on_card(x), on_card(x))), x * x)


@some
@given(n=SIZES, seed=SEEDS, fraction=st.integers(1, 62), narrow=st.sampled_from([1, 2, 4, 8]))
def test_truncation_and_selection_are_what_the_reference_says(n, seed, fraction, narrow):
    draw = Words(seed)
    c, rho, mu, w = (draw(n) for _ in range(4))
    one = ring.truncation_public(*map(on_card, (c, rho, mu)), fraction)
    assert np.array_equal(on_host(one), reference.truncation_public(c, rho, mu, fraction))
    few = Words(seed, f"u{narrow}")(n)
    other = ring.truncation_private(on_card(c), on_card(rho), on_card(few), fraction)
    assert np.array_equal(on_host(other), reference.truncation_private(c, rho, few, fraction))
    plane = draw(words(n))
    chosen = ring.select_term(*map(on_card, (plane, c, rho, mu, w)))
    assert np.array_equal(on_host(chosen), reference.select_term(plane, c, rho, mu, w))


def test_arrays_of_two_memories_are_refused():
    x = Words(0)(4)
    with pytest.raises(TypeError, match="must lie in one memory"):
        ring.multiply(on_card(x), x)
    with pytest.raises(TypeError, match=r"kernels take numpy.ndarray"):
        ring.multiply(memoryview(x), x)
