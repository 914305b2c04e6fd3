"""CrypTen's comparisons by our sign bit, and choices by the bit itself.

CrypTen makes an XOR sharing of all 64 bits of its operand and adds the parties' shares up in
circuits on whole words. Here one masked opening and a carry tree on packed bits give the sign. A
ReLU, a maximum and a max-pool choose by that bit; the maximum of equals is the first of them, where
CrypTen draws lots.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.array import WORD, Shape
from mpc.shares import Additive, Bits
from protocols.functions.extremes import Tournament, one_hot_winner, tournament
from protocols.interop.crypten.engine import current
from protocols.interop.crypten.secret import Secret, as_tensor, is_ours, mpc_tensor, secret, share
from protocols.nn.pooling import Windows
from protocols.secret import SecretArray, constant

Function = Callable[..., Any]
# Outside of what is pooled: differences with numbers that CrypTen can hold stay comparable.
LOWEST = 2**64 - 2**62


def ltz(original: Function) -> Function:
    """A replacement of `MPCTensor._ltz`."""

    def _ltz(self: Any) -> Any:
        if not is_ours(self):
            return original(self)
        protocol = current().protocol
        return mpc_tensor(protocol.bit_to_ring(protocol.sign_bit(share(self))).own)

    return _ltz


def eqz(original: Function) -> Function:
    """A replacement of `MPCTensor._eqz_2PC`."""

    def _eqz_2PC(self: Any) -> Any:  # noqa: N802  # CrypTen's name
        if not is_ours(self):
            return original(self)
        protocol = current().protocol
        return mpc_tensor(protocol.bit_to_ring(protocol.equal_zero(share(self))).own)

    return _eqz_2PC


def positive_part(x: Any) -> tuple[Bits[Additive], Any]:
    """Whether x is above zero, and max(x, 0)."""
    bits, part = current().protocol.positive_part(share(x))
    return bits, mpc_tensor(part.own, x.encoder._precision_bits)


def relu(original: Function) -> Function:
    """A replacement of `MPCTensor.relu`."""

    def relu(self: Any) -> Any:
        return positive_part(self)[1] if is_ours(self) else original(self)

    return relu


def argmax_helper(original: Function) -> Function:
    """A replacement of `maximum._argmax_helper`: the winners, one-hot, and the maximum."""

    def _argmax_helper(
        enc_tensor: Any,
        dim: int | None = None,
        one_hot: bool = True,
        method: str = "pairwise",
        _return_max: bool = False,
    ) -> Any:
        if enc_tensor.dim() == 0 or not is_ours(enc_tensor):
            return original(enc_tensor, dim, one_hot, method, _return_max)
        x = secret(enc_tensor)
        largest, won = tournament(_contest(x, dim))
        marks = winners(won, largest)
        axis = 0 if dim is None else dim
        hot = as_tensor(marks.map(lambda v: np.moveaxis(v, 0, axis).reshape(x.shape)))
        return (hot, as_tensor(largest)) if _return_max else hot

    return _argmax_helper


def max_helper(original: Function) -> Function:
    """A replacement of `maximum._max_helper_all_tree_reductions`: the maximum alone."""

    def _max_helper_all_tree_reductions(
        enc_tensor: Any, dim: int | None = None, method: str = "log_reduction"
    ) -> Any:
        if enc_tensor.dim() == 0 or not is_ours(enc_tensor):
            return original(enc_tensor, dim, method)
        largest, _ = tournament(_contest(secret(enc_tensor), dim))
        return as_tensor(largest)

    return _max_helper_all_tree_reductions


def max_pool2d(original: Function) -> Function:
    """A replacement of `MPCTensor.max_pool2d`; without indices, nobody asks who won."""

    def max_pool2d(
        self: Any,
        kernel_size: Any,
        padding: Any = 0,
        stride: Any = None,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        if self.dim() < 2 or not is_ours(self):
            return original(self, kernel_size, padding, stride, dilation, ceil_mode, return_indices)
        where = windows(self, kernel_size, padding, stride, dilation, ceil_mode)
        largest, won = pooled(secret(self), where)
        if not return_indices:
            return as_tensor(largest)
        return as_tensor(largest), as_tensor(indices(winners(won, largest), where))

    return max_pool2d


def windows(
    x: Any, kernel: Any, padding: Any, stride: Any, dilation: Any, ceil_mode: bool
) -> Windows:
    """The windows that CrypTen's arguments ask for."""
    size, of_kernel = tuple(x.size())[-2:], _pair(kernel)
    return Windows(
        of_kernel,
        of_kernel if stride is None else _pair(stride),
        (0, 0) if padding is None else _pair(padding),
        _pair(dilation),
        size,
        bool(ceil_mode),
    )


def pooled(x: Secret, where: Windows) -> tuple[Secret, Tournament[Additive]]:
    """The largest of each window, and who it was. Cost: `tournament` of the kernel's size."""
    gathered = x.map(where.gather)
    outside = where.gather(np.zeros(where.size, WORD), fill=LOWEST)
    if outside.any():
        lead = x.ndim - len(where.size)
        outside = outside.reshape(len(outside), *(1,) * lead, *where.out)
        floor = x.protocol.constant(np.ascontiguousarray(np.broadcast_to(outside, gathered.shape)))
        gathered = gathered.map(np.add, SecretArray(x.protocol, floor, gathered.fraction))
    return tournament(gathered)


def winners(won: Tournament[Additive], largest: Secret) -> Secret:
    """1 for each winner and 0 for the others along a first axis; one alone has won."""
    if won.levels:
        return one_hot_winner(won)
    return constant(largest.protocol, np.ones((1, *largest.shape)), 0)


def indices(marks: Secret, where: Windows) -> Secret:
    """The winners as CrypTen has them: the places of the kernel in two axes behind all others."""
    shape: Shape = (*marks.shape[1:], *where.kernel)
    return marks.map(lambda v: np.moveaxis(v, 0, -1).reshape(shape))


def _contest(x: Secret, dim: int | None) -> Secret:
    """Those to be compared along the first axis."""
    return x.reshape(-1) if dim is None else x.map(lambda v: np.moveaxis(v, dim, 0))


def _pair(value: Any) -> Shape:
    return (int(value), int(value)) if isinstance(value, int | float) else tuple(value)
