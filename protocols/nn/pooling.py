"""Max-pooling by tournaments and average pooling by sums, in 1 to 3 dimensions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kernels.machines import as_array, xp_of
from mpc.errors import NotOffered
from mpc.ring import WORD, Array, Shape
from mpc.shares import Share
from protocols import functions as F
from protocols.functions.extremes import Tournament
from protocols.nn.pointwise import Number, secret_like, shared_out
from protocols.nn.shape import move
from protocols.nn.tensor import implements
from protocols.secret import Rectified, SecretArray, SecretBits


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows over the last axes of an array; each number is one for each of those axes."""

    kernel: Shape
    stride: Shape
    padding: Shape
    dilation: Shape
    size: Shape
    ceil: bool = False

    @property
    def out(self) -> Shape:
        """How many windows along each axis."""
        return tuple(self._count(axis) for axis in range(len(self.size)))

    def _count(self, axis: int) -> int:
        n, k, s = self.size[axis], self.kernel[axis], self.stride[axis]
        p, d = self.padding[axis], self.dilation[axis]
        room = n + 2 * p - d * (k - 1) - 1
        count = (-(-room // s) if self.ceil else room // s) + 1
        return count - 1 if self.ceil and (count - 1) * s >= n + p else count

    def _padded(self) -> Shape:
        rows = zip(
            self.out, self.kernel, self.stride, self.padding, self.dilation, self.size, strict=True
        )
        return tuple(max((o - 1) * s + d * (k - 1) + 1, n + p) for o, k, s, p, d, n in rows)

    def _offsets(self) -> Iterator[tuple[Any, ...]]:
        for place in itertools.product(*map(range, self.kernel)):
            rows = zip(place, self.dilation, self.stride, self.out, strict=True)
            yield (..., *(slice(i * d, i * d + (o - 1) * s + 1, s) for i, d, s, o in rows))

    def gather(self, x: Array, fill: int = 0) -> Array:
        """[kernel positions, ..., windows]; positions in the padding hold `fill`."""
        lead = x.shape[: x.ndim - len(self.size)]
        if any(self.padding) or self._padded() != self.size:
            full = xp_of(x).full((*lead, *self._padded()), fill, x.dtype)
            full[self._inside()] = x
            x = full
        return np.stack([x[at] for at in self._offsets()])

    def scatter(self, grads: Array) -> Array:
        """The transpose of `gather` without padding: back to where it came from, added up."""
        full: Array = xp_of(grads).zeros(
            (*grads.shape[1 : grads.ndim - len(self.size)], *self._padded()), grads.dtype
        )
        for grad, at in zip(grads, self._offsets(), strict=True):
            full[at] += grad
        return as_array(full[self._inside()])

    def _inside(self) -> tuple[Any, ...]:
        return (..., *(slice(p, p + n) for p, n in zip(self.padding, self.size, strict=True)))


def _windows(
    x: Number,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil: bool = False,
    rank: int = 2,
) -> Windows:
    def full(values: Sequence[int] | int, default: Sequence[int] = ()) -> Shape:
        given = (values,) if isinstance(values, int) else tuple(values) or tuple(default)
        return given * rank if len(given) == 1 else given

    size = tuple(x.shape[len(x.shape) - rank :])
    k = full(kernel)
    return Windows(k, full(stride, k), full(padding), full(dilation), size, bool(ceil))


@dataclass(frozen=True, slots=True, eq=False)
class Winners:
    """Which input each max-pool window took; stands where PyTorch has indices, and stays secret.

    `positive` says whose winner is above zero, where the pool went before a ReLU.
    """

    windows: Windows
    tournament: Tournament[Any]
    shape: Shape
    positive: SecretBits[Any] | None = None

    def moved(self, f: Callable[..., Array]) -> Winners:
        """The same winners under another shape."""
        return replace(self, shape=f(np.empty(self.shape, np.bool_)).shape)


def _max_pool(x: SecretArray[Share], w: Windows) -> tuple[SecretArray[Share], Winners]:
    if isinstance(x, Rectified) and x.source is not None:
        largest, winners = _max_pool(x.source, w)
        largest = largest.positive_part()
        return largest, replace(winners, positive=largest.positive())
    # A quarter of the range of a comparison: differences with real values stay comparable.
    lowest = 2**64 - 2 ** (x.protocol.width - 2)
    gathered = x.map(w.gather)
    if any(w.padding) or w._padded() != w.size:
        outside = w.gather(np.zeros(w.size, WORD), fill=lowest)
        rank = len(w.size)
        outside = outside.reshape(len(outside), *(1 for _ in x.shape[: x.ndim - rank]), *w.out)
        floor = x.protocol.constant(np.ascontiguousarray(np.broadcast_to(outside, gathered.shape)))
        gathered = gathered.map(np.add, SecretArray(x.protocol, floor, gathered.fraction))
    largest, won = F.tournament(gathered)
    return largest, Winners(w, won, largest.shape)


def _to_winners(grad: Number, x: SecretArray[Share], winners: Winners) -> SecretArray[Share]:
    """Each window's gradient to its winner; with a ReLU between, if that is above zero."""
    prize = secret_like(grad, x).broadcast_to(winners.shape)
    if winners.positive is None:
        return winners.tournament.spread(prize).map(winners.windows.scatter)
    gated = winners.positive.select(prize)
    result: SecretArray[Share] = winners.tournament.spread(gated).map(winners.windows.scatter)
    result.memo["gated by"] = x
    return result


def _register(rank: int) -> None:
    @implements(f"max_pool{rank}d_with_indices", lazy=True)
    def max_pool(
        x: SecretArray[Share],
        kernel: Sequence[int],
        stride: Sequence[int] = (),
        padding: Sequence[int] = (0,),
        dilation: Sequence[int] = (1,),
        ceil_mode: bool = False,
    ) -> tuple[SecretArray[Share], Winners]:
        """Largest of each window. Cost: `tournament` of the kernel's size."""
        return _max_pool(x, _windows(x, kernel, stride, padding, dilation, ceil_mode, rank))

    @implements(f"max_pool{rank}d_with_indices_backward", lazy=True)
    def max_pool_backward(
        grad: Number,
        x: SecretArray[Share],
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        ceil_mode: bool,
        winners: Winners,
    ) -> SecretArray[Share]:
        """Each window's gradient to its winner. Cost: one `select` a match, no comparison."""
        return _to_winners(grad, x, winners)

    @implements(f"avg_pool{rank}d")
    def avg_pool(
        x: SecretArray[Share],
        kernel: Sequence[int],
        stride: Sequence[int] = (),
        padding: Sequence[int] = (0,),
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Number:
        """Mean of each window. Cost: one truncation."""
        w = _windows(x, kernel, stride, padding, (1,), ceil_mode, rank)
        total = x.map(lambda v: w.gather(v).sum(0, dtype=WORD))
        return total * (1 / _divisor(w, count_include_pad, divisor_override))

    @implements(f"avg_pool{rank}d_backward")
    def avg_pool_backward(
        grad: Number,
        x: SecretArray[Share],
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        ceil_mode: bool,
        count_include_pad: bool,
        divisor_override: int | None,
    ) -> Number:
        """Each window's gradient to all its inputs alike."""
        w = _windows(x, kernel, stride, padding, (1,), ceil_mode, rank)
        whole = shared_out(grad, _divisor(w, count_include_pad, divisor_override))
        copies = math.prod(w.kernel)
        return move(lambda v: w.scatter(np.broadcast_to(v, (copies, *v.shape))), whole)

    @implements(f"_adaptive_avg_pool{rank}d", f"adaptive_avg_pool{rank}d")
    def adaptive_avg_pool(x: SecretArray[Share], size: Sequence[int]) -> Number:
        """Mean of windows that cover the input; neighbours overlap where sizes do not divide."""
        bins = Bins(tuple(x.shape[-rank:]), _wanted(x, size, rank))
        return x.map(bins.sums) * (1 / bins.counts())

    @implements(f"_adaptive_avg_pool{rank}d_backward")
    def adaptive_avg_pool_backward(grad: Number, x: SecretArray[Share]) -> Number:
        """Each window's gradient to all its inputs alike."""
        bins = Bins(tuple(x.shape[-rank:]), tuple(grad.shape[-rank:]))
        return move(bins.spread, shared_out(grad, bins.counts()))

    @implements(f"adaptive_max_pool{rank}d", lazy=True)
    def adaptive_max_pool(
        x: SecretArray[Share], size: Sequence[int]
    ) -> tuple[SecretArray[Share], Winners]:
        """Largest of equal windows that cover the input."""
        return _max_pool(x, _adaptive(x, size, rank))

    @implements(f"adaptive_max_pool{rank}d_backward", lazy=True)
    def adaptive_max_pool_backward(
        grad: Number, x: SecretArray[Share], winners: Winners
    ) -> SecretArray[Share]:
        """Each window's gradient to its winner."""
        return _to_winners(grad, x, winners)


@dataclass(frozen=True, slots=True)
class Bins:
    """Adaptive pooling's windows: bin i of o over n elements is from ⌊i·n/o⌋ to ⌈(i+1)·n/o⌉."""

    size: Shape
    out: Shape

    def _ranges(self, axis: int) -> list[slice]:
        n, o = self.size[axis], self.out[axis]
        return [slice(i * n // o, -(-(i + 1) * n // o)) for i in range(o)]

    def sums(self, x: Array) -> Array:
        """The sum of each window over the last axes."""
        lead = x.ndim - len(self.size)
        for axis in range(len(self.size)):
            moved = np.moveaxis(x, lead + axis, 0)
            rows = [moved[at].sum(0, dtype=x.dtype) for at in self._ranges(axis)]
            x = np.moveaxis(np.stack(rows), 0, lead + axis)
        return x

    def spread(self, grad: Array) -> Array:
        """The transpose of `sums`."""
        lead = grad.ndim - len(self.size)
        for axis in range(len(self.size)):
            moved = np.moveaxis(grad, lead + axis, 0)
            full = xp_of(grad).zeros((self.size[axis], *moved.shape[1:]), grad.dtype)
            for row, at in zip(moved, self._ranges(axis), strict=True):
                full[at] += row
            grad = np.moveaxis(full, 0, lead + axis)
        return grad

    def counts(self) -> Any:
        """How many elements each window has; one number if they all have as many."""
        counts = self.sums(np.ones(self.size))
        return float(counts.flat[0]) if counts.min() == counts.max() else counts


def _divisor(w: Windows, include_pad: bool, override: int | None) -> Any:
    """What each window's sum is divided by."""
    if override is not None:
        return override
    if not any(w.padding) and not w.ceil:
        return math.prod(w.kernel)
    padded = tuple(n + 2 * p for n, p in zip(w.size, w.padding, strict=True))
    if include_pad:
        full = np.zeros(w._padded())
        full[tuple(slice(0, n) for n in padded)] = 1  # beyond the padding nothing counts
        return sum(full[at] for at in w._offsets())
    return w.gather(np.ones(w.size)).sum(0)


def _wanted(x: Number, size: Sequence[int], rank: int) -> Shape:
    given = tuple(size) * rank if len(size) == 1 else tuple(size)
    return tuple(n if s is None else s for s, n in zip(given, x.shape[-rank:], strict=True))


def _adaptive(x: Number, size: Sequence[int], rank: int) -> Windows:
    full, wanted = tuple(x.shape[-rank:]), _wanted(x, size, rank)
    if any(n % s for s, n in zip(wanted, full, strict=True)):
        raise NotOffered(f"adaptive max-pooling of {full} to {wanted}: choose sizes that divide")
    kernel = tuple(n // s for s, n in zip(wanted, full, strict=True))
    return Windows(kernel, kernel, (0,) * rank, (1,) * rank, full)


for _rank in (1, 2, 3):
    _register(_rank)
