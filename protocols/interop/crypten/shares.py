"""Shares both ways between CrypTen and our additive sharing, without a message.

Both are the same: party i holds x_i of x = x_0 + x_1 + … (mod 2^64), and x stands for x / 2^16. So
a conversion copies this party's words. Ranks have to be the same on both sides, and values below
2^30, as ours; CrypTen does not look at that.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from kernels.bits import from_planes, to_planes
from mpc.errors import NotOffered, UsageError
from mpc.shares import Additive, Bits
from protocols.bits import BitProtocol
from protocols.interop.crypten.importing import crypten
from protocols.interop.crypten.views import in_ring, tensor, words
from protocols.nn import Session
from protocols.nn.tensor import SecretTensor
from protocols.secret import FRACTION, SecretArray, SecretBits
from protocols.secret.lazy import Lazy

_primitives = crypten.mpc.primitives


def from_crypten(x: Any, session: Session) -> SecretTensor:
    """A tensor of CrypTen's as a secret tensor of a session. No message.

    Args:
        x: an `MPCTensor` or `ArithmeticSharedTensor` of 16 fractional bits, or of whole numbers.
        session: of the additive protocol, with CrypTen's ranks.

    Raises:
        NotOffered: another protocol, precision or kind of sharing, or shares on a GPU.
        UsageError: the parties are not the same.
    """
    array = array_from_crypten(x, session.protocol)
    return session.tensor(array, torch.float32 if array.fraction else torch.int64)


def array_from_crypten(x: Any, protocol: BitProtocol[Any]) -> SecretArray[Additive]:
    """As `from_crypten`, as a secret array of a protocol."""
    _same_parties(protocol)
    shared = x._tensor if isinstance(x, crypten.mpc.MPCTensor) else x
    if isinstance(shared, _primitives.BinarySharedTensor):
        raise NotOffered("a binary sharing: call x.to(crypten.mpc.arithmetic) first")
    if not isinstance(shared, _primitives.ArithmeticSharedTensor):
        raise UsageError(f"expected an MPCTensor or ArithmeticSharedTensor, not {type(x).__name__}")
    precision = shared.encoder._precision_bits
    if precision not in (0, FRACTION):
        raise NotOffered(f"{precision} fractional bits: this takes {FRACTION}, or 0 for integers")
    _require_ring(shared)
    return SecretArray(protocol, Additive(words(shared.share).copy()), precision)


def to_crypten(x: SecretTensor | SecretArray[Additive]) -> Any:
    """A secret tensor or array as an `MPCTensor`. No message.

    Raises:
        NotOffered: another protocol than the additive one, or a finer scale than CrypTen's.
        UsageError: the parties are not the same, or the tensor is a public one.
    """
    array = x.secret if isinstance(x, SecretTensor) else x
    if isinstance(array, Lazy):
        array = array.settled()
    if isinstance(array, SecretBits):
        raise NotOffered("truth values: convert x.float(), or bits_to_crypten(x.secret)")
    if not isinstance(array, SecretArray):
        raise UsageError(f"expected a secret tensor or array, not {type(array).__name__}")
    _same_parties(array.protocol)
    if array.fraction not in (0, FRACTION):
        raise NotOffered(f"{array.fraction} fractional bits: bring them to {FRACTION} with at()")
    own = np.array(array.share.own, order="C")
    return crypten.mpc.MPCTensor.from_shares(tensor(own), precision=array.fraction)


def bits_from_crypten(
    x: Any, protocol: BitProtocol[Any], *, count: int = 64
) -> SecretBits[Additive]:
    """The low bits of a `BinarySharedTensor`, as planes. No message.

    Args:
        x: the tensor; CrypTen keeps 64 bits of each element.
        protocol: ours.
        count: how many of them.
    """
    _same_parties(protocol)
    shared = x._tensor if isinstance(x, crypten.mpc.MPCTensor) else x
    if not isinstance(shared, _primitives.BinarySharedTensor):
        raise UsageError(f"expected a BinarySharedTensor, not {type(shared).__name__}")
    _require_ring(shared)
    planes = to_planes(np.ascontiguousarray(words(shared.share)), count)
    return SecretBits(protocol, Bits(Additive(planes), tuple(shared.size())))


def bits_to_crypten(x: SecretBits[Additive]) -> Any:
    """Bits, one plane or up to 64, as a `BinarySharedTensor` of integers. No message."""
    _same_parties(x.protocol)
    own = from_planes(x.bits.planes.own, math.prod(x.shape)).reshape(x.shape)
    return _primitives.BinarySharedTensor.from_shares(tensor(own), precision=0)


def _require_ring(shared: Any) -> None:
    if not in_ring(shared.share):
        raise NotOffered("shares on a GPU: call x.cpu() first")


def _same_parties(protocol: BitProtocol[Any]) -> None:
    """Refuse where words would change hands: another sharing, or another order of the parties."""
    if protocol.share_type is not Additive:
        raise NotOffered(
            f"the {protocol.name} protocol shares otherwise than CrypTen: use additive"
        )
    communicator, party = crypten.communicator.get(), protocol.party
    theirs = communicator.get_rank(), communicator.get_world_size()
    ours = (party.rank, party.size) if party is not None else (0, 1)
    if theirs != ours:
        raise UsageError(
            f"party {ours[0]} of {ours[1]} here is party {theirs[0]} of {theirs[1]} for CrypTen: "
            f"shares convert among the same parties in the same order"
        )
