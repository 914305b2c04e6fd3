"""A party's keys for CrypTen's masks: its own, and one in common with each neighbour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mpc.prg import SEED_BYTES, PairedStreams, Stream, fresh_seed


@dataclass(frozen=True, slots=True)
class Masks:
    """A party's streams, by the name of the generator that they stand for.

    `zero` and `zero_bits` give its terms of a sharing of zero.
    """

    by_name: dict[str, Stream]
    zero: PairedStreams
    zero_bits: PairedStreams


def agree(communicator: Any) -> Masks:
    """A key from this party for the next one, and of its own. Cost: 1 round, 32 bytes."""
    rank, size = communicator.get_rank(), communicator.get_world_size()
    mine, heard = _as_tensor(fresh_seed()), torch.zeros(SEED_BYTES // 8, dtype=torch.long)
    if size > 1:
        sent = communicator.isend(mine, (rank + 1) % size)
        communicator.irecv(heard, src=(rank - 1) % size).wait()
        sent.wait()
    else:
        heard = mine
    before, after = heard.numpy().tobytes(), mine.numpy().tobytes()

    def pair(purpose: str) -> PairedStreams:
        return PairedStreams(Stream(before, purpose), Stream(after, purpose))

    streams = {
        "prev": Stream(before, "crypten: one neighbour's"),
        "next": Stream(after, "crypten: one neighbour's"),
        "local": Stream(fresh_seed(), "crypten: local"),
    }
    return Masks(streams, pair("crypten: zero"), pair("crypten: zero bits"))


def _as_tensor(seed: bytes) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(seed, np.int64).copy())
