"""How the compiled kernels run: on how many threads, and with which instructions."""

from __future__ import annotations

import os

from kernels import _native


def _cores() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads(n: int | None = None) -> int:
    """How many threads a kernel may use; with n, set it first. One means that no thread is started.

    The default is every core this process may use; a launcher divides that by its ranks there.
    """
    if n is not None:
        if n < 1:
            raise ValueError(f"a kernel needs at least one thread, not {n}")
        _native.set_threads(n)
    return _native.get_threads()


def available() -> tuple[str, ...]:
    """The instruction sets that this CPU can run, best first; "plain" is always the last."""
    return tuple(_native.instruction_sets())


def instruction_set() -> str:
    """The instruction set in use: "avx512", "avx2" or "plain"."""
    return _native.get_instruction_set()


def use_instruction_set(name: str) -> None:
    """Run every kernel with this instruction set from now on; for tests and measurements.

    Raises ValueError if this CPU cannot.
    """
    if name not in available():
        raise ValueError(f"this CPU runs {', '.join(available())}, not {name}")
    _native.set_instruction_set(name)


threads(_cores())
