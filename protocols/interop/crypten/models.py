"""A CrypTen model's parameters in a torch model of the same architecture, as secret tensors."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import nn

from mpc.errors import ShapeMismatch, UsageError
from mpc.ring import Shape
from protocols.interop.crypten.importing import crypten
from protocols.interop.crypten.shares import array_from_crypten
from protocols.nn import Session

M = TypeVar("M", bound=nn.Module)


def model_from_crypten(source: Any, target: M, session: Session) -> M:
    """Put the shares of an encrypted CrypTen model into a torch model, in place. No message.

    Parameters and floating-point buffers are matched by name if both sides have the same names,
    and by their order otherwise: a model that went through ONNX names its layers anew.

    Args:
        source: a `crypten.nn.Module` after `encrypt()`.
        target: a model of the same architecture; its values do not count.
        session: of the additive protocol, with CrypTen's ranks.

    Returns:
        The target.

    Raises:
        UsageError: the source is not encrypted.
        ShapeMismatch: the two differ in what they hold; says where.
    """
    if not isinstance(source, crypten.nn.Module):
        raise UsageError(f"expected a crypten.nn.Module, not {type(source).__name__}")
    if not source.encrypted:
        raise UsageError("the CrypTen model is not encrypted: call encrypt() first")
    theirs = dict([*source.named_parameters(), *source.named_buffers()])
    theirs = {name: value for name, value in theirs.items() if hasattr(value, "share")}
    ours = dict(_slots(target))
    pairs = _paired(theirs, ours)
    arrays = {name: array_from_crypten(theirs[there], session.protocol) for name, there in pairs}
    session.replace(target, arrays)
    return target


def _slots(model: nn.Module) -> list[tuple[str, Shape]]:
    """Names and shapes of what a session makes secret, parameters first as CrypTen lists them."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return [(name, tuple(t.shape)) for name, t in tensors if t.is_floating_point()]


def _paired(theirs: dict[str, Any], ours: dict[str, Shape]) -> list[tuple[str, str]]:
    if len(theirs) != len(ours):
        raise ShapeMismatch(
            f"the CrypTen model holds {len(theirs)} tensors, the torch model {len(ours)}"
        )
    names = list(ours) if theirs.keys() == ours.keys() else list(theirs)
    pairs = list(zip(ours, names, strict=True))
    for name, there in pairs:
        if (shape := tuple(theirs[there].size())) != ours[name]:
            raise ShapeMismatch(f"{there} has shape {shape} in CrypTen, {name} {ours[name]} here")
    return pairs
