"""What an owner tells of its input, which is public: that there is one, its type and its shape."""

from __future__ import annotations

import math

import numpy as np
import torch

from mpc.errors import PeerError
from mpc.party import Buffer, Party
from mpc.ring import Shape

LARGEST_INPUT = 2**40  # elements: what a peer may announce
_KINDS = (torch.float32, torch.float64, torch.int64)
_HEADER = 16  # words: accepted, kind, number of axes, lengths
MOST_AXES = _HEADER - 3


def announced(
    party: Party | None, owner: int, mine: tuple[torch.dtype, Shape] | None, *, refused: bool
) -> tuple[torch.dtype, Shape]:
    """Type and shape of an input, or that its owner refuses it. Cost: 1 round, 128 bytes.

    Args:
        party: this one; None with the clear protocol.
        owner: the rank that holds the input.
        mine: both, at the owner, unless it refuses.
        refused: whether this party is the owner and does. What it gets means nothing.

    Raises:
        PeerError: the owner refused, or announces what cannot be.
    """
    header = np.zeros(_HEADER, np.int64)
    if mine is not None:
        kind, shape = mine
        header[:3] = 1, _KINDS.index(kind), len(shape)
        header[3 : 3 + len(shape)] = shape
    if party is not None and party.size > 1:
        if party.rank == owner:
            party.exchange({p: [header] for p in party.others}, {})
        else:
            buffer = Buffer(header.shape, header.dtype)
            ((header,),) = party.exchange({}, {owner: [buffer]}).values()
    if refused:
        return torch.float32, ()
    if header[0] != 1:
        name = party.names[owner] if party is not None else "the owner"
        raise PeerError(f"{name} refused its own input and says why in its own log")
    axes = int(header[2])
    if not (
        0 <= axes <= MOST_AXES
        and 0 <= header[1] < len(_KINDS)
        and (header[3:] >= 0).all()
        and math.prod(map(int, header[3 : 3 + axes])) < LARGEST_INPUT
    ):
        raise PeerError("a peer announced an input that cannot be")
    return _KINDS[int(header[1])], tuple(int(n) for n in header[3 : 3 + axes])
