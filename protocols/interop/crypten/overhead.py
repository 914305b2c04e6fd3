"""What CrypTen does at every step beside the step itself, done for less.

Every use of an attribute of a tensor reads a setting, for which OmegaConf takes some fifty
microseconds; and every copy first makes a shared tensor of no elements, with masks. Both are more
than a small step costs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protocols.interop.crypten.importing import crypten

Function = Callable[..., Any]
_cfg = crypten.cfg
MPCTensor = crypten.mpc.MPCTensor


def setting(section: str, name: str) -> Any:
    """A setting as it is now, read past OmegaConf's resolution where nothing is to be resolved."""
    try:
        node = _cfg.__dict__["config"]
        for key in (section, name):
            node = node.__dict__["_content"][key]
        value = node.__dict__["_val"]
    except (KeyError, TypeError):  # laid out otherwise than in the OmegaConf that we know
        value = "${"
    if isinstance(value, str) and "${" in value:
        return getattr(getattr(_cfg, section), name)
    return value


class Settings:
    """Stands where CrypTen's modules say `cfg`, for those that only read."""

    def __getattr__(self, section: str) -> _Section:
        """The settings of a section."""
        return _Section(section)


class _Section:
    """Settings by name."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return setting(self._name, name)


def _made(shared: Any, ptype: Any) -> Any:
    """An `MPCTensor` of what it wraps, without one of no elements before."""
    result = object.__new__(MPCTensor)
    crypten.CrypTensor.__init__(result, requires_grad=False)
    result._tensor, result.ptype = shared, ptype
    return result


def shallow_copy(original: Function) -> Function:
    """A replacement of `MPCTensor.shallow_copy`."""
    return lambda self: _made(self._tensor, self.ptype)


def clone(original: Function) -> Function:
    """A replacement of `MPCTensor.clone`."""
    return lambda self: _made(self._tensor.clone(), self.ptype)


def from_shares(original: Function) -> Function:
    """A replacement of `MPCTensor.from_shares`."""

    def from_shares(
        share: Any, precision: int | None = None, ptype: Any = crypten.mpc.arithmetic
    ) -> Any:
        return _made(ptype.to_tensor().from_shares(share, precision=precision), ptype)

    return from_shares
