"""Convolutions and their gradients against their definitions, and those against PyTorch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels import reference
from kernels.conv import Geometry, conv, conv_input_grad, conv_weight_grad
from tests.kernels.drawing import LAYOUTS, RING, SEEDS, Words, crossed, some


@st.composite
def cases(draw):
    """A geometry, spatial shapes of input and kernel, and images, inputs and outputs a group."""
    dims = draw(st.integers(1, 3))
    side = 12 if dims < 3 else 7

    def sizes(low, high):
        return tuple(draw(st.lists(st.integers(low, high), min_size=dims, max_size=dims)))

    geometry = Geometry(sizes(1, 3), sizes(0, 3), sizes(1, 2), draw(st.integers(1, 3)))
    kernel = sizes(1, 3)
    spatial = tuple(
        max(s, d * (k - 1) + 1 - 2 * p)
        for s, d, k, p in zip(
            sizes(1, side), geometry.dilation, kernel, geometry.padding, strict=True
        )
    )
    counts = draw(st.integers(0, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 11))
    return geometry, spatial, kernel, counts


def operands(words, case, layout="plain"):
    geometry, spatial, kernel, (n, c, o) = case
    x = words(n, c * geometry.groups, *spatial, layout=layout)
    weight = words(o * geometry.groups, c, *kernel, layout=layout)
    grad = words(n, len(weight), *geometry.reach(spatial, kernel), layout=layout)
    return x, weight, grad


def three_maps(case):
    """Each map with its definition, and which two of (x, weight, grad) it takes."""
    geometry, spatial, kernel, _ = case
    return (
        (conv(geometry), lambda x, w: reference.conv(geometry, x, w), (0, 1)),
        (
            conv_input_grad(geometry, spatial),
            lambda g, w: reference.conv_input_grad(geometry, spatial, g, w),
            (2, 1),
        ),
        (
            conv_weight_grad(geometry, kernel),
            lambda x, g: reference.conv_weight_grad(geometry, kernel, x, g),
            (0, 2),
        ),
    )


@pytest.mark.parametrize("dtype", RING)
@some
@given(case=cases(), seed=SEEDS, layout=LAYOUTS)
def test_all_three_maps_agree_with_their_definitions(machine, dtype, case, seed, layout):
    words = Words(seed, dtype)
    first, second = operands(words, case, layout), operands(words, case)
    for f, definition, (a, b) in three_maps(case):
        expected = definition(first[a], first[b])
        assert np.array_equal(f(first[a], first[b]), expected), f.name

        out = words(*expected.shape)
        terms = first[a], second[a], first[b], second[b]
        expected = crossed(definition, out, *terms)
        f.cross_to(out, *terms)
        assert np.array_equal(out, expected), f.name


LARGE = [
    (Geometry((1, 1), (1, 1), (1, 1)), (30, 31), (3, 3), (5, 20, 33)),
    (Geometry((2, 2), (3, 3), (1, 1)), (65, 64), (7, 7), (3, 3, 20)),
    (Geometry((1, 1), (1, 1), (1, 1)), (150, 150), (3, 3), (1, 5, 9)),
    (Geometry((1, 1), (0, 0), (1, 1)), (17, 300), (1, 1), (2, 30, 40)),
    (Geometry((1, 1), (1, 1), (1, 1)), (2, 2), (3, 3), (1, 300, 41)),
    (Geometry((1, 1), (1, 1), (1, 1), 2), (3, 4), (3, 3), (1, 130, 39)),
    (Geometry((1, 1), (1, 1), (1, 1), 30), (20, 20), (3, 3), (2, 1, 1)),
    (Geometry((2, 1, 2), (1, 1, 1), (1, 1, 1)), (20, 21, 22), (3, 3, 3), (2, 8, 9)),
]


@pytest.mark.parametrize("case", LARGE, ids=lambda case: str(case[0]) or "plain")
def test_the_maps_are_exact_where_several_tiles_and_threads_meet(machine, case):
    arrays = operands(Words(3), case)
    for f, definition, (a, b) in three_maps(case):
        assert np.array_equal(f(arrays[a], arrays[b]), definition(arrays[a], arrays[b])), f.name


@some
@given(case=cases(), seed=SEEDS)
def test_the_definitions_are_pytorchs(case, seed):
    geometry, spatial, kernel, (n, _, _) = case
    if n == 0:
        return
    # Signs and sizes small enough for float64 to be exact.
    x, weight, grad = (
        (a % np.uint64(15)).astype(np.int64) - 7 for a in operands(Words(seed), case)
    )
    tx, tw = (torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in (x, weight))
    f = (torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d)
    y = f[geometry.dims - 1](
        tx, tw, None, geometry.stride, geometry.padding, geometry.dilation, geometry.groups
    )
    gx, gw = torch.autograd.grad(y, (tx, tw), torch.tensor(grad, dtype=torch.float64))

    rx, rw, rg = (a.view(np.uint64) for a in (x, weight, grad))
    for ours, theirs in (
        (reference.conv(geometry, rx, rw), y),
        (reference.conv_input_grad(geometry, spatial, rg, rw), gx),
        (reference.conv_weight_grad(geometry, kernel, rx, rg), gw),
    ):
        assert np.array_equal(ours.view(np.int64), theirs.detach().numpy().astype(np.int64))


def test_a_transposed_convolution_is_the_gradient_of_the_input():
    geometry = Geometry((2, 2), (1, 1), (1, 1))
    words = Words(4)
    x, weight = (words(*s) % np.uint64(9) for s in ((2, 3, 5, 5), (3, 4, 3, 3)))
    y = conv_input_grad(geometry, (10, 10))(x, weight)
    expected = torch.nn.functional.conv_transpose2d(
        torch.tensor(x.astype(float)),
        torch.tensor(weight.astype(float)),
        stride=2,
        padding=1,
        output_padding=1,
    )
    assert np.array_equal(y, expected.numpy().astype(np.uint64))


def test_a_map_says_its_parameters_in_its_name_and_is_made_once():
    geometry = Geometry((2, 2), (1, 0), (1, 1), 4)
    assert conv(geometry).name == "conv2d stride=2 padding=1x0 groups=4"
    assert conv_input_grad(geometry, (8, 9)).name == (
        "conv2d_input_grad 8x9 stride=2 padding=1x0 groups=4"
    )
    assert conv_weight_grad(Geometry((1,), (0,), (1,)), (3,)).name == "conv1d_weight_grad 3"
    assert conv(geometry) is conv(Geometry((2, 2), (1, 0), (1, 1), 4))


@pytest.mark.parametrize(
    "x, weight, message",
    [
        ((2, 3, 8), (4, 3, 3, 3), "input needs 4 dimensions"),
        ((2, 3, 8, 8), (4, 3, 3), "weight needs 4 dimensions"),
        ((2, 3, 8, 8), (4, 2, 3, 3), "does not fit 3 channels"),
        ((2, 3, 2, 2), (4, 3, 3, 3), "does not fit input"),
        ((2, 3, 8, 8), (4, 3, 0, 3), "does not fit input"),
    ],
)
def test_shapes_that_do_not_fit_raise(x, weight, message):
    words = Words(0)
    with pytest.raises(ValueError, match=message):
        conv(Geometry((1, 1), (0, 0), (1, 1)))(words(*x), words(*weight))


def test_gradients_of_another_shape_raise():
    geometry, words = Geometry((1, 1), (0, 0), (1, 1)), Words(0)
    x, weight, grad = words(2, 3, 8, 8), words(4, 3, 3, 3), words(2, 4, 6, 5)
    with pytest.raises(ValueError, match=r"grad_out has shape \(2, 4, 6, 5\), expected"):
        conv_input_grad(geometry, (8, 8))(grad, weight)
    with pytest.raises(ValueError, match="grad_out has shape"):
        conv_weight_grad(geometry, (3, 3))(x, grad)


@pytest.mark.parametrize(
    "stride, padding, dilation, groups",
    [
        ((1,), (0, 0), (1,), 1),
        ((0,), (0,), (1,), 1),
        ((1,), (-1,), (1,), 1),
        ((1,), (0,), (0,), 1),
        ((1,), (0,), (1,), 0),
        ((), (), (), 1),
        ((1,) * 4, (0,) * 4, (1,) * 4, 1),
    ],
)
def test_a_geometry_that_makes_no_sense_raises(stride, padding, dilation, groups):
    with pytest.raises(ValueError, match=r"dimensions|start at 1"):
        Geometry(stride, padding, dilation, groups)
