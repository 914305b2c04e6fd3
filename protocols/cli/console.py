"""What a person sees: progress bars on rank 0 of a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console as Rich
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mpc.launch import under_mpirun

# Set for the ranks by the process that started them, since they write into a pipe of its own.
COLUMNS = "RADMPC_TERMINAL_COLUMNS"


class Console:
    """Writes for one rank; ranks other than 0 say only what concerns them alone.

    All of it ends wherever mpirun was started, which may be another site: no file's name, no
    label and no prediction is said here. Those go into files of the site itself.
    """

    def __init__(self, rank: int, name: str) -> None:
        """Find out whether a person is watching."""
        self.rank, self.name = rank, name
        columns = os.environ.get(COLUMNS)
        self._rich = Rich(
            force_terminal=bool(columns) or _launcher_has_terminal(),
            width=int(columns) if columns and columns.isdigit() else None,
            highlight=False,
            markup=False,
        )

    def say(self, text: str) -> None:
        """A line from rank 0, for all."""
        if self.rank == 0:
            self._rich.print(text, soft_wrap=True)

    def note(self, text: str) -> None:
        """A line that concerns this site alone."""
        print(f"[{self.name}] {text}", flush=True)

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Bar]:
        """A bar for `total` steps on rank 0 of a terminal; nothing elsewhere."""
        if self.rank or not self._rich.is_terminal:
            yield Bar(None, TaskID(0))
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._rich, transient=True) as progress:
            yield Bar(progress, progress.add_task(title, total=total))


class Bar:
    """A progress bar, or nothing."""

    def __init__(self, progress: Progress | None, task: TaskID) -> None:
        """Hold a bar of rich's, if there is one."""
        self._progress, self._task = progress, task

    def step(self) -> None:
        """One step done."""
        if self._progress is not None:
            self._progress.update(self._task, advance=1)


def _launcher_has_terminal() -> bool:
    """Whether the output ends at a terminal.

    mpirun gives rank 0 one of its own, whoever reads: ask about mpirun's.
    """
    if not under_mpirun():
        return sys.stdout.isatty()
    try:
        out = str(Path(f"/proc/{os.getppid()}/fd/1").readlink())
    except OSError:
        return False
    return out.startswith(("/dev/pts/", "/dev/tty"))


def terminal_environment() -> dict[str, str]:
    """What tells ranks that their output ends at a terminal, if this process's does."""
    if not sys.stdout.isatty():
        return {}
    columns = os.get_terminal_size(sys.stdout.fileno()).columns
    return {COLUMNS: str(columns or 80)}  # some terminals do not say how wide they are


def complain(text: str) -> None:
    """One line on standard error, written at once, so that ranks do not write into each other's."""
    sys.stderr.write(f"radmpc: {text}\n")
    sys.stderr.flush()
