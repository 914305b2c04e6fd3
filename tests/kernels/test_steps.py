"""The fused steps of truncation and selection, against their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import reference
from kernels.bits import words as words_for
from kernels.ring import select_term, truncation_private, truncation_public
from tests.kernels.drawing import LAYOUTS, SEEDS, Words, some

COUNTS = st.one_of(st.integers(0, 200), st.just(70_001))
FRACTIONS = st.integers(1, 62)


@some
@given(n=COUNTS, fraction=FRACTIONS, seed=SEEDS, layout=LAYOUTS)
def test_truncation_steps_agree_with_their_definitions(machine, n, fraction, seed, layout):
    words = Words(seed)
    c, rho, mu = words(n, layout=layout), words(n), words(n)
    assert np.array_equal(
        truncation_public(c, rho, mu, fraction), reference.truncation_public(c, rho, mu, fraction)
    )
    for dtype in (np.uint8, np.uint16, np.uint32, np.uint64):
        narrow = mu.astype(dtype)
        assert np.array_equal(
            truncation_private(c, rho, narrow, fraction),
            reference.truncation_private(c, rho, narrow, fraction),
        )


@some
@given(fraction=st.integers(1, 48), seed=SEEDS, n=st.integers(1, 100))
def test_the_two_steps_truncate_to_within_one_ulp(fraction, seed, n):
    """z >> f or one more, for |z| < 2^62 and c = z + 2^62 + r, of whose r rho and mu are shared."""
    words, f, u = Words(seed), np.uint64(fraction), np.uint64
    z = (words(n).view(np.int64) >> 2) + 1
    r = words(n)
    c = z.view(u) + (u(1) << u(62)) + r
    rho0, mu0 = words(n), words(n)
    rho1, mu1 = (r >> f) - rho0, (r >> u(63)) - mu0
    y = truncation_public(c, rho0, mu0, fraction) + truncation_private(c, rho1, mu1, fraction)
    error = y.view(np.int64) - (z >> fraction)
    assert set(error.tolist()) <= {0, 1}


@some
@given(n=COUNTS, seed=SEEDS)
def test_select_term_agrees_with_its_definition(machine, n, seed):
    words = Words(seed)
    c = words(words_for(n))
    x, x1, beta, w = (words(n) for _ in range(4))
    assert np.array_equal(select_term(c, x, x1, beta, w), reference.select_term(c, x, x1, beta, w))


def test_shapes_dtypes_and_fractions_that_do_not_fit_raise():
    words = Words(0)
    x = words(65)
    for fraction in (0, 63, -1):
        with pytest.raises(ValueError, match="drops 1 to 62 bits"):
            truncation_public(x, x, x, fraction)
    with pytest.raises(ValueError, match="rho has shape"):
        truncation_public(x, x[:3], x, 16)
    with pytest.raises(TypeError):
        truncation_private(x, x, x.astype(np.int16), 16)
    with pytest.raises(TypeError):
        truncation_public(x, x, x.astype(np.uint16), 16)
    with pytest.raises(ValueError, match="c has shape"):
        select_term(words(1), x, x, x, x)
    with pytest.raises(ValueError, match="flat"):
        select_term(words(2), *(x.reshape(5, 13),) * 4)
