"""CrypTen's masks from ChaCha20 under keys of 32 bytes, in place of `torch.Generator`.

CrypTen draws the masks of its shares from generators that are no cryptographic ones, seeded with 8
bytes. Here each party holds a key of its own and one in common with each neighbour, all from the
operating system's entropy. A generator of CrypTen's then only says which key is meant.

What stays as it is: the generator that all parties have in common (it makes public choices, such as
a dropout mask), those of the trusted third party, and debug mode, where CrypTen's user gives the
seeds for a test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from mpc.prg import Stream
from mpc.ring import WORD, Array, Shape
from protocols.interop.crypten.engine import current, start
from protocols.interop.crypten.importing import crypten
from protocols.interop.crypten.views import tensor

Function = Callable[..., Any]
_BITS, _NOBODY = 64, -1


def _stream_of(generator: Any) -> Stream | None:
    """The stream that a generator stands for; None where it stands for none."""
    masks = current().masks if crypten.is_initialized() else None
    if masks is None:
        return None
    if generator is None:
        return masks.by_name["local"]
    for name, stream in masks.by_name.items():
        if any(known is generator for known in crypten.generators[name].values()):
            return stream
    return None


def setup(original: Function) -> Function:
    """A replacement of `crypten._setup_prng`: CrypTen's generators, and keys. One more round."""

    def _setup_prng() -> None:
        original()
        start()

    return _setup_prng


def manual_seed(original: Function) -> Function:
    """A replacement of `crypten.manual_seed`, which debug mode alone allows: streams end there."""

    def seeded(*args: Any, **kwargs: Any) -> None:
        original(*args, **kwargs)
        current().masks = None

    return seeded


def random_ring_element(original: Function) -> Function:
    """A replacement of `generate_random_ring_element`: [-ring_size / 2, ring_size / 2)."""

    def generate_random_ring_element(
        size: Any, ring_size: int = 1 << _BITS, generator: Any = None, **kwargs: Any
    ) -> Any:
        stream = _stream_of(generator)
        if stream is None:
            return original(size, ring_size=ring_size, generator=generator, **kwargs)
        shape = _shape(size)
        if ring_size == 1 << _BITS:
            return _placed(stream.random(shape), kwargs.get("device"))
        drawn = stream.integers(ring_size, int(np.prod(shape, dtype=np.int64))).reshape(shape)
        return _placed(drawn - WORD(ring_size // 2), kwargs.get("device"))

    return generate_random_ring_element


def kbit_random_tensor(original: Function) -> Function:
    """A replacement of `generate_kbit_random_tensor`: integers of so many bits, from 0."""

    def generate_kbit_random_tensor(
        size: Any, bitlength: int | None = None, generator: Any = None, **kwargs: Any
    ) -> Any:
        stream, bits = _stream_of(generator), _BITS if bitlength is None else bitlength
        if stream is None or not 1 <= bits <= _BITS:
            return original(size, bitlength=bitlength, generator=generator, **kwargs)
        return _placed(stream.random(_shape(size)) >> WORD(_BITS - bits), kwargs.get("device"))

    return generate_kbit_random_tensor


def zero_sharing(*, bits: bool) -> Callable[[Function], Function]:
    """A replacement of `PRZS`: this party's terms of a sharing of zero. No message."""

    def replacing(original: Function) -> Function:
        def PRZS(*size: Any, device: Any = None) -> Any:  # noqa: N802  # CrypTen's name
            masks = current().masks
            if masks is None:
                return original(*size, device=device)
            out = np.zeros(_shape(*size), WORD)
            primitives = crypten.mpc.primitives
            kind = primitives.BinarySharedTensor if bits else primitives.ArithmeticSharedTensor
            made = kind(src=_NOBODY)
            made.share = _placed(
                masks.zero_bits.xor_to(out) if bits else masks.zero.add_to(out), device
            )
            return made

        return PRZS

    return replacing


def _shape(size: Any) -> Shape:
    return (int(size),) if isinstance(size, int) else tuple(int(n) for n in size)


def _placed(array: Array, device: Any) -> Any:
    made = tensor(array)
    if device is None or torch.device(device).type == "cpu":
        return made
    return crypten.cuda.CUDALongTensor(made.to(device))
