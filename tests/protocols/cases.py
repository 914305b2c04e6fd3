"""What tests of costs run: each case is prepared, and then alone is metered.

A case is a function of the protocol, a share of N elements and the turn; it gives what is run.
"""

import numpy as np

from kernels.ring import multiply
from protocols.functions import compare
from protocols.secret import FRACTION, SecretArray, pending_product

N = 384  # elements; halves and thirds are multiples of 64, so that no plane is padded
HALF, THIRD = (2, N // 2), (3, N // 3)


def ring():
    return np.arange(N, dtype=np.uint64)


def square(v):
    return v[:64].reshape(8, 8)


def given_by_first(p):
    """The share of N elements that the cases are functions of."""
    return p.input(ring() if p.party.rank == 0 else None, (N,), 0)


def of_share(word):
    return lambda p, x, _turn: lambda: word(p, x)


def of_bits(word):
    """A word on bits of a secret that are there already."""

    def prepared(p, x, _turn):
        bits = p.sign_bit(x)
        return lambda: word(p, bits, x)

    return prepared


def of_array(function):
    return lambda p, x, _turn: lambda: function(SecretArray(p, x, FRACTION))


def after_product(function):
    return lambda p, x, _turn: (
        lambda: function(
            pending_product(multiply, SecretArray(p, x, FRACTION), SecretArray(p, x, FRACTION))
        )
    )


def chosen(p, x, _turn):
    bits, array = SecretArray(p, x).negative(), SecretArray(p, x)
    return lambda: compare.where(bits, array, -array)


def given(p, _x, turn):
    return lambda: p.input(ring() if p.party.rank == turn else None, (N,), turn)


def opened(p, x, turn):
    return lambda: p.open(x, reason="a test", to=turn)


def tree(width):
    def prepared(p, x, _turn):
        g, q = p.generate(x, width)
        low = q.map(lambda planes: planes[: width - 1])
        return lambda: p.merge(g, low)

    return prepared


def with_planes(word, planes):
    def prepared(p, x, _turn):
        bits = p.bits(x).map(lambda v: v[:planes])
        return lambda: word(p, bits)

    return prepared


def row(shape):
    return lambda f: of_array(lambda x: f(x.reshape(*shape)))
