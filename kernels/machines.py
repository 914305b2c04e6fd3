"""Where arrays lie decides what works on them: the compiled kernels on the CPU, or a card's.

NumPy's arrays are known from the start. `kernels.cuda.card.enable` makes CuPy's
known: a card is looked for only by who asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np

from kernels import _native
from kernels.array import KINDS, Array, Shape


class Machine(Protocol):
    """The kernels of one kind of memory. What each does is said where it is called.

    Arguments were checked: dtypes, shapes, and that what is written to is C-contiguous.
    """

    def multiply_add(self, out: Array, x: Array, y: Array) -> None:
        """See `kernels.ring.multiply`."""

    def multiply_cross(self, out: Array, x0: Array, x1: Array, y0: Array, y1: Array) -> None:
        """See `kernels.ring.multiply`."""

    def matmul_add(self, out: Array, x: Array, y: Array) -> None:
        """See `kernels.gemm.matmul`."""

    def matmul_cross(self, out: Array, x0: Array, x1: Array, y0: Array, y1: Array) -> None:
        """See `kernels.gemm.matmul`."""

    def conv_add(
        self,
        kind: int,
        stride: Shape,
        padding: Shape,
        dilation: Shape,
        groups: int,
        out: Array,
        x: Array,
        y: Array,
    ) -> None:
        """See `kernels.conv`."""

    def conv_cross(
        self,
        kind: int,
        stride: Shape,
        padding: Shape,
        dilation: Shape,
        groups: int,
        out: Array,
        x0: Array,
        x1: Array,
        y0: Array,
        y1: Array,
    ) -> None:
        """See `kernels.conv`."""

    def truncation_public(self, out: Array, fraction: int, c: Array, rho: Array, mu: Array) -> None:
        """See `kernels.ring.truncation_public`."""

    def truncation_private(
        self, out: Array, fraction: int, c: Array, rho: Array, mu: Array
    ) -> None:
        """See `kernels.ring.truncation_private`."""

    def select_term(self, out: Array, c: Array, x: Array, x1: Array, beta: Array, w: Array) -> None:
        """See `kernels.ring.select_term`."""

    def conj_to(self, out: Array, a0: Array, a1: Array, b0: Array, b1: Array) -> None:
        """See `kernels.bits.conj_to`."""

    def carry_step(
        self, g_out: Array, p_out: Array, g0: Array, g1: Array, p0: Array, p1: Array
    ) -> None:
        """See `kernels.bits.carry_step`."""

    def block_products(self, out: Array, top: Array, x: Array, bits: int) -> None:
        """See `kernels.bits.block_products`."""

    def block_carries(
        self, g: Array, p: Array, top: Array, shared: Array, x: Array, bits: int, whole: bool
    ) -> None:
        """See `kernels.bits.block_carries`."""

    def to_planes(self, planes: Array, x: Array, first_bit: int) -> None:
        """See `kernels.bits.to_planes`."""

    def from_planes(self, x: Array, planes: Array) -> None:
        """See `kernels.bits.from_planes`."""

    def chacha20(self, mode: int, out: Array, key_a: bytes, key_b: bytes, nonce: bytes) -> None:
        """See `kernels.prg`."""


class Crossing(Protocol):
    """The copies of one round of messages between a card and the host, beside the card's own work.

    Pieces are flat arrays of bytes, none of them empty. Arrays on the card are those that the
    thread's work there has made or asked for by the time that the crossing began. Who gives up
    half-way keeps the crossing for good: a copy may still read or write what it holds.
    """

    def fetch(self, piece: Array) -> tuple[Array, Callable[[], bool]]:
        """Start a copy to the host: where it comes to, and what tells whether it is whole yet."""

    def room(self, nbytes: int) -> Array:
        """Bytes of the host for a message to come into."""

    def land(self, piece: Array, came: Array) -> None:
        """Start a copy to the card, of a `room` that nobody writes to any more."""

    def join(self) -> None:
        """Let what the card is told from now on wait for what landed. The host does not wait."""


@dataclass(frozen=True)
class Memory:
    """A kind of array.

    Args:
        xp: the library that makes them, with NumPy's functions.
        machine: what works on them.
        get: a copy on the host; on the host, the array itself.
        crossing: begins the copies of a round, near an array of a card; None on the host.
        settle: waits for what was begun where an array is, so that others may read and write there.
        device: what PyTorch calls the place where this thread's arrays are made: "cpu", "cuda:0".
    """

    xp: Any
    machine: Machine
    get: Callable[[Array], Array]
    crossing: Callable[[Array], Crossing] | None = None
    settle: Callable[[Array], None] = lambda a: None
    device: Callable[[], str] = lambda: "cpu"

    def put(self, a: Array) -> Array:
        """The array in this memory; itself if it is there.

        What only repeats along an axis still does: who finds out from that what need not be sent
        twice finds the same out at all parties, wherever they keep their shares.
        """
        home = _KNOWN.get(type(a), HOST)
        if home is self:
            return np.asarray(a) if self is HOST else a
        a = as_array(a)
        repeats = [n > 1 and not s for n, s in zip(a.shape, a.strides, strict=True)]
        if not any(repeats) or not a.size:  # strides of nothing say nothing
            return cast(Array, self.xp.asarray(home.get(a)))
        once = home.get(a[tuple(slice(1) if r else slice(None) for r in repeats)])
        return cast(Array, self.xp.broadcast_to(self.xp.asarray(once), a.shape))


HOST = Memory(np, cast(Machine, _native), get=lambda a: a)
_KNOWN: dict[type, Memory] = {np.ndarray: HOST}


def memory_of(a: Array) -> Memory:
    """What an array's kind goes with; the array is one that `kernels.array.require` let through."""
    return _KNOWN[type(a)]


def on_host(a: Array) -> Array:
    """The array on the host."""
    known = _KNOWN.get(type(a))
    return a if known is None else known.get(a)


def beside(a: Array, other: Array) -> Array:
    """The array where another one is; NumPy's scalars are on the host."""
    return _KNOWN.get(type(other), HOST).put(a)


def as_array(a: Array | np.generic) -> Array:
    """NumPy gives scalars for what has no axes: those as arrays, and arrays as they are."""
    return cast(Array, a) if type(a) in _KNOWN else np.asarray(a)


def known_kinds() -> tuple[type, ...]:
    """Of arrays."""
    return tuple(_KNOWN)


def machine_of(a: Array) -> Machine:
    """What works on an array."""
    return memory_of(a).machine


def xp_of(a: Array) -> Any:
    """The library that an array is of."""
    return memory_of(a).xp


def make_known(kind: type, memory: Memory) -> None:
    """Let kernels take another kind of array."""
    _KNOWN[kind] = memory
    if kind not in KINDS:
        KINDS.append(kind)
