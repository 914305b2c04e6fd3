"""Bit planes: 64 elements' worth of one bit in a word, so that one AND is 64 ANDs.

Planes are uint64[k, ceil(n / 64)]: bit e of word w of plane j is bit j of element 64 w + e. Padding
bits are zero.
"""

from __future__ import annotations

from kernels.array import WORD, Array, Shape, require, require_shape, require_target
from kernels.machines import machine_of, xp_of


def words(n: int) -> int:
    """How many words one plane of n elements has."""
    return -(-n // 64)


def to_planes(x: Array, k: int, first: int = 0) -> Array:
    """Bits first .. first + k - 1 of the elements of x, as planes uint64[k, words(x.size)].

    x may have any shape and is flattened. One pass.
    Raises TypeError unless x is uint64, ValueError where first + k passes 64.
    """
    require(x)
    if k < 0 or first < 0 or first + k > 64:
        raise ValueError(f"a word has no bits {first} to {first + k - 1}")
    xp = xp_of(x)
    planes: Array = xp.empty((k, words(x.size)), WORD)
    machine_of(x).to_planes(planes, xp.ascontiguousarray(x).reshape(-1), first)
    return planes


def from_planes(planes: Array, n: int) -> Array:
    """The n elements whose bit j is plane j, as uint64[n]; bits without a plane are zero.

    Raises ValueError unless planes has at most 64 rows and words(n) columns.
    """
    require(planes)
    if planes.ndim != 2 or planes.shape[0] > 64 or n < 0 or planes.shape[1] != words(n):
        raise ValueError(f"planes of {n} elements are [at most 64, {words(n)}], not {planes.shape}")
    xp = xp_of(planes)
    x: Array = xp.empty(n, WORD)
    machine_of(planes).from_planes(x, xp.ascontiguousarray(planes))
    return x


def conj_to(out: Array, a0: Array, a1: Array, b0: Array, b1: Array) -> None:
    """In place, out ^= (a0 & (b0 ^ b1)) ^ (a1 & b0): one party's term of a replicated AND.

    All uint64 of one shape. One pass. Raises TypeError for other dtypes, ValueError for shapes.
    """
    require(out, a0, a1, b0, b1)
    require_target(out)
    for name, a in (("a0", a0), ("a1", a1), ("b0", b0), ("b1", b1)):
        require_shape(name, a, out.shape)
    machine_of(out).conj_to(out, *map(xp_of(out).ascontiguousarray, (a0, a1, b0, b1)))


def carry_step(g0: Array, g1: Array, p0: Array, p1: Array, g_out: Array, p_out: Array) -> None:
    """One level of a carry tree: neighbours (generate, propagate) merged, one party's part.

    g0, g1 and p0, p1 are uint64[m, W], the two terms a party holds of each plane. With h = m // 2
    and (lo, hi) = (2i, 2i + 1), its term of `g[hi] ^ p[hi] & g[lo]` is XORed onto g_out[i], and
    its term of `p[hi] & p[lo]` onto p_out[i - 1] for i >= 1: the lowest pair needs no propagate.
    g_out is [h, W] and p_out [h - 1, W]; both come filled with masks. An odd last plane is left to
    the caller.
    One pass. Raises TypeError for other dtypes, ValueError for shapes that do not fit.
    """
    require(g0, g1, p0, p1, g_out, p_out)
    if g0.ndim != 2:
        raise ValueError(f"carry_step takes planes [m, W], not shape {g0.shape}")
    h, width = g0.shape[0] // 2, g0.shape[1]
    for name, a in (("g1", g1), ("p0", p0), ("p1", p1)):
        require_shape(name, a, g0.shape)
    require_shape("g_out", g_out, (h, width))
    require_shape("p_out", p_out, (max(h - 1, 0), width))
    require_target(g_out)
    require_target(p_out)
    terms = map(xp_of(g_out).ascontiguousarray, (g0, g1, p0, p1))
    machine_of(g_out).carry_step(g_out, p_out, *terms)


BLOCK = 4  # bits of a carry block


def product_words(bits: int, n: int) -> int:
    """How many words `block_products` of n elements takes."""
    _require_carry(bits)
    rows = ((1 << BLOCK) - 1) * (bits // BLOCK) + (1 << bits % BLOCK) - 1
    return rows * words(n)


def block_products(out: Array, top: Array, x: Array, bits: int) -> None:
    """In place, out and top ^= what one addend brings to the carries out of its blocks of bits.

    That is, for each block of four of the low `bits` bits (the highest may be short), the product
    of every non-empty subset of the block, in the order of their binary numbers; and in top bit
    `bits` itself. Both come filled with masks.
    x is uint64[n], out uint64[product_words(bits, n)], top uint64[1, W], W = words(n). `out` holds
    the rows of words 0 to 7 of the planes, then those of words 8 to 15, and so on. One pass.
    Raises TypeError for other dtypes, ValueError for shapes and bits that do not fit.
    """
    require(out, top, x)
    _require_target("out", out, (product_words(bits, x.size),))
    _require_target("top", top, (1, words(x.size)))
    flat = xp_of(x).ascontiguousarray(x).reshape(-1)
    machine_of(out).block_products(out, top, flat, bits)


def block_carries(
    g: Array, p: Array, top: Array, shared: Array, x: Array, bits: int, *, whole: bool
) -> None:
    """In place, g, p and top ^= one holder's part of the carries of t + x, block by block.

    `shared` is an XOR share of `block_products` of t; x is the other addend, which whoever holds a
    share knows. g[b] gets a share of the carry out of block b when none comes in, p[b - 1] of
    whether one that comes in passes through, and top gets bit `bits` of x. The shares of g and p
    add up over the holders of `shared`, of whom exactly one says `whole`.
    With B blocks, g is uint64[B, W], p [B - 1, W], top [1, W], x uint64[n], W = words(n). One pass.
    Raises TypeError for other dtypes, ValueError for shapes and bits that do not fit.
    """
    require(g, p, top, shared, x)
    require_shape("shared", shared, (product_words(bits, x.size),))
    blocks, width = -(-bits // BLOCK), words(x.size)
    _require_target("g", g, (blocks, width))
    _require_target("p", p, (blocks - 1, width))
    _require_target("top", top, (1, width))
    line = xp_of(x).ascontiguousarray
    flat = line(x).reshape(-1)
    machine_of(g).block_carries(g, p, top, line(shared), flat, bits, whole)


def _require_carry(bits: int) -> None:
    if not 1 <= bits <= 63:
        raise ValueError(f"a carry passes 1 to 63 bits, not {bits}")


def _require_target(name: str, out: Array, shape: Shape) -> None:
    require_target(out)
    require_shape(name, out, shape)
