"""ChaCha20 streams on a card, one launch each: see `kernels.prg`."""

from __future__ import annotations

import struct

from kernels import _native
from kernels.array import Array
from kernels.cuda.launch import WAVES, Gpu

THREADS = 128  # of a block: each makes one of the stream's blocks at a time
BLOCK_BYTES = 64
BYTES_OF_ONE = {_native.FILL: "fill", _native.XOR: "xor"}
BYTES_OF_TWO = {_native.XOR_BOTH: "xor_both"}
WORDS_OF_ONE = {_native.ADD: "add", _native.SUBTRACT: "subtract"}
WORDS_OF_TWO = {_native.ADD_DIFFERENCE: "add_difference"}
NAMES = BYTES_OF_ONE | BYTES_OF_TWO | WORDS_OF_ONE | WORDS_OF_TWO


def chacha20(gpu: Gpu, mode: int, out: Array, key_a: bytes, key_b: bytes, nonce: bytes) -> None:
    """The stream of key_a, or what the mode makes of two keys' streams, onto `out` in place.

    Args:
        gpu: where `out` lies.
        mode: `_native.FILL` or another of the six.
        out: contiguous unsigned words; of a ring dtype if the mode adds.
        key_a: 32 bytes.
        key_b: 32 bytes; only modes of two streams look at them.
        nonce: 12 bytes.
    """
    if not out.nbytes:
        return
    name = f"chacha20_{NAMES[mode]}"
    if mode in WORDS_OF_ONE or mode in WORDS_OF_TWO:
        name += f"_u{8 * out.itemsize}"
    # Keys go as arguments, so that no array on the card holds one.
    said = key_a + nonce + bytes(4)
    if mode in BYTES_OF_TWO or mode in WORDS_OF_TWO:
        said += key_b
    words = struct.unpack(f"<{len(said) // 8}q", said)
    tile = THREADS * BLOCK_BYTES
    blocks = min(-(-out.nbytes // tile), WAVES * gpu.cores)
    gpu.launch("chacha20", name, (blocks, 1, 1), THREADS, (out, out.nbytes, *words), tile)
