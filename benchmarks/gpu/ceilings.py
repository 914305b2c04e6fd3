"""What the card can do at all, measured with the libraries that are there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.gpu.timing import seconds

SIDE = 4096
COPIED = 1 << 30  # bytes
TURNS = 1 << 14  # of the loop of multiplications
CHAINS = 8  # of them that do not wait for each other
# Each turn is CHAINS multiply-adds of 32 bits a thread; what comes out is stored.
MULTIPLIER = """
extern "C" __global__ void multiplier(unsigned* out, long long turns) {
    unsigned x[8];
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    for (int c = 0; c < 8; ++c) x[c] = i + c;
    for (long long t = 0; t < turns; ++t)
        for (int c = 0; c < 8; ++c) x[c] = x[c] * x[c] + i;
    unsigned sum = 0;
    for (int c = 0; c < 8; ++c) sum += x[c];
    out[i] = sum;
}
"""


def copied(cupy: Any) -> float:
    """Bytes a second that a copy reads and writes."""
    a, b = (cupy.empty(COPIED, cupy.uint8) for _ in range(2))
    return 2 * COPIED / seconds(cupy, lambda: cupy.copyto(b, a))


def int8(cupy: Any) -> float:
    """Multiply-adds of signed bytes a second, by PyTorch. Both libraries use the default stream."""
    import torch

    x = torch.randint(-128, 128, (SIDE, SIDE), dtype=torch.int8, device="cuda")
    return SIDE**3 / seconds(cupy, lambda: torch._int_mm(x, x.t()))


def fp64(cupy: Any) -> float:
    """Multiply-adds of doubles a second."""
    y = cupy.random.standard_normal((SIDE, SIDE))
    return SIDE**3 / seconds(cupy, lambda: y @ y)


def integers(cupy: Any) -> float:
    """Multiply-adds of words of 32 bits a second, on the cores."""
    blocks, threads = 8 * cupy.cuda.Device().attributes["MultiProcessorCount"], 256
    kernel = cupy.RawKernel(MULTIPLIER, "multiplier")
    out = cupy.empty(blocks * threads, cupy.uint32)
    work = blocks * threads * TURNS * CHAINS
    return work / seconds(cupy, lambda: kernel((blocks,), (threads,), (out, TURNS)))


CEILINGS: dict[str, Callable[[Any], float]] = {
    "copy_bytes_per_s": copied,
    "int8_macs_per_s": int8,
    "fp64_macs_per_s": fp64,
    "integer_macs_per_s": integers,
}
