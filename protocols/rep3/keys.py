"""The keys of three parties, agreed on once when a session starts."""

from __future__ import annotations

import hashlib

import numpy as np

from mpc.correlated.replicated import ReplicatedStreams
from mpc.errors import UsageError
from mpc.party import Buffer, Party


def agree_on_keys(party: Party) -> ReplicatedStreams:
    """Pairwise keys and common coins for three parties.

    Each draws k_i and a coin from its own seed, sends k_i to the party before and the coin to both.
    Key k_i is held by party i and the party before it, so what is drawn from it is uniform to the
    third. Cost: 1 round, 96 bytes a party.

    Raises:
        UsageError: not three parties.
    """
    if party.size != 3:
        raise UsageError(f"rep3 needs 3 parties, not {party.size}: use mpirun -n 3")
    key = np.frombuffer(party.seed("replicated key"), np.uint8).copy()
    coin = np.frombuffer(party.seed("public coin"), np.uint8).copy()
    before, after = (party.rank - 1) % 3, (party.rank + 1) % 3
    buffer = Buffer((32,), np.dtype(np.uint8))
    send = {before: [key, coin], after: [coin]}
    heard = party.exchange(send, {after: [buffer, buffer], before: [buffer]})
    keys = {party.rank: key.tobytes(), after: heard[after][0].tobytes()}
    coins = {party.rank: coin, after: heard[after][1], before: heard[before][0]}
    public = hashlib.sha256(b"".join(coins[r].tobytes() for r in range(3))).digest()
    private = party.stream("private words")
    return ReplicatedStreams(party.rank, keys, public, private, party.memory)
