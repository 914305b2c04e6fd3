"""Matrix products and convolutions are rounded once for each result, and so are their gradients.

A bias is added, and its gradient summed, without any rounding.
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from mpc.errors import NotOffered
from tests.nn.both import PROTOCOLS, RELATIVE, SEEDS, ULP, check, reals, secretly, some

ONCE = ULP
protocols = pytest.mark.parametrize("protocol", PROTOCOLS)


@protocols
@some
@given(seed=SEEDS, sizes=st.tuples(*[st.integers(1, 9)] * 3), lead=st.sampled_from([(), (3,)]))
def test_linear_layers_agree(protocol, seed, sizes, lead):
    n, i, o = sizes
    x, w, b = reals(seed, *lead, n, i), reals(seed + 1, o, i), reals(seed + 2, o)
    check(protocol, F.linear, x, w, b, value=ONCE, grads=[ONCE, ONCE, 0])
    check(protocol, F.linear, x, w, value=ONCE, grads=[ONCE, ONCE])


@protocols
@some
@given(
    seed=SEEDS,
    shapes=st.sampled_from(
        [
            ((3, 4), (4, 2)),
            ((5, 3, 4), (5, 4, 2)),
            ((2, 5, 3, 4), (4, 2)),
            ((3, 4), (4,)),
            ((4,), (4,)),
            ((1, 1), (1, 7)),
        ]
    ),
)
def test_matrix_products_agree_in_every_form(protocol, seed, shapes):
    x, y = (reals(seed + i, *shape) for i, shape in enumerate(shapes))
    check(protocol, torch.matmul, x, y, value=ONCE, grads=[ONCE, ONCE])


@st.composite
def geometries(draw):
    dims = draw(st.integers(1, 3))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    groups = draw(st.sampled_from([1, 1, 2, 3]))
    setting = {"stride": each(1, 3), "padding": each(0, 2), "dilation": each(1, 2)}
    kernel = each(1, 3)
    size = tuple(
        max(1, d * (k - 1) + 1 + draw(st.integers(0, 3)) - 2 * p * draw(st.integers(0, 1)))
        for d, k, p in zip(setting["dilation"], kernel, setting["padding"], strict=True)
    )
    channels = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    return dims, groups, setting, kernel, size, channels, draw(st.integers(1, 2))


@protocols
@some
@given(seed=SEEDS, drawn=geometries(), bias=st.booleans())
def test_convolutions_agree_in_every_geometry(protocol, seed, drawn, bias):
    dims, groups, setting, kernel, size, (ins, outs), n = drawn
    conv = (F.conv1d, F.conv2d, F.conv3d)[dims - 1]
    x, w = reals(seed, n, ins, *size), reals(seed + 1, outs, ins // groups, *kernel)

    def f(x, w, b=None):
        return conv(x, w, b, groups=groups, **setting)

    if bias:
        b = reals(seed + 2, outs)
        check(protocol, f, x, w, b, value=ONCE, grads=[ONCE, ONCE, 0])
    else:
        check(protocol, f, x, w, value=ONCE, grads=[ONCE, ONCE])


@protocols
@some
@given(seed=SEEDS, drawn=geometries(), bias=st.booleans(), extra=st.integers(0, 1))
def test_transposed_convolutions_agree_in_every_geometry(protocol, seed, drawn, bias, extra):
    dims, groups, setting, kernel, size, (ins, outs), n = drawn
    conv = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[dims - 1]
    extra = min(extra, min(*setting["stride"], *setting["dilation"], 9) - 1)
    setting["padding"] = tuple(
        min(p, (d * (k - 1)) // 2) for p, d, k in zip(*_three(setting, kernel), strict=True)
    )
    x, w = reals(seed, n, ins, *size), reals(seed + 1, ins, outs // groups, *kernel)

    def f(x, w, b=None):
        return conv(x, w, b, groups=groups, output_padding=extra, **setting)

    if bias:
        b = reals(seed + 2, outs)
        check(protocol, f, x, w, b, value=ONCE, grads=[ONCE, ONCE, 0])
    else:
        check(protocol, f, x, w, value=ONCE, grads=[ONCE, ONCE])


def _three(setting, kernel):
    return setting["padding"], setting["dilation"], kernel


@protocols
@pytest.mark.parametrize("which", ["x", "w"])
def test_either_operand_of_a_convolution_may_be_public(protocol, which):
    x, w = reals(1, 2, 3, 6, 6), reals(2, 4, 3, 3, 3)
    public, secret = (x, w) if which == "x" else (w, x)

    def f(secret):
        known = public.to(secret.dtype)
        return F.conv2d(known, secret) if which == "x" else F.conv2d(secret, known)

    # Each public factor is off by half of 2^-16 of the largest, which is below 4: 2^-15 for each of
    # 27 terms below 4.
    bound = 27 * 4 * 2 * RELATIVE + ULP
    many = 2 * 16 if which == "x" else 36  # products in each gradient, with weights below 1
    check(protocol, f, secret, value=bound, grads=[many * 2 * RELATIVE + ULP])


@protocols
@some
@given(seed=SEEDS, alpha=st.sampled_from([1, 0.5, -2]), beta=st.sampled_from([1, 0, 0.5]))
def test_scaled_sums_of_products_agree(protocol, seed, alpha, beta):
    b, x, y = reals(seed, 3, 2), reals(seed + 1, 3, 4), reals(seed + 2, 4, 2)

    def f(b, x, y):
        return torch.addmm(b, x, y, beta=beta, alpha=alpha)

    # Rounded: the product, times |alpha| <= 2, and each product with a public number that is not
    # whole.
    check(protocol, f, b, x, y, value=4 * ULP, grads=[2 * ULP, 4 * ULP, 4 * ULP])


@protocols
@pytest.mark.parametrize("dim", [None, 0, (0, 2), -1])
@pytest.mark.parametrize("keepdim", [False, True])
def test_norms_agree_over_any_axes(protocol, dim, keepdim):
    x = reals(3, 3, 4, 5)

    def f(x):
        return torch.linalg.vector_norm(x, dim=dim, keepdim=keepdim)

    def bound(plain, _):
        # The square is off by one ulp, which its root r turns into at most ulp / r; the root adds
        # 2^-13·r and 2^-16.
        return ULP / plain.value + 2.0**-13 * plain.value + ULP

    check(protocol, f, x, value=bound)


def test_other_norms_are_refused_by_name():
    with pytest.raises(NotOffered, match="order 1"):
        secretly("clear", lambda x: torch.linalg.vector_norm(x, 1), reals(1, 3))


@protocols
@some
@given(
    seed=SEEDS,
    dims=st.integers(1, 3),
    corners=st.booleans(),
    scale=st.sampled_from([1.5, 2.0, 3.0, 0.5]),
)
def test_linear_upsampling_agrees(protocol, seed, dims, corners, scale):
    mode = ("linear", "bilinear", "trilinear")[dims - 1]
    x = reals(seed, 2, 1, *(4, 3, 2)[:dims])

    def f(x):
        return F.interpolate(x, scale_factor=scale, mode=mode, align_corners=corners)

    # Along each axis one rounding, and weights that are off by 2^-17: two for each result, and for
    # a gradient as many as there are samples (at most 12 along an axis), times numbers below 4
    # (gradients: below 12 after an axis).
    value = dims * (ULP + 2 * 4 * RELATIVE)
    samples = int(np.ceil(4 * scale)) + 1
    sums = max(1.0, 2 * scale) ** dims
    check(protocol, f, x, value=value, grads=[dims * sums * (ULP + samples * RELATIVE)])


@protocols
@some
@given(seed=SEEDS, dims=st.integers(1, 3), factor=st.integers(1, 3))
def test_nearest_upsampling_is_exact(protocol, seed, dims, factor):
    x = reals(seed, 2, 3, *(4, 3, 2)[:dims])
    check(protocol, lambda x: F.interpolate(x, scale_factor=factor), x, grads=[0])
