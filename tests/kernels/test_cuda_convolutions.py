"""Convolutions and their gradients as a card does them, against their definitions."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import reference
from kernels.conv import Geometry
from kernels.cuda import convolutions, products, windows, words
from kernels.cuda.convolutions import FORWARD, INPUT_GRAD, WEIGHT_GRAD
from kernels.cuda.operand import alike, steps_of
from kernels.cuda.phases import phases
from tests.kernels import emulator
from tests.kernels.drawing import LAYOUTS, RING, SEEDS, Words, crossed, some
from tests.kernels.emulator import GPU
from tests.kernels.test_convolutions import cases, operands


def by_windows(gpu, out, target, a, b):
    """As far as it goes: groups are a batch, of which it makes one product at a time."""
    batch = len(target.offsets)
    offsets = (s.offsets * (batch // len(s.offsets)) for s in (a, b))
    for to, x, y in zip(target.offsets, *offsets, strict=True):
        one = replace(target, offsets=(to,))
        windows.product(gpu, out, one, replace(a, offsets=(x,)), replace(b, offsets=(y,)))


WAYS = {"words": words.product, "digits": products.product, "windows": by_windows}


def maps(case):
    """Each kind, its definition, and which two of (x, weight, grad) it takes."""
    geometry, spatial, kernel, _ = case
    return (
        (FORWARD, lambda x, w: reference.conv(geometry, x, w), (0, 1)),
        (INPUT_GRAD, lambda g, w: reference.conv_input_grad(geometry, spatial, g, w), (2, 1)),
        (WEIGHT_GRAD, lambda x, g: reference.conv_weight_grad(geometry, kernel, x, g), (0, 2)),
    )


@pytest.fixture(scope="module", params=WAYS)
def way(request):
    """What carries products out, whatever would be chosen."""
    if request.param == "windows" and emulator.ON_A_CARD and not GPU.hopper:
        pytest.skip("these units are Hopper's alone")
    return WAYS[request.param]


def check(way, draw, case, first, second):
    """All kinds, of one product and of a replicated one; `second` may be laid out otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "choose", lambda *_: way)
        check_chosen(draw, case, first, second)


def check_chosen(draw, case, first, second):
    g = case[0]
    walk = g.stride, g.padding, g.dilation, g.groups
    for kind, definition, (a, b) in maps(case):
        out = draw(*definition(first[a], first[b]).shape)
        expected = out + definition(first[a], first[b])
        convolutions.conv_add(GPU, kind, *walk, out, first[a], first[b])
        assert np.array_equal(out, expected), kind

        terms = first[a], second[a], first[b], second[b]
        expected = crossed(definition, out, *terms)
        convolutions.conv_cross(GPU, kind, *walk, out, *terms)
        assert np.array_equal(out, expected), kind


@pytest.mark.parametrize("dtype", RING)
@settings(some, max_examples=12)
@given(case=cases(), seed=SEEDS, layout=LAYOUTS, both=st.booleans())
def test_all_kinds_agree_with_their_definitions(way, dtype, case, seed, layout, both):
    draw = Words(seed, dtype)
    first = operands(draw, case, layout)
    check(way, draw, case, first, operands(draw, case, layout if both else "plain"))


PLAIN = Geometry((1, 1), (1, 1), (1, 1))
LARGE = {
    "depth 2304": (PLAIN, (3, 3), (3, 3), (1, 256, 17)),
    "depth 4608": (PLAIN, (2, 3), (3, 3), (1, 512, 9)),
    "depth 9216": (PLAIN, (1, 2), (3, 3), (1, 1024, 2)),
    "depth 32768": (PLAIN, (2, 2), (4, 4), (1, 2048, 2)),
    "gradient's depth 9216": (PLAIN, (1, 2), (3, 3), (1, 2, 1024)),
    "many places": (PLAIN, (30, 21), (3, 3), (2, 3, 5)),
    "stem": (Geometry((2, 2), (3, 3), (1, 1)), (15, 14), (7, 7), (2, 3, 9)),
    "depthwise": (Geometry((1, 1), (1, 1), (1, 1), 30), (6, 6), (3, 3), (2, 1, 1)),
    "pointwise": (Geometry((1, 1), (0, 0), (1, 1)), (9, 9), (1, 1), (1, 40, 70)),
    "volume": (Geometry((2, 1, 2), (1, 1, 1), (1, 1, 1)), (5, 6, 7), (3, 3, 3), (2, 8, 9)),
}


@pytest.mark.parametrize("case", LARGE.values(), ids=LARGE)
def test_all_kinds_are_exact_where_sums_are_long_and_tiles_meet(way, case):
    if way is by_windows and case[0].groups > 1:
        pytest.skip("a batch is not made so")
    draw = Words(3)
    check(way, draw, case, operands(draw, case), operands(draw, case))


DIM = st.tuples(*(st.integers(low, 7) for low in (1, 1, 1, 0, 1)))  # as `phases` takes them


@some
@given(st.lists(DIM, min_size=1, max_size=2))
def test_phases_have_each_product_of_a_strided_gradient_once_and_no_zeros(dims):
    sizes, kernel, stride, padding, dilation = zip(*dims, strict=True)
    met = np.zeros((*sizes, *kernel), int)
    for phase in phases(sizes, kernel, stride, padding, dilation):
        met[(*phase.places, *phase.taps)] += 1
        for d, (place, tap) in enumerate(zip(phase.places, phase.taps, strict=True)):
            for u, t in enumerate(range(sizes[d])[place]):
                for j, k in enumerate(range(kernel[d])[tap]):
                    position, rest = divmod(t + padding[d] - dilation[d] * k, stride[d])
                    assert rest == 0 and position == u + phase.padding[d] - phase.dilation[d] * j
    places, taps = np.indices(sizes), np.indices(kernel)
    expected = np.ones_like(met)
    for d in range(len(dims)):
        at = places[d].reshape(*sizes, *[1] * len(kernel))
        expected *= (at + padding[d] - dilation[d] * taps[d]) % stride[d] == 0
    assert np.array_equal(met, expected)


def test_terms_laid_out_alike_are_read_where_they_lie():
    draw = Words(4)
    for layout in ("plain", "transposed", "strided"):
        x, y = draw(4, 3, 3, layout=layout), draw(4, 3, 3, layout=layout)
        one, other = alike(np, x, y)
        assert one is x and other is y
    for x, y in (
        (draw(4, 3, 3, layout="reversed"), draw(4, 3, 3, layout="reversed")),
        (draw(4, 3, 3), draw(4, 3, 3, layout="strided")),
        (np.broadcast_to(draw(1, 3, 3), (4, 3, 3)), draw(4, 3, 3)),
    ):
        one, other = alike(np, x, y)
        assert steps_of(one) == steps_of(other) and min(steps_of(one)) >= 0
        assert np.array_equal(one, x) and np.array_equal(other, y)
    repeated = np.broadcast_to(draw(1, 3)[..., ::-1], (4, 3))
    (copied,) = alike(np, repeated)
    assert steps_of(copied) == (0, 1) and np.array_equal(copied, repeated)


@pytest.mark.parametrize(
    "m, n, depth, way",
    [
        (15, 9999, 9999, words.product),
        (9999, 9999, 31, words.product),
        (64, 64, 64, words.product),
        (128, 64, 576, words.product),
        (1024, 64, 4608, products.product),
    ],
)
def test_thin_and_small_products_are_made_word_by_word(m, n, depth, way):
    assert products.choose(m, n, depth) is products.choose(n, m, depth) is way
