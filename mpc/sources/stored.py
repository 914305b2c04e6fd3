"""Items made ahead: a file for each party, encrypted and authenticated, each item served once.

A file holds the party's seed and the list of items, and the last party's also the corrections. Each
is sealed by AES-256-GCM under a key that belongs to this file alone, with its place in the file as
nonce and what it is for as associated data: nothing can be changed, moved or exchanged unnoticed.

How far a file is used up stands at its beginning, and is on the disk before anything beyond it is
served. So after a crash some items are lost, and none is served again. At the start all parties go
on from the furthest that any of them has come to: setting back one file does not set back the rest.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mpc.correlated.items import Item, described, read_item
from mpc.correlated.seeded import Maker, SeededSource
from mpc.errors import MpcError, OutOfStep, PreprocessingSpent, UsageError
from mpc.party import Party
from mpc.prg import SEED_BYTES, derive, fresh_seed
from mpc.ring import Array

MAGIC = b"radmpc items 1\0\0"
_FRONT = struct.Struct("<16s16sQIIQQ")  # magic, id, used, rank, parties, items, bytes of the list
_USED_AT = 32
_TAG = 16
_LIST = 2**64 - 1  # the nonce of the list; items count from 0
AHEAD = 64  # items marked as used at a time, so that not each waits for the disk


def _sealer(key: bytes, identity: bytes, rank: int) -> AESGCM:
    return AESGCM(derive(key, f"items/{identity.hex()}/{rank}"))


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "little")


def _about(identity: bytes, rank: int, parties: int, what: str) -> bytes:
    return b"%b %d of %d %b" % (identity.hex().encode(), rank, parties, what.encode())


def deal(paths: Sequence[Path], keys: Sequence[bytes], items: Iterable[Item]) -> int:
    """Make items ahead and write each party's file; returns how many bytes of corrections.

    Args:
        paths: a file for each party, which must not be there yet.
        keys: 32 bytes for each party, which only it and the dealer may know.
        items: what will be asked for, in order.

    Raises:
        UsageError: a file is there already.
    """
    items = list(items)
    parties, identity = len(paths), secrets.token_bytes(16)
    for path in paths:
        if path.exists():
            raise UsageError(f"{path} is there already: its items may be in use; choose another")
    seeds = [fresh_seed() for _ in paths]
    listed = zlib.compress("\n".join(described(item) for item in items).encode())
    maker, total, made = Maker(seeds), 0, []
    try:
        for rank, path in enumerate(paths):
            path.parent.mkdir(parents=True, exist_ok=True)
            sealer = _sealer(keys[rank], identity, rank)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            made.append(path)
            with os.fdopen(handle, "wb") as file:
                about = _about(identity, rank, parties, f"list of {len(items)}")
                sealed = sealer.encrypt(_nonce(_LIST), seeds[rank] + listed, about)
                size = len(sealed)
                front = (MAGIC, identity, 0, rank, parties, len(items), size)
                file.write(_FRONT.pack(*front) + sealed)
                for number, item in enumerate(items if rank == parties - 1 else []):
                    content = b"".join(v.tobytes() for v in maker.corrections(number, item))
                    what = _about(identity, rank, parties, described(item))
                    file.write(sealer.encrypt(_nonce(number), content, what))
                    total += len(content)
                file.flush()
                os.fsync(file.fileno())
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise
    return total


class StoredSource(SeededSource):
    """Items from this party's file.

    Cost: 1 round at the start; none for items.

    Args:
        path: the file, as `deal` wrote it; it is marked as it is used, and locked meanwhile.
        key: this party's.
        party: who uses it.

    Raises:
        UsageError: no such file, another party's, another key's, or damaged; or in use.
        OutOfStep: the parties' files were not made together.
    """

    name: ClassVar[str] = "file"
    assumption: ClassVar[str] = "who made the files tells no party anything, and keeps nothing"

    def __init__(self, path: Path, key: bytes, party: Party) -> None:
        """Open, check, and agree with the others where to go on."""
        self._path, self._rank, self._parties = path, party.rank, party.size
        refusal: MpcError | None = None
        identity, used = bytes(16), 0
        try:
            identity, used, seed = self._opened(key)
        except UsageError as error:
            refusal, seed = error, bytes(SEED_BYTES)
        mine = np.frombuffer(identity, np.uint8).copy()
        heard = party.broadcast(mine, np.array([used], np.uint64))
        if refusal is not None:
            raise refusal
        if any(not np.array_equal(theirs, mine) for theirs, _ in heard.values()):
            self.close()
            raise OutOfStep("the parties' files of items were not made together: deal anew")
        super().__init__(seed, is_last=party.rank == party.size - 1)
        self._number = self._marked = max(int(there[0]) for _, there in heard.values())
        self.skipped = 0

    def _opened(self, key: bytes) -> tuple[bytes, int, bytes]:
        """Lock and read: the file's identity, how far it is used up, the seed."""
        try:
            self._file = os.fdopen(os.open(self._path, os.O_RDWR), "r+b", buffering=0)
        except OSError as error:
            raise UsageError(f"{self._path}: {error.strerror}: radmpc deal makes it") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"{self._path} is in use by another process") from None
        front = self._file.read(_FRONT.size)
        if len(front) < _FRONT.size or front[:16] != MAGIC:
            raise UsageError(f"{self._path} is no file of items, or of another version")
        _, identity, used, rank, parties, count, size = _FRONT.unpack(front)
        if (rank, parties) != (self._rank, self._parties):
            raise UsageError(
                f"{self._path} is for party {rank} of {parties}, "
                f"and this is party {self._rank} of {self._parties}"
            )
        self._sealer = _sealer(key, identity, rank)
        about = _about(identity, rank, parties, f"list of {count}")
        content = self._unsealed(_LIST, self._file.read(size), about)
        lines = zlib.decompress(content[SEED_BYTES:]).splitlines()
        known: dict[bytes, Item] = {}
        self._items = [known.setdefault(line, read_item(line)) for line in lines]
        self._identity = identity
        at = _FRONT.size + size
        self._starts = [at]
        for item in self._items if self._rank == self._parties - 1 else []:
            at += item.correction_bytes + _TAG
            self._starts.append(at)
        return identity, used, content[:SEED_BYTES]

    def _unsealed(self, number: int, content: bytes, about: bytes) -> bytes:
        try:
            return self._sealer.decrypt(_nonce(number), content, about)
        except InvalidTag:
            raise UsageError(f"{self._path} is damaged, or sealed with another key") from None

    def _next(self, item: Item) -> int:
        """The next item that is such a one; what is passed over, as after a crash, is used up."""
        number = self._number
        while number < len(self._items) and self._items[number] != item:
            number += 1
        if number >= len(self._items):
            raise PreprocessingSpent(
                f"no {item.kind} is left in {self._path.name}: make new files with radmpc deal"
            )
        self.skipped += number - self._number
        self._number = number + 1
        if self._number > self._marked:
            self._mark(min(number + AHEAD, len(self._items)))
        return number

    def _mark(self, used: int) -> None:
        """Put on the disk that items below `used` are gone."""
        os.pwrite(self._file.fileno(), used.to_bytes(8, "little"), _USED_AT)
        os.fdatasync(self._file.fileno())
        self._marked = used

    def _corrections(self, number: int, item: Item) -> list[Array]:
        start, stop = self._starts[number], self._starts[number + 1]
        sealed = os.pread(self._file.fileno(), stop - start, start)
        about = _about(self._identity, self._rank, self._parties, described(item))
        content = memoryview(self._unsealed(number, sealed, about))
        made, at = [], 0
        for field in item.products():
            part = np.frombuffer(content[at : at + field.nbytes], field.dtype)
            made.append(part.reshape(field.shape))
            at += field.nbytes
        return made

    def close(self) -> None:
        """Note exactly how far the file is used up, and unlock it."""
        if not self._file.closed:
            if getattr(self, "_marked", 0) > self._number:
                self._mark(self._number)
            self._file.close()
