"""Secret arrays of reals: a share, the scale it is read at, and the protocol that computes on it.

Ring elements know no scale; `SecretArray` does. An element v with `fraction` f stands for v / 2^f;
integers and bits have f = 0. Sums take the finer scale, products too. Every product of two scaled
numbers is truncated before it is multiplied again, so that no value leaves the ring: |x| must stay
below 2^(62 - 2f), 2^30 at f = 16.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic

import numpy as np
import numpy.typing as npt

from kernels.bilinear import Bilinear
from kernels.bits import from_planes, to_planes
from kernels.gemm import matmul
from kernels.machines import as_array, beside
from kernels.ring import multiply
from kernels.steady import steady
from mpc.errors import ShapeMismatch, UsageError
from mpc.ring import WORD, Array, FixedPoint, Shape
from mpc.shares import Bits, Share
from protocols.bits import BitProtocol, split, xor
from protocols.secret.factors import FORM, FRACTION, Public, significant

MANY = 1 << 14  # elements whose mean is found from their sum at once


@dataclass(frozen=True, slots=True, eq=False)
class SecretArray(Generic[Share]):
    """An array of secret numbers, with NumPy's names for what can be done with it.

    Args:
        protocol: computes.
        share: this party's part.
        fraction: fractional bits of the ring elements.
        memo: what was found out about this value on the way and may save work later. It holds
            secret values, never public ones. The keys, and who keeps what there:

            "positive", "negative": its signs (here, functions.compare, functions.folding)
            "powers": its powers to the fourth (functions.polynomial)
            "folded at … by …": it folded at 0 and cut (functions.folding)
            "gated by": of a gradient, the ReLU whose slope it has been given (nn.pooling)
            "one hot": labels as 0 and 1 in a new axis (nn.loss)
            "softmax": of its logarithm, the softmax itself (nn.activation)
            "inverse": of a variance, its inverse root (nn.normalisation)
            "scale": of such a root, its product with a weight (nn.normalisation)
            "shift": of such a product, its product with a mean (nn.normalisation)
            "folded": of such a product, its product with a layer's weights (pending)
            "standard": of such a root, the numbers that it brought to scale (nn.normalisation)
    """

    protocol: BitProtocol[Share]
    share: Share
    fraction: int = FRACTION
    memo: dict[str, Any] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        """Shape and scale; never a value."""
        return f"SecretArray(shape={self.shape}, fraction={self.fraction}, {self.protocol.name})"

    def __bool__(self) -> bool:
        """Refused: a branch would reveal the value."""
        raise UsageError("a secret cannot be tested in `if` or `while`: use where(), or open it")

    __array_ufunc__ = None  # so that ndarray + SecretArray comes to __radd__
    takes_sums: ClassVar[bool] = False  # whether what is added to it goes into it (pending)

    def settled(self) -> SecretArray[Share]:
        """The array itself; one that waits for what follows it (lazy) is computed now."""
        return self

    def steady(self) -> SecretArray[Share]:
        """The array, which will meet many others: what its products are made of may be kept.

        No step writes into shares, so this is right of any but one whose terms somebody else can
        still write to, such as tensors given to `Session.array`. It pays for what stays as it is,
        such as the weights of a model that infers. See `kernels.steady`.
        """
        steady(*self.share.terms)
        return self

    @property
    def shape(self) -> Shape:
        """Shape of the array; public."""
        return self.share.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        """Length of the first axis."""
        return self.shape[0]

    def remembered(
        self, name: str, of: object, make: Callable[[], SecretArray[Share]]
    ) -> SecretArray[Share]:
        """What was made of this array and another value; made anew when that is another one."""
        found = self.memo.get(name)
        if found is None or found[0] is not of:
            found = self.memo[name] = of, make()
        made: SecretArray[Share] = found[1]
        return made

    # Local maps: no message.

    def map(self, f: Callable[..., Array], *others: SecretArray[Share]) -> SecretArray[Share]:
        """Apply f, linear over ring elements, to every term; the scale stays."""
        parts = align(self, *others)
        share = parts[0].share.map(f, *(o.share for o in parts[1:]))
        return SecretArray(self.protocol, share, parts[0].fraction)

    def finer(self, fraction: int) -> SecretArray[Share]:
        """The same numbers with more fractional bits; exact, and local."""
        if fraction == self.fraction:
            return self
        if fraction < self.fraction:
            raise UsageError(f"{self} has {self.fraction} fractional bits: use at() for fewer")
        factor = WORD(1 << (fraction - self.fraction))
        return SecretArray(self.protocol, self.share.map(lambda v: v * factor), fraction)

    def times_power(self, k: int) -> SecretArray[Share]:
        """x·2^k, exactly: the same ring elements read with k fewer fractional bits. No message."""
        return SecretArray(self.protocol, self.share, self.fraction - k)

    def reshape(self, *shape: int) -> SecretArray[Share]:
        """Another shape for the same elements."""
        return self.map(lambda v: v.reshape(shape))

    def transpose(self, *axes: int) -> SecretArray[Share]:
        """Permute the axes; reverse them if none are given."""
        return self.map(lambda v: v.transpose(axes or None))

    def __getitem__(self, index: Any) -> SecretArray[Share]:
        """Elements by public index."""
        return self.map(lambda v: as_array(v[index]))

    def sum(
        self, axis: int | tuple[int, ...] | None = None, *, keepdims: bool = False
    ) -> SecretArray[Share]:
        """Sum over axes."""
        return self.map(lambda v: as_array(np.sum(v, axis=axis, keepdims=keepdims, dtype=WORD)))

    def mean(
        self, axis: int | tuple[int, ...] | None = None, *, keepdims: bool = False
    ) -> SecretArray[Share]:
        """Mean over axes; right while the sum over `MANY` elements or fewer is below 2^30.

        Of more it may be larger: then the sum is brought down by a power of two before the rest.
        Cost: one truncation; two over more than `MANY` elements, unless that is a power of two.
        """
        total = self.sum(axis, keepdims=keepdims)
        count = max(self.size, 1) // max(total.size, 1)
        if count <= MANY or count & (count - 1) == 0:
            return total * (1 / count)
        k = count.bit_length() - 1
        share_of_k: float = 2**k / count
        return total.times_power(-k).at(self.fraction) * share_of_k

    def broadcast_to(self, shape: Shape) -> SecretArray[Share]:
        """Repeat along new or single axes."""
        return self.map(lambda v: np.broadcast_to(v, shape))

    # Sums.

    def __neg__(self) -> SecretArray[Share]:
        """-x. No message."""
        return self.map(np.negative)

    def __add__(self, other: SecretArray[Share] | Public) -> SecretArray[Share]:
        """x + y. No message."""
        if isinstance(other, SecretArray) and other.takes_sums:
            return other + self
        x, y = align(self, self._secret(other))
        return x.map(_named(np.add, "+", x.shape, y.shape), y)

    def __sub__(self, other: SecretArray[Share] | Public) -> SecretArray[Share]:
        """x - y. No message."""
        if isinstance(other, SecretArray) and other.takes_sums:
            return -other + self
        x, y = align(self, self._secret(other))
        return x.map(_named(np.subtract, "-", x.shape, y.shape), y)

    def __rsub__(self, other: Public) -> SecretArray[Share]:
        """y - x. No message."""
        return self._secret(other) - self

    __radd__ = __add__

    def _secret(self, other: SecretArray[Share] | Public) -> SecretArray[Share]:
        if isinstance(other, SecretArray):
            return other
        return constant(self.protocol, other, self._fraction_for(other))

    def _fraction_for(self, public: Public) -> int:
        """Integers stay integers beside integers; anything else gets a scale."""
        whole = np.issubdtype(np.asarray(public).dtype, np.integer)
        return self.fraction if self.fraction or whole else FRACTION

    # Products.

    def __mul__(self, other: SecretArray[Share] | Public) -> SecretArray[Share]:
        """x·y, element by element.

        Cost: between secrets 2 rounds (1 if either is an integer); with a public number one
        truncation, or nothing when the number is an integer. Error: one ulp, and 2^-16 of the
        result for a public factor (of an array's largest; 2^-9 of its own at the least, for which
        an array of very unequal factors costs another truncation); for one number f near 1, such
        as a momentum, 2^-16·|f - 1| of x.
        """
        if self.fraction and not isinstance(other, SecretArray) and np.ndim(other) == 0:
            beyond = float(other) - 1.0
            if 0 < abs(beyond) <= 2.0**-3:
                return self + self.bilinear(multiply, beyond)
        return self.bilinear(multiply, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Public) -> SecretArray[Share]:
        """x / y for a public y. Cost and error as of a product with 1/y."""
        if isinstance(other, SecretArray):
            raise UsageError("division by a secret: use functions.divide(x, y)")
        with np.errstate(divide="ignore"):  # by zero is refused, with counts, as a factor
            return self * (1.0 / np.asarray(other, np.float64))

    def __rtruediv__(self, other: Public) -> SecretArray[Share]:
        """Refused: the operators do not hide what costs as much as this does."""
        raise UsageError("division by a secret: use functions.reciprocal(x) or divide(x, y)")

    def __matmul__(self, other: SecretArray[Share] | Public) -> SecretArray[Share]:
        """Matrix product. Cost: 2 rounds, as of one product for each element of the result."""
        return self.bilinear(matmul, other)

    def bilinear(
        self, f: Bilinear, other: SecretArray[Share] | Public, *, fraction: int | None = None
    ) -> SecretArray[Share]:
        """f(x, y) for f linear in both, scaled back, or to as many fractional bits as asked for.

        Raises:
            ShapeMismatch: the shapes do not go together.
        """
        if not isinstance(other, SecretArray):
            return self._public_product(f, other, fraction)
        (z,) = products(f, (self, other), fraction=fraction)
        return z

    def _public_product(
        self, f: Bilinear, public: Public, fraction: int | None
    ) -> SecretArray[Share]:
        if not self.ndim and not np.ndim(public):
            return self.reshape(1)._public_product(f, public, fraction).reshape()
        check(f, self.shape, np.shape(public))
        parts = [self._scaled_product(f, *part, fraction) for part in significant(public)]
        return sum(parts[1:], parts[0])

    def _scaled_product(
        self, f: Bilinear, factor: Array, shift: int, fraction: int | None
    ) -> SecretArray[Share]:
        factor = beside(factor, self.share.terms[0])
        share = self.share.map(lambda v: f(v, factor))
        product = SecretArray(self.protocol, share, self.fraction + shift)
        if fraction is not None:
            return product.at(fraction)
        if self.fraction == 0:  # an integer times a real gets a scale
            return product if shift == 0 else product.at(FRACTION)
        return product.at(self.fraction)

    def at(self, fraction: int) -> SecretArray[Share]:
        """The same numbers with another number of fractional bits.

        Cost: nothing to add bits; one truncation (2 rounds) to drop some.
        """
        if fraction >= self.fraction:
            return self.finer(fraction)
        (share,) = self.protocol.truncate(self.share, fraction=self.fraction - fraction)
        return SecretArray(self.protocol, share, fraction)

    # Comparisons.

    def positive(self) -> SecretBits[Share]:
        """Whether each element is above zero. Found once for an array. Cost: `sign_bit`."""
        if "positive" not in self.memo:
            self.memo["positive"] = (-self).negative()
        kept: SecretBits[Share] = self.memo["positive"]
        return kept

    def negative(self) -> SecretBits[Share]:
        """Whether each element is below zero. Found once for an array. Cost: `sign_bit`."""
        if "negative" not in self.memo:
            self.memo["negative"] = SecretBits(self.protocol, self.protocol.sign_bit(self.share))
        kept: SecretBits[Share] = self.memo["negative"]
        return kept

    def positive_part(self) -> SecretArray[Share]:
        """max(x, 0), which remembers where x, and so it, is above zero.

        Cost: `positive_part` of the protocol; one `select` where the sign is known already.
        """
        if "positive" in self.memo:
            chosen: SecretArray[Share] = self.positive().select(self)
            chosen.memo["positive"] = self.positive()
            return chosen
        return self._with_sign(*self.protocol.positive_part(self.share))

    def _with_sign(self, bits: Bits[Share], part: Share) -> SecretArray[Share]:
        made = SecretArray(self.protocol, part, self.fraction)
        made.memo["positive"] = self.memo["positive"] = SecretBits(self.protocol, bits)
        return made

    def __lt__(  # type: ignore[misc]  # a reflected comparison gives the same
        self, other: SecretArray[Share] | Public
    ) -> SecretBits[Share]:
        """x < y; right while |x - y| < 2^(width - 1) in ring elements. Cost: `sign_bit`."""
        if np.isscalar(other) and other == 0:
            return self.negative()
        return (self - other).negative()

    def __gt__(  # type: ignore[misc]  # a reflected comparison gives the same
        self, other: SecretArray[Share] | Public
    ) -> SecretBits[Share]:
        """x > y. Cost: `sign_bit`."""
        if np.isscalar(other) and other == 0:
            return self.positive()
        return (self._secret(other) - self).negative()

    def __ge__(  # type: ignore[misc]  # a reflected comparison gives the same
        self, other: SecretArray[Share] | Public
    ) -> SecretBits[Share]:
        """x >= y. Cost: `sign_bit`."""
        return ~(self < other)

    def __le__(  # type: ignore[misc]  # a reflected comparison gives the same
        self, other: SecretArray[Share] | Public
    ) -> SecretBits[Share]:
        """x <= y. Cost: `sign_bit`."""
        return ~(self > other)

    def equals(self, other: SecretArray[Share] | Public) -> SecretBits[Share]:
        """x = y, exactly, as ring elements. Cost: two signs at once."""
        difference = self - other
        return SecretBits(self.protocol, self.protocol.equal_zero(difference.share))


@dataclass(frozen=True, slots=True, eq=False)
class SecretBits(Generic[Share]):
    """Secret truth values, packed; what comparisons give."""

    protocol: BitProtocol[Share]
    bits: Bits[Share]

    def __repr__(self) -> str:
        """Shape and protocol; never a value."""
        return f"SecretBits(shape={self.shape}, {self.protocol.name})"

    @property
    def shape(self) -> Shape:
        """Shape of the array of truth values."""
        return self.bits.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def map(self, f: Callable[..., Array], *others: SecretBits[Share]) -> SecretBits[Share]:
        """Apply f, which only moves elements or sets some to zero. No message."""
        shapes: list[Shape] = [self.shape, *(bits.shape for bits in others)]

        def moved(*planes: Array) -> Array:
            arrays = [
                from_planes(p, math.prod(shape)).reshape(shape)
                for p, shape in zip(planes, shapes, strict=True)
            ]
            return to_planes(f(*arrays), 1)

        shape = f(*(np.zeros(s, WORD) for s in shapes)).shape
        planes = self.bits.planes.map(moved, *(o.bits.planes for o in others))
        return SecretBits(self.protocol, Bits(planes, shape))

    def broadcast_to(self, shape: Shape) -> SecretBits[Share]:
        """Repeat along new or single axes. No message."""
        return self if shape == self.shape else self.map(lambda v: np.broadcast_to(v, shape))

    def __bool__(self) -> bool:
        """Refused: a branch would reveal the value."""
        raise UsageError("a secret cannot be tested in `if` or `while`: use where(), or open it")

    def __invert__(self) -> SecretBits[Share]:
        """Not. No message."""
        return SecretBits(self.protocol, self.protocol.invert(self.bits))

    def __xor__(self, other: SecretBits[Share]) -> SecretBits[Share]:
        """Exclusive or. No message."""
        return SecretBits(self.protocol, xor(self.bits, other.bits))

    def __and__(self, other: SecretBits[Share]) -> SecretBits[Share]:
        """And. Cost: 1 round, one bit an element."""
        return SecretBits(self.protocol, self.protocol.conj(self.bits, other.bits))

    def __or__(self, other: SecretBits[Share]) -> SecretBits[Share]:
        """Or. Cost: 1 round, one bit an element."""
        return ~(~self & ~other)

    def ring(self) -> SecretArray[Share]:
        """As integers 0 and 1. Cost: `bit_to_ring`."""
        return SecretArray(self.protocol, self.protocol.bit_to_ring(self.bits), 0)

    def select(self, x: SecretArray[Share]) -> SecretArray[Share]:
        """X where true, 0 elsewhere; x has the same shape. Cost: `select`."""
        if x.shape != self.shape:
            raise ShapeMismatch(f"choices of shape {self.shape} among numbers of shape {x.shape}")
        return SecretArray(self.protocol, self.protocol.select(self.bits, x.share), x.fraction)

    def split(self, count: int) -> list[SecretBits[Share]]:
        """Cut along the first axis into `count` equal parts."""
        size, shape = math.prod(self.shape) // count, (self.shape[0] // count, *self.shape[1:])
        parts = split(self.bits, (size,) * count, shape)
        return [SecretBits(self.protocol, part) for part in parts]


def constant(
    protocol: BitProtocol[Share], x: npt.ArrayLike, fraction: int = FRACTION
) -> SecretArray[Share]:
    """A public array where a secret one is asked for. No message."""
    form = FixedPoint(fraction, min(FORM.integer, 62 - fraction))
    return SecretArray(protocol, protocol.constant(form.encode(x)), fraction)


def align(*arrays: SecretArray[Share]) -> list[SecretArray[Share]]:
    """The same numbers, all at the finest scale among them."""
    fraction = max(a.fraction for a in arrays)
    return [a.finer(fraction) for a in arrays]


def concatenate(arrays: Sequence[SecretArray[Share]], axis: int = 0) -> SecretArray[Share]:
    """Join along an axis. No message."""
    return arrays[0].map(lambda *parts: np.concatenate(parts, axis=axis), *arrays[1:])


def stack(arrays: Sequence[SecretArray[Share]], axis: int = 0) -> SecretArray[Share]:
    """Join along a new axis. No message."""
    return arrays[0].map(lambda *parts: np.stack(parts, axis=axis), *arrays[1:])


def products(
    f: Bilinear,
    *pairs: tuple[SecretArray[Share], SecretArray[Share]],
    fraction: int | None = None,
) -> list[SecretArray[Share]]:
    """f(x, y) for several pairs in the rounds of one.

    Args:
        f: linear in both arguments.
        pairs: operands; the first operands all have one scale, and so have the second.
        fraction: fractional bits of the results; by default the finer of the operands'. All that
            both have costs no truncation, and keeps small results exact.
    """
    for x, y in pairs:
        check(f, x.shape, y.shape)
    if not any(x.ndim or y.ndim for x, y in pairs):
        rows = [(x.reshape(1), y.reshape(1)) for x, y in pairs]
        return [z.reshape() for z in products(f, *rows, fraction=fraction)]
    scales = {(x.fraction, y.fraction) for x, y in pairs}
    if len(scales) != 1:
        raise UsageError(f"products of pairs at different scales {sorted(scales)}: use at() first")
    ((first, second),) = scales
    kept = max(first, second) if fraction is None else min(fraction, first + second)
    protocol, shares = pairs[0][0].protocol, [(x.share, y.share) for x, y in pairs]
    if kept == first + second:
        results = protocol.bilinear(f, *shares)
    else:
        results = protocol.bilinear_truncate(f, *shares, fraction=first + second - kept)
    made = [SecretArray(protocol, z, kept) for z in results]
    return made if fraction is None else [z.finer(fraction) for z in made]


def check(f: Bilinear, x: Shape, y: Shape) -> None:
    """Raise ShapeMismatch unless the shapes go together."""
    try:
        f.shape(x, y)
    except ValueError as error:
        raise ShapeMismatch(str(error)) from None


def _named(f: Callable[..., Array], sign: str, x: Shape, y: Shape) -> Callable[..., Array]:
    try:
        np.broadcast_shapes(x, y)
    except ValueError:
        raise ShapeMismatch(f"shapes {x} {sign} {y} do not go together") from None
    return f
