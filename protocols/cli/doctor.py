"""`radmpc doctor`: what this machine has, what is missing, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
from collections.abc import Iterator

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLSLossless,
    RLELossless,
)

from kernels import native
from kernels.cuda import card
from mpc.errors import UsageError
from mpc.launch import mpirun
from protocols.cli.manifest import versions

TRANSFER_SYNTAXES = (
    ExplicitVRLittleEndian,
    RLELossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLSLossless,
    JPEG2000Lossless,
    JPEG2000,
)
Finding = tuple[bool, str, str]  # good, what, what was found or what to do
# What three ranks do: meet, and say whether MPI takes a card's memory. The doctor's own process
# asks nothing, since that would start MPI there.
_MEET = """
from mpi4py import MPI
from mpc.transport.aware import takes_cards
MPI.COMM_WORLD.Barrier()
print("takes cards" if takes_cards() else "does not")
"""
_TAKEN = "MPI takes a card's memory itself (it is CUDA-aware)"
_STAGED = "messages go through page-locked memory of the host (this MPI is not CUDA-aware)"


def doctor() -> int:
    """Print what was found; returns 0 if nothing that is needed is missing or in the way."""
    healthy = True
    for good, what, found in findings():
        healthy &= good
        print(f"{'ok     ' if good else 'PROBLEM'}  {what}: {found}")
    return 0 if healthy else 1


def findings() -> Iterator[Finding]:
    """Each thing looked at: whether it will do, what it is, what was found."""
    for name, version in versions().items():
        yield True, name, version
    yield True, "cores", f"{os.cpu_count()}, {native.threads()} kernel threads if alone"
    yield True, "instruction set", native.instruction_set()
    met, takes_cards = _mpi()
    yield met
    cards, found = _gpu()
    yield True, "GPU", found
    if cards and met[0]:
        yield True, "MPI and cards", _TAKEN if takes_cards else _STAGED
    yield from _decoders()
    yield from _names()


def _mpi() -> tuple[Finding, bool]:
    """Whether ranks start and meet here, and whether their MPI is CUDA-aware."""
    try:
        line, environment = mpirun(3, ["-c", _MEET])
    except UsageError as error:
        return (False, "mpirun", str(error)), False
    try:
        ran = subprocess.run(line, env=environment, capture_output=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return (False, "mpirun", "three ranks did not meet within 60 s"), False
    if ran.returncode:
        lines = ran.stderr.decode(errors="replace").strip().splitlines()
        why = lines[-1] if lines else "no message"
        return (False, "mpirun", f"three ranks did not start: {why}"), False
    return (True, "mpirun", f"{line[0]}, three ranks met"), b"takes cards" in ran.stdout


def _gpu() -> tuple[bool, str]:
    try:
        return True, f'{", ".join(card.devices())}; for device = "cuda" in a job'
    except card.DeviceError as error:
        return False, f"none; everything runs on the CPU ({error})"


def _decoders() -> Iterator[Finding]:
    for uid in TRANSFER_SYNTAXES:
        decoder = get_decoder(UID(uid))
        found = ", ".join(decoder.available_plugins)
        yield True, f"DICOM {uid.name}", found or "no decoder: pip install 'radmpc[dicom]'"


def _names() -> Iterator[Finding]:
    """The three packages have general names: nobody else's may stand in this environment."""
    owners = importlib.metadata.packages_distributions()
    for package in ("kernels", "mpc", "protocols"):
        others = sorted(set(owners.get(package, [])) - {"radmpc"})
        if others:
            yield (
                False,
                f"package {package}",
                f"also installed by {', '.join(others)}: give radmpc an environment of its own",
            )
