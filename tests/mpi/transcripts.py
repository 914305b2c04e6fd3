"""The same bytes over every transport: what a small program sends and opens."""

import hashlib
import json

import numpy as np

from kernels.gemm import matmul
from kernels.ring import multiply
from mpc.launch import run_parties
from protocols.rep3 import Rep3Protocol


class Recorder:
    """A transport that hashes what is sent through it: to whom, how long, and every byte."""

    def __init__(self, inner):
        self.inner, self.rank, self.size = inner, inner.rank, inner.size
        self.sha = hashlib.sha256()

    def exchange(self, step, send, receive, deadline_s):
        for peer, arrays in sorted(send.items()):
            for a in arrays:
                self.sha.update(f"{step} {peer} {a.nbytes} ".encode() + a.tobytes())
        self.inner.exchange(step, send, receive, deadline_s)

    def close(self, reason=None):
        self.inner.close(reason)


FIXED_SEEDS = [bytes([rank + 1]) * 32 for rank in range(3)]


def transcript(party):
    """A small program with every kind of step: SHA-256 of what this party sent, what it opened."""
    party.transport = recorder = Recorder(party.transport)
    p = Rep3Protocol(party)
    words = np.arange(-60, 60).astype(np.int64).view(np.uint64) << np.uint64(16)
    x, y = (
        p.input(words * np.uint64(1 + owner) if party.rank == owner else None, (120,), owner)
        for owner in (0, 2)
    )
    (product,) = p.bilinear_truncate(multiply, (x, y), fraction=16)
    rows, columns = (s.map(lambda v: v.reshape(12, 10)) for s in (x, y))
    (grid,) = p.bilinear(matmul, (rows, columns.map(np.transpose)))
    (third,) = p.truncate(y, fraction=16)
    negative = p.sign_bit(x)
    chosen, ring_bits = p.select(negative, y), p.bit_to_ring(negative)
    _, _, rectified = p.truncated_positive_part(*p.product(multiply, (x, y)), fraction=16)
    opened = p.open(product, grid, third, chosen, ring_bits, rectified, reason="a test")
    (to_two,) = p.open(x, reason="a test", to=2)
    assert (to_two is None) == (party.rank != 2)
    return recorder.sha.hexdigest(), [v.tolist() for v in opened]


def say(party, rank):
    """Run it at one rank, and write down for `said_by_ranks` what it did."""
    sent, opened = transcript(party)
    party.close()
    print(json.dumps({"rank": rank, "sent": sent, "opened": opened}), flush=True)


def said_by_ranks(text):
    """What three ranks wrote down, by rank."""
    lines = sorted(map(json.loads, text.splitlines()), key=lambda line: line["rank"])
    assert [line["rank"] for line in lines] == [0, 1, 2]
    return [(line["sent"], line["opened"]) for line in lines]


def among_threads():
    """What three threads do."""
    return run_parties(3, transcript, seeds=FIXED_SEEDS)
