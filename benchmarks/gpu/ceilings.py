"""What the card can do at all, measured with the libraries that are there."""

from __future__ import annotations

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


def ceilings(cupy: Any, torch: Any) -> dict[str, float]:
    """Bytes and operations a second: a copy counts what is read and written."""
    a, b = (cupy.empty(COPIED, cupy.uint8) for _ in range(2))
    copy = 2 * COPIED / seconds(cupy, lambda: cupy.copyto(b, a))
    macs = SIDE**3
    x = torch.randint(-128, 128, (SIDE, SIDE), dtype=torch.int8, device="cuda")
    stream = cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream)
    with stream:
        int8 = macs / seconds(cupy, lambda: torch._int_mm(x, x.t()))
    y = cupy.random.standard_normal((SIDE, SIDE))
    fp64 = macs / seconds(cupy, lambda: y @ y)
    cores = cupy.cuda.Device().attributes["MultiProcessorCount"]
    kernel = cupy.RawKernel(MULTIPLIER, "multiplier")
    blocks, threads = 8 * cores, 256
    out = cupy.empty(blocks * threads, cupy.uint32)
    work = blocks * threads * TURNS * CHAINS
    integer = work / seconds(cupy, lambda: kernel((blocks,), (threads,), (out, TURNS)))
    return {
        "copy_bytes_per_s": copy,
        "int8_macs_per_s": int8,
        "fp64_macs_per_s": fp64,
        "integer_macs_per_s": integer,
    }
