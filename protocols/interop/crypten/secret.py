"""CrypTen's arithmetic shares as ours and back, in the middle of a program: no message, no copy."""

from __future__ import annotations

from typing import Any

from mpc.ring import Array
from mpc.shares import Additive
from protocols.interop.crypten.engine import current, stands_in
from protocols.interop.crypten.importing import crypten
from protocols.interop.crypten.views import in_ring, tensor, words
from protocols.secret import SecretArray

_Encoder = crypten.encoder.FixedPointEncoder
MPCTensor = crypten.mpc.MPCTensor
Arithmetic = crypten.mpc.primitives.ArithmeticSharedTensor
Secret = SecretArray[Additive]


def is_ours(*values: Any) -> bool:
    """Whether our protocol may take over for these: arithmetic shares in this machine's memory."""
    return all(_is_share(value) for value in values) and stands_in()


def _is_share(value: Any) -> bool:
    if isinstance(value, MPCTensor):
        value = value._tensor
    return isinstance(value, Arithmetic) and in_ring(value.share) and value.share.numel() > 0


def share(value: Any) -> Additive:
    """This party's term of an `MPCTensor` or `ArithmeticSharedTensor`; it shares the memory."""
    return Additive(words(value.share))


def kept_share(value: Any) -> Additive:
    """As `share`, in memory of its own, which stays as it is whatever CrypTen does in place."""
    return Additive(words(value.share).copy())


def secret(value: Any) -> Secret:
    """A tensor of CrypTen's as a secret array of ours, at its own scale."""
    return SecretArray(current().protocol, share(value), value.encoder._precision_bits)


def arithmetic(own: Array, precision: int = 0) -> Any:
    """An `ArithmeticSharedTensor` of this party's words."""
    return Arithmetic.from_shares(tensor(own), precision=precision)


def mpc_tensor(own: Array, precision: int = 0) -> Any:
    """An `MPCTensor` of this party's words."""
    return MPCTensor.from_shares(tensor(own), precision=precision)


def as_tensor(value: Secret) -> Any:
    """A secret array of ours as an `MPCTensor`, whose memory is nobody else's."""
    own = value.share.own
    return mpc_tensor(own if own.flags.owndata else own.copy(), value.fraction)


def rescaled(own: Array, x: Any, y: Any) -> Any:
    """A product of x and y as an `MPCTensor`, brought to scale as CrypTen does it."""
    whole = min(x.encoder.scale, y.encoder.scale) == 1
    encoder = y.encoder if x.encoder.scale == 1 else x.encoder
    result = mpc_tensor(own, encoder._precision_bits)
    if not whole:
        result._tensor.div_(x.encoder.scale)
    return result
