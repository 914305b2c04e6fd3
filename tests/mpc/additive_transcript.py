"""A small program of additive sharing, by threads or, as `python -m` of this module, by ranks."""

import json
import sys

import numpy as np

from kernels.gemm import matmul
from kernels.ring import multiply
from mpc.party import Party
from mpc.sources.first_party import FirstPartySource
from mpc.transport.mpi import MpiTransport
from protocols.additive import AdditiveProtocol
from tests.mpi.transcripts import FIXED_SEEDS, Recorder

SEEDS = FIXED_SEEDS[:2]


def transcript(party):
    """Every kind of step: SHA-256 of what this party sent, and what it opened."""
    party.transport = recorder = Recorder(party.transport)
    p = AdditiveProtocol(party, source=FirstPartySource(party))
    words = np.arange(-60, 60).astype(np.int64).view(np.uint64) << np.uint64(16)
    x, y = (
        p.input(words * np.uint64(1 + 2 * owner) if party.rank == owner else None, (120,), owner)
        for owner in range(2)
    )
    (product,) = p.bilinear_truncate(multiply, (x, y), fraction=16)
    rows, columns = (s.map(lambda v: v.reshape(12, 10)) for s in (x, y))
    (grid,) = p.bilinear(matmul, (rows, columns.map(np.transpose)))
    (gram,) = p.bilinear(matmul, (rows.map(np.transpose), rows))
    (third,) = p.truncate(y, fraction=16)
    negative = p.sign_bit(x)
    chosen, ring_bits = p.select(negative, y), p.bit_to_ring(negative)
    _, positive = p.positive_part(y)
    _, _, rectified = p.truncated_positive_part(*p.product(multiply, (x, y)), fraction=16)
    zero = p.bit_to_ring(p.any_above(p.bits(x)).plane(0))
    results = (product, grid, gram, third, chosen, ring_bits, positive, rectified, zero)
    opened = p.open(*results, reason="a test")
    (to_one,) = p.open(x, reason="a test", to=1)
    assert (to_one is None) == (party.rank != 1)
    return recorder.sha.hexdigest(), [v.tolist() for v in opened]


def as_rank():
    """One rank under mpirun."""
    from mpi4py import MPI

    rank = MPI.COMM_WORLD.Get_rank()
    party = Party(MpiTransport(MPI.COMM_WORLD), seed=SEEDS[rank])
    sent, opened = transcript(party)
    party.close()
    print(json.dumps({"rank": rank, "sent": sent, "opened": opened}), flush=True)


if __name__ == "__main__":
    sys.exit(as_rank())
