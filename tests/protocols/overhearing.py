"""What a party hears of the others while words are computed, and whether it is noise.

The inputs stay as they are and the program is run again and again with fresh seeds. A bit that is
uniform is 1 in half of the runs. By Hoeffding's inequality the mean of n fair bits is off by t or
more with a chance of at most 2·exp(-2·n·t²), and the difference of two such means with at most
2·exp(-n·t²); with B bits looked at, the union bound gives the t that is passed by chance once in a
million test runs. A message that shows anything moves the mean of some bit by far more: mutants of
the protocols, which are right in every result, prove that.
"""

from math import log, sqrt

import numpy as np

from kernels.gemm import matmul
from kernels.machines import on_host
from kernels.ring import multiply

CHANCE = 1e-6
X = np.array([0, 1, 5 << 16, (-3 << 16) % 2**64], np.uint64)
Y = np.array([7, 0, (-1 << 16) % 2**64, 1 << 45], np.uint64)


class Listener:
    """A transport that keeps what its party sends and receives, step by step."""

    def __init__(self, wire):
        self.wire, self.rank, self.size, self.close = wire, wire.rank, wire.size, wire.close
        self.steps = []

    def exchange(self, step, send, receive, deadline_s):
        self.wire.exchange(step, send, receive, deadline_s)
        self.steps.append(
            tuple(
                {p: [np.array(on_host(a)) for a in arrays] for p, arrays in d.items()}
                for d in (send, receive)
            )
        )

    @property
    def heard(self):
        """All arrays that were received."""
        return [a for _, heard in self.steps for peer in sorted(heard) for a in heard[peer]]


def every_word(p, x, y, times=1):
    """Every word that sends something; gives the results. Thrice, rep3's ranks play each role."""
    results = []
    for _ in range(times):
        results += [*p.bilinear(multiply, (x, y)), p.dot(square(x), square(y))]
        results += [*p.bilinear_truncate(multiply, (x, y), fraction=16)]
        results += [*p.bilinear_truncate(matmul, (square(x), square(y)), fraction=17)]
        results += [*p.truncate(x, y, fraction=13), *p.truncate(x, fraction=40)]
        sign = p.sign_bit(x)
        results += [p.select(sign, y), p.bit_to_ring(sign)]
        positive, part = p.positive_part(x)
        results += [p.bit_to_ring(positive), part]
        (product,) = p.product(multiply, (x, y))
        total = product.map(np.add, p.summand(y))
        whole, positive, part = p.truncated_positive_part(total, fraction=16)
        results += [
            *p.truncate_summands(product, fraction=16),
            whole,
            p.bit_to_ring(positive),
            part,
        ]
        low = p.bits(y).map(lambda planes: planes[:3])
        above = p.any_above(p.conj(low, p.invert(low)))
        results += [p.bit_to_ring(above), p.bit_to_ring(p.equal_zero(y))]
    return results


def square(share):
    return share.map(lambda v: v.reshape(2, 2))


def bits_of(arrays):
    flat = np.concatenate([array.reshape(-1).view(np.uint8) for array in arrays])
    return np.unpackbits(flat)


def deviation(found, expected=0.5):
    return max(np.max(np.abs(mean - expected)) for mean in found)


def bound(found, runs, scale=2.0):
    bits = sum(map(len, found))
    return sqrt(log(2 * bits / CHANCE) / (scale * runs))
