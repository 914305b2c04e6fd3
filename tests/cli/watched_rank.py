"""A rank whose opened paths are listed in a file: python watched_rank.py LIST ARGUMENTS…."""

import os
import sys
from pathlib import Path

listed = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def note(event: str, arguments: tuple) -> None:
    if event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], str | bytes):
        path = Path.cwd() / os.fsdecode(arguments[0])
        os.write(listed, os.fsencode(path) + b"\n")


sys.addaudithook(note)

from protocols.cli import main  # noqa: E402  what it opens is noted from here on

sys.exit(main(sys.argv[2:]))
