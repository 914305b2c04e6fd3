"""A map is known by its name: who is told the name alone computes the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.gemm import matmul
from kernels.named import named
from kernels.ring import multiply, summed_products
from tests.kernels.drawing import SEEDS, Words, some
from tests.kernels.test_convolutions import cases, operands, three_maps


@pytest.mark.parametrize("f", [multiply, matmul, summed_products], ids=lambda f: f.name)
def test_a_plain_map_is_found_by_its_name(f):
    assert named(f.name) is f


@some
@given(case=cases(), seed=SEEDS)
def test_a_convolution_is_found_by_its_name_with_all_its_parameters(case, seed):
    arrays = operands(Words(seed), case)
    for f, _, (a, b) in three_maps(case):
        found = named(f.name)
        assert found.name == f.name
        assert found.shape(arrays[a].shape, arrays[b].shape) == f.shape(
            arrays[a].shape, arrays[b].shape
        )
        assert np.array_equal(found(arrays[a], arrays[b]), f(arrays[a], arrays[b]))


PIECES = ["conv", "2", "d", "4", "_input_grad", " ", "3x3", " stride=", "0", "2x2x2", " padding=1"]
PIECES += [" dilation=", " groups=", "1", "matmul", "\n", "x", "-1"]


@given(st.lists(st.sampled_from(PIECES), max_size=9).map("".join))
def test_any_other_name_is_refused_with_a_value_error(name):
    try:
        found = named(name)
    except ValueError:
        return
    assert named(found.name).name == found.name  # one of the names that a map may be given


@pytest.mark.parametrize(
    "name",
    [
        *("", "os.system", "conv4d", "conv2d stride=0", "conv2d stride=1x2x3", "conv2d groups=0"),
        *("matmul ", "conv2d_input_grad", "conv2d padding=-1", "conv2d stride=9999999999"),
    ],
)
def test_what_is_no_map_is_refused(name):
    with pytest.raises(ValueError, match=r"no bilinear map|a geometry has|start at 1"):
        named(name)
