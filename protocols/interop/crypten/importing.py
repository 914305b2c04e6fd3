"""CrypTen 0.4.1, made importable on this torch."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

from mpc.errors import UsageError

VERSION = "0.4.1"
INSTALL = 'pip install "radmpc[crypten]" && pip install --no-deps crypten==0.4.1'
# torch 2.9 moved this module; CrypTen asks for it under its old name, and for nothing new in it.
_OLD = "torch.onnx._internal.registration"
_NEW = "torch.onnx._internal.torchscript_exporter.registration"


class CrypTenMissing(UsageError, ImportError):
    """CrypTen, or something it needs, is not in this environment."""

    def __init__(self, message: str) -> None:
        """Name the package that cannot be imported: `python -m` then says it in one line."""
        ImportError.__init__(self, message, name=__package__)


def _imported() -> Any:
    """CrypTen, with the moved module under its old name; or one line about what is missing.

    Raises:
        CrypTenMissing: CrypTen is not here, is another version or lacks what it imports.
    """
    needed = ("crypten", "omegaconf", "yaml", "onnx")
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise CrypTenMissing(f"not found: {', '.join(missing)}; {INSTALL}")
    if importlib.util.find_spec("torch.onnx._internal.torchscript_exporter") is not None:
        sys.modules.setdefault(_OLD, importlib.import_module(_NEW))
    module = importlib.import_module("crypten")
    if module.__version__ != VERSION:
        raise CrypTenMissing(f"this works with CrypTen {VERSION}, not {module.__version__}")
    return module


crypten = _imported()  # every module here takes it from this one, so that it comes after the above
