"""The texts of the GPU's kernels, and what each compilation of one may use of a card."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1] / "src"
OPTIONS = ("--std=c++17", "-default-device")
_INCLUDE = re.compile(r'^#include "([^"]+)"[^\n]*\n', re.MULTILINE)


@dataclass(frozen=True)
class Source:
    """A text, and its budget.

    Args:
        name: of the file in src/cuda, without its suffix.
        registers: the most that a thread of any of its kernels may use.
        hopper: whether it has instructions of compute capability 9.0 alone ("sm_90a").
    """

    name: str
    registers: int
    hopper: bool = False


SOURCES = {
    s.name: s
    for s in (
        Source("elementwise", 48),
        Source("chacha20", 64),
        Source("planes", 128),
        Source("digits", 64),
        Source("product", 208),
        Source("words", 128),
        Source("classes", 64),
        Source("windows", 255, hopper=True),
    )
}


@cache
def text(name: str) -> str:
    """A source with what it includes written in, each file once.

    So a compilation depends on nothing but this text, and CuPy's cache of what was compiled knows
    when any of it has changed.
    """
    seen: set[Path] = set()

    def written(path: Path) -> str:
        if path in seen:
            return ""
        seen.add(path)
        found = path.read_text(encoding="utf-8").replace("#pragma once\n", "")
        return _INCLUDE.sub(lambda m: written((path.parent / m[1]).resolve()), found)

    return written((ROOT / "cuda" / f"{SOURCES[name].name}.cu").resolve())
