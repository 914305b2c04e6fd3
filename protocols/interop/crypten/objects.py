"""Objects of Python from a peer, read as CrypTen reads them, and setting nothing of this process.

CrypTen's restricted loader finds only the classes and functions of its list. That is not enough:
pickle's BUILD sets attributes of whatever is on its stack, a listed function as well, and so for
the whole process. Layers need BUILD, since their settings are their attributes. So it is allowed
for instances of listed classes, which the loading itself has made, and for nothing else; and in
the pickles that storages of tensors travel in, which need none, not at all.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import torch

from mpc.errors import PeerError
from protocols.interop.crypten.importing import crypten

_serial = crypten.common.serial
_Restricted: Any = _serial.RestrictedUnpickler
# By name; a dictionary that CrypTen's `register_safe_class` adds to.
_LISTED: dict[str, Any] = vars(_Restricted)["_RestrictedUnpickler__SAFE_CLASSES"]
_BUILD: int = pickle.BUILD[0]
_build: Any = pickle._Unpickler.dispatch[_BUILD]


class _Storages(pickle._Unpickler):
    """Reads what `torch.save` wrote of a storage: no BUILD."""

    _RestrictedUnpickler__SAFE_CLASSES = _LISTED  # where CrypTen's `find_class` looks

    def find_class(self, module: str, name: str) -> Any:
        """What CrypTen's list has under a name; a storage's loader is replaced by ours."""
        found = _Restricted.find_class(self, module, name)
        return _storage if found is _serial._safe_load_from_bytes else found

    def _refuse(self) -> None:
        raise PeerError("a peer's object sets attributes of what is not a layer")

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **pickle._Unpickler.dispatch,
        _BUILD: _refuse,
    }


class _Objects(_Storages):
    """Reads objects: BUILD for instances of listed classes only."""

    def _build_instance(self) -> None:
        kind = type(self.stack[-2])  # type: ignore[attr-defined]  # under the state
        if not any(kind is listed for listed in _LISTED.values()):
            self._refuse()
        _build(self)

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **pickle._Unpickler.dispatch,
        _BUILD: _build_instance,
    }


class _StoragePickle:
    """What torch takes for the module `pickle`."""

    Unpickler = _Storages

    @staticmethod
    def load(file: Any) -> Any:
        """One object."""
        return _Storages(file).load()


def _storage(raw: bytes) -> Any:
    legacy: Any = vars(torch.serialization)["_legacy_load"]
    return legacy(io.BytesIO(raw), map_location=None, pickle_module=_StoragePickle)


def loads(raw: bytes) -> Any:
    """An object, of what CrypTen's restricted loader takes.

    Raises:
        ValueError: something in it is not on CrypTen's list.
        PeerError: it sets attributes of something else than an instance of a listed class.
    """
    result = _Objects(io.BytesIO(raw)).load()
    if torch.is_tensor(result) or isinstance(result, torch.nn.Module):
        _serial._check_hooks_are_valid(result, "_backward_hooks")
    return result
