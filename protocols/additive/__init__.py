"""Additive sharing among two or more parties, all but one of whom may look but not lie.

x = x_0 + x_1 + … (mod 2^64) and party i holds x_i; bits likewise under XOR. Every step opens its
input under a mask and computes with what a source dealt of that mask (Beaver, CRYPTO 1991): a
product of the shape of its operands, a truncation, the bits of a mask, a choice. What a party sees
is uniform, whoever works together, as long as one party does not, nor the source.

What follows from one opening is taken from it: with c = x + r for a dealt r, the high bits of x are
c's less dealt ones, x's sign is the sign of a sum of c and -r, of whose bits the products are
dealt, and b·x for a bit b is public but for dealt products of b's mask with r. So a truncation and
a ReLU after a product cost one opening of 8 bytes, the bits of a carry tree and one bit (the idea
of a mask that is known before the value: ABY2.0, USENIX Security 2021; Turbospeedz, ACNS 2019).

To be read in this order: `sharing`, `products`, `choices`, `signs`; each module adds words to the
ones before.
"""

from protocols.additive.signs import Signs

__all__ = ["AdditiveProtocol"]


class AdditiveProtocol(Signs):
    """Two or more parties, any number of them corrupt but one, semi-honest."""
