"""Correlated randomness for a benchmark, made ahead: what a case asks for, in files, and its cost.

All ranks of a benchmark trust each other: the first makes the files for all.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.cases import Case
from kernels import native
from mpc.correlated.items import Item
from mpc.correlated.seeded import Maker, Source
from mpc.party import Party
from mpc.prg import fresh_seed
from mpc.sources import ListingSource, StoredSource, deal
from mpc.transport.silent import SilentTransport
from protocols.nn import Session

PATH_BYTES = 4096


@dataclass(frozen=True)
class Asked:
    """The items of a case: all of them, and those of its last step."""

    items: list[Item]
    step: list[Item]


def asked(party: Party, case: Case, *, width: int, chunk: int, batch: int, steps: int) -> Asked:
    """What a case asks for in so many steps, found by running it without peers.

    It runs where the party keeps its shares.
    """
    alone = Party(SilentTransport(party.rank, party.size), memory=party.memory)
    source = ListingSource(alone)
    session = Session(alone, protocol="additive", width=width, source=source, chunk=chunk)
    step, start = case.prepare(session, batch), 0
    for _ in range(steps):
        start = len(source.items)
        step()
    return Asked(source.items, source.items[start:])


def made_ahead(party: Party, items: list[Item], stack: ExitStack) -> Source:
    """This rank's source, from files that the first rank writes; they go when `stack` closes."""
    if party.rank == 0:
        folder = tempfile.mkdtemp(prefix="radmpc-items-")
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        keys = [fresh_seed() for _ in range(party.size)]
        deal([Path(folder, f"{rank}.items") for rank in range(party.size)], keys, items)
        told = [
            np.frombuffer(v.ljust(PATH_BYTES, b"\0"), np.uint8)
            for v in (folder.encode(), b"".join(keys))
        ]
    else:
        told = [np.zeros(PATH_BYTES, np.uint8)] * 2
    where, key = (part.tobytes() for part in party.broadcast(*told)[0])
    path = Path(where.rstrip(b"\0").decode(), f"{party.rank}.items")
    source = StoredSource(path, key[32 * party.rank : 32 * (party.rank + 1)], party)
    stack.callback(source.close)
    return source


def making(step: list[Item], parties: int) -> tuple[float, int]:
    """Seconds that a dealer takes for a step's items on one core, and bytes that it sends.

    Masks of earlier items are taken as of the first: they cost the same.
    """
    maker, before = Maker([fresh_seed() for _ in range(parties)]), native.threads()
    native.threads(1)
    start = time.perf_counter()
    for number, item in enumerate(step):
        maker.corrections(1 << 40 | number, item)
    seconds = time.perf_counter() - start
    native.threads(before)
    return seconds, sum(item.correction_bytes for item in step)
