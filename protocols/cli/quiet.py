"""Ranks under mpirun, without what it says of their end: each rank has said why itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence

from protocols.cli.console import terminal_environment

RULE = "-" * 74
NOTICES = ("MPI_ABORT was invoked", "prterun has exited", "prterun detected that one or more")


def run_quietly(line: Sequence[str], environment: dict[str, str]) -> int:
    """Run mpirun; what the ranks say is passed on, and mpirun's own words about their end are not.

    Returns its exit code.
    """
    with subprocess.Popen(
        line,
        env=environment | terminal_environment(),
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as started:
        try:
            for text in without_notices(started.stderr or ()):
                sys.stderr.write(text)
                sys.stderr.flush()
            return started.wait()
        except KeyboardInterrupt:
            started.terminate()
            raise


def without_notices(lines: Iterable[str]) -> Iterator[str]:
    """The lines without mpirun's framed notices that a rank stopped, since the rank said why."""
    held: list[str] = []
    notice = False
    for line in lines:
        if "\0" in line:  # mpirun ends what it frames with one
            line = line.replace("\0", "")
            if not line.strip():
                continue
        if notice and not line.strip():
            notice = False
            continue
        notice = False
        if line.rstrip() == RULE:
            held.append(line)
            if len(held) == 1:
                continue
            notice = any(text in inner for inner in held for text in NOTICES)
            if not notice:
                yield from held
            held = []
        elif line.startswith("radmpc: "):
            yield line  # ranks may write while mpirun does
        elif held:
            held.append(line)
        else:
            yield line
    yield from held
