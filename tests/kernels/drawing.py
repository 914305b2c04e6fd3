"""How tests of kernels draw arrays: from a seed, so that shapes are shrunk and not words."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

RING = (np.uint64, np.uint32)
SEEDS = st.integers(0, 2**32 - 1)
LAYOUTS = st.sampled_from(["plain", "transposed", "strided", "reversed"])

some = settings(deadline=None, max_examples=25)


class Words:
    """Uniform ring elements, in one of several layouts of memory."""

    def __init__(self, seed, dtype=np.uint64):
        self.rng = np.random.default_rng(seed)
        self.dtype = np.dtype(dtype)

    def __call__(self, *shape, layout="plain"):
        if layout == "transposed":
            return self._draw(*shape[::-1]).transpose()
        if layout == "strided":
            return self._draw(*shape, 2)[..., 1]
        if layout == "reversed" and shape:
            return self._draw(*shape)[..., ::-1]
        return self._draw(*shape)

    def _draw(self, *shape):
        most = 2 ** (8 * self.dtype.itemsize)
        return np.asarray(self.rng.integers(0, most, shape, dtype=self.dtype))


def crossed(f, out, x0, x1, y0, y1):
    """What `cross_to` must leave in `out`, by the plain map f."""
    return out + f(x0, y0 + y1) + f(x1, y0)


def largest_digits(*shape):
    """Words mod 2^64 whose balanced digits of 8 bits are all -128."""
    return np.full(shape, np.uint64(sum(-128 * 256**i for i in range(8)) % 2**64))
