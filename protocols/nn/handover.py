"""Between PyTorch and where a party keeps its shares: what lies there already is not copied.

It goes by DLPack, which also lets the stream of who takes something wait for that of who made it.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch.utils.dlpack import from_dlpack

from kernels.machines import HOST, Memory, as_array
from mpc.errors import UsageError
from mpc.ring import WORD, Array, FixedPoint
from protocols.secret import FORM

FORM_WHOLE = FixedPoint(fraction=0, integer=FORM.integer)


def taken(x: torch.Tensor, memory: Memory) -> Array:
    """A tensor's elements: in their place if that is this memory's, and on the host otherwise."""
    # What PyTorch has only noted, a sign or a conjugate or that all is zero, DLPack leaves out.
    x = x.detach().resolve_conj().resolve_neg()
    if x._is_zerotensor():
        x = torch.zeros(x.shape, dtype=x.dtype, device=x.device)
    if x.dtype == torch.bfloat16:  # NumPy and CuPy have none; nothing is lost
        x = x.float()
    if memory is HOST or str(x.device) != memory.device():
        return x.cpu().numpy()  # which looks for anything else of the kind
    # PyTorch hands over what is on its current card alone.
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        return cast(Array, memory.xp.from_dlpack(x))


def encoded(
    x: torch.Tensor | Array | None, memory: Memory, *, whole: bool
) -> tuple[Array, torch.dtype]:
    """An input as ring elements, made where it lies if it can be, and the type that is told of it.

    Args:
        x: real numbers or integers.
        memory: where the party keeps its shares.
        whole: whether integers stay integers.

    Raises:
        UsageError: it is neither, or not there.
        RangeError: NaN, infinity or too large, with counts.
    """
    if x is None:
        raise UsageError("the owner of an input must hold it: x is None here")
    array = taken(x, memory) if isinstance(x, torch.Tensor) else as_array(x)
    if array.dtype.kind not in "iubf":
        raise UsageError(f"an input of type {array.dtype}: share real numbers or integers")
    if whole and array.dtype.kind in "iub":
        return FORM_WHOLE.encode(array), torch.int64
    return FORM.encode(array), torch.float64 if array.dtype == np.float64 else torch.float32


def words(term: torch.Tensor | Array, memory: Memory) -> Array:
    """A term of a share in this memory; a tensor's integers are the ring elements' bits."""
    if not isinstance(term, torch.Tensor):
        return memory.put(term)
    if term.dtype not in (torch.int64, torch.uint64):
        raise UsageError(f"a term of type {term.dtype}: give int64, the ring elements' bits")
    return memory.put(taken(term, memory).view(WORD))


def wanted(device: torch.device | str | None, memory: Memory) -> tuple[Memory, torch.device]:
    """Where an opened value is to be decoded, and what PyTorch calls that place.

    Args:
        device: as `Session.open` takes it.
        memory: where the party keeps its shares.

    Raises:
        UsageError: it can be handed over in no such place: what to do instead.
    """
    here = memory.device()
    try:
        asked = torch.device("cpu" if device is None else device)
    except RuntimeError:
        raise UsageError(f"there is no device {device!r}: choose cpu or {here}") from None
    if device is not None and str(asked) in (here, here.partition(":")[0]):
        if asked.type == "cuda" and not torch.cuda.is_available():
            raise UsageError(
                f"device {asked}: this PyTorch, {torch.__version__}, can use no card: install one "
                "for CUDA, or open without a device"
            )
        return memory, torch.device(here)
    if asked.type != "cpu":
        raise UsageError(
            f"device {asked}: this party keeps its shares on {here}: open without a device, and "
            f"move what was opened with .to({str(asked)!r})"
        )
    return HOST, asked


def handed(ring: Array, form: FixedPoint, kind: torch.dtype) -> torch.Tensor:
    """Opened ring elements as a tensor where they lie."""
    made: torch.Tensor = from_dlpack(form.decode(ring))
    return made.to(kind)
