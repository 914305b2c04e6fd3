"""`accelerate()`: an unchanged CrypTen program on our kernels, comparisons, streams and wires.

Nothing of CrypTen is touched before it is called, and everything is as it was after `undo()`. It is
a list of replacements: each takes what it replaces, and goes back to it where ours does not apply
(another provider, active security, binary shares, a GPU).

Whom one has to trust stays exactly as it is: CrypTen's default provider is a trusted first party,
which knows every mask, and so is ours then. Rank 0 could see everything; nobody else learns more
than CrypTen lets them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, NamedTuple

import torch

from mpc.errors import UsageError
from mpc.launch import under_mpirun
from protocols.interop.crypten import (
    beaver,
    comparisons,
    engine,
    gradients,
    limbs,
    objects,
    overhead,
    streams,
)
from protocols.interop.crypten.communicator import MpiCommunicator
from protocols.interop.crypten.importing import crypten
from protocols.interop.crypten.parties import run_multiprocess
from protocols.interop.crypten.products import PRODUCTS, RingTorch

Function = Callable[..., Any]
_MISSING = object()


class Replacement(NamedTuple):
    """A name of CrypTen's, and what makes the new value of the old one."""

    owner: Any
    name: str
    new: Callable[[Any], Any]


class Acceleration:
    """What `accelerate()` did; as a context manager it undoes that at the end."""

    def __init__(self, replacements: Iterator[Replacement]) -> None:
        """Put every replacement in its place."""
        self._before: list[tuple[Any, str, Any]] = []
        for owner, name, new in replacements:
            raw = vars(owner).get(name, _MISSING)
            fixed = isinstance(raw, staticmethod)
            made = new(raw.__func__ if isinstance(raw, staticmethod) else getattr(owner, name))
            self._before.append((owner, name, raw))
            setattr(owner, name, staticmethod(made) if fixed else made)

    def undo(self) -> None:
        """Put everything back.

        Raises:
            UsageError: CrypTen still runs over MPI.
        """
        global _active
        if MpiCommunicator.is_initialized():
            raise UsageError("CrypTen still runs over MPI: call crypten.uninit() first")
        while self._before:
            owner, name, raw = self._before.pop()
            if raw is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, raw)
        _active = None

    def __enter__(self) -> Acceleration:
        """Nothing more than was done already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Undo. After an error, whatever still runs over MPI is given up first."""
        if kind is not None:
            MpiCommunicator.abandon(kind.__name__)
        self.undo()


_active: Acceleration | None = None


def accelerate(*, mpi: bool | None = None) -> Acceleration:
    """Let CrypTen compute with radmpc; every party calls it. Asked again, it does nothing more.

    Best before `crypten.init()`. After it, the parties agree on keys at once: 1 round.

    Args:
        mpi: whether parties are the ranks that mpirun started; by default if it started this
            process. Then `crypten.init()` needs no other setting, and `run_multiprocess` runs its
            function in place. Otherwise CrypTen's own processes and wires are used.

    Returns:
        What takes it back: `undo()`, or the end of a `with` block.
    """
    global _active
    if _active is None:
        _active = Acceleration(_replacements(under_mpirun() if mpi is None else mpi))
        if crypten.is_initialized():
            engine.start()
    return _active


def _replacements(mpi: bool) -> Iterator[Replacement]:
    if mpi:
        for module in (crypten.communicator, crypten.mpc.context):
            yield Replacement(module, "DistributedCommunicator", lambda _: MpiCommunicator)
        for module in (crypten.mpc, crypten.mpc.context):
            yield Replacement(module, "run_multiprocess", lambda _: run_multiprocess)
    yield Replacement(crypten.common.serial, "restricted_loads", lambda _: objects.loads)
    yield from _of_overhead()
    yield from _of_streams()
    yield from _of_products()
    yield from _of_comparisons()


def _of_overhead() -> Iterator[Replacement]:
    readers = (crypten.debug, crypten.encoder, crypten.mpc.primitives.arithmetic)
    for module in (*readers, crypten.communicator.communicator):
        yield Replacement(module, "cfg", lambda _: overhead.Settings())
    for name in ("shallow_copy", "clone", "from_shares"):
        yield Replacement(crypten.mpc.MPCTensor, name, getattr(overhead, name))


def _of_streams() -> Iterator[Replacement]:
    yield Replacement(crypten, "_setup_prng", streams.setup)
    yield Replacement(crypten, "manual_seed", streams.manual_seed)
    rng = crypten.common.rng
    for name, new in (
        ("generate_random_ring_element", streams.random_ring_element),
        ("generate_kbit_random_tensor", streams.kbit_random_tensor),
    ):
        original = getattr(rng, name)
        for module in _who_has(name, original):
            yield Replacement(module, name, new)
    primitives = crypten.mpc.primitives
    yield Replacement(primitives.ArithmeticSharedTensor, "PRZS", streams.zero_sharing(bits=False))
    yield Replacement(primitives.BinarySharedTensor, "PRZS", streams.zero_sharing(bits=True))


def _of_products() -> Iterator[Replacement]:
    mpc = crypten.mpc
    for module in (
        mpc.primitives.arithmetic,
        mpc.primitives.beaver,
        mpc.primitives.replicated,
        mpc.provider.tfp_provider,
        mpc.provider.ttp_provider,
    ):
        yield Replacement(module, "torch", lambda _: RingTorch())
    handled = sys.modules["crypten.cuda.cuda_tensor"]
    exact = {getattr(torch, op): limbs.exact(op) for op in PRODUCTS}
    yield Replacement(handled, "HANDLED_FUNCTIONS", lambda before: {**before, **exact})
    for op in beaver.OPS:
        yield Replacement(mpc.primitives.beaver, op, beaver.product(op))
    yield Replacement(mpc.primitives.beaver, "square", beaver.square)
    yield Replacement(mpc.primitives.beaver, "truncate", beaver.truncate)
    for name, order in (
        ("AutogradConv1D", ("padding", "stride", "dilation", "groups")),
        ("AutogradConv2D", ("stride", "padding", "dilation", "groups")),
    ):
        function = getattr(crypten.gradients, name)
        yield Replacement(function, "forward", gradients.conv_forward(*order))
        yield Replacement(function, "backward", gradients.conv_backward)


def _of_comparisons() -> Iterator[Replacement]:
    tensor, maximum = crypten.mpc.MPCTensor, crypten.common.functions.maximum
    yield Replacement(tensor, "_ltz", comparisons.ltz)
    yield Replacement(tensor, "_eqz_2PC", comparisons.eqz)
    yield Replacement(tensor, "relu", comparisons.relu)
    yield Replacement(tensor, "max_pool2d", comparisons.max_pool2d)
    yield Replacement(maximum, "_argmax_helper", comparisons.argmax_helper)
    yield Replacement(maximum, "_max_helper_all_tree_reductions", comparisons.max_helper)
    of_relu, of_pool = crypten.gradients.AutogradReLU, crypten.gradients.AutogradMaxPool2D
    yield Replacement(of_relu, "forward", gradients.relu_forward)
    yield Replacement(of_relu, "backward", gradients.relu_backward)
    yield Replacement(of_pool, "forward", gradients.pool_forward)
    yield Replacement(of_pool, "backward", gradients.pool_backward)


def _who_has(name: str, value: Any) -> list[Any]:
    """CrypTen's modules that took a function over by name."""
    modules = [m for n, m in sys.modules.items() if n.split(".")[0] == "crypten"]
    return [module for module in modules if vars(module).get(name) is value]
