"""The file format of items made ahead, and how files are made (`radmpc deal`).

    magic, identity, rank, parties, how many items, bytes of the list      FRONT
    how many items are used up, and a MAC of that                          USED
    the party's seed, what the file is for, the list of items              sealed
    corrections, item by item, array by array                              sealed; the last party's

Sealed is AES-256-GCM under a key that belongs to this file alone. A part's place in the file is its
nonce, and what it is for is associated data: nothing can be changed, moved, cut off or taken from
another file unnoticed.
"""

from __future__ import annotations

import hmac
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mpc.correlated.descriptions import described
from mpc.correlated.items import Item
from mpc.correlated.seeded import Maker
from mpc.errors import UsageError
from mpc.prg import derive, fresh_seed

MAGIC = b"radmpc items 2\0\0"
FRONT = struct.Struct("<16s16sIIQQ")  # magic, identity, rank, parties, items, bytes of the list
USED = struct.Struct("<Q32s")  # how many items are used up, and the MAC of that; after the front
TAG = 16
PIECE = 1 << 26  # bytes sealed at once
LIST = 2**64 - 1  # the list's number among the nonces; items count from 0
KEY_BYTES = 32


class Seal:
    """What seals one file: its AEAD and the MAC of its counter, under keys of this file alone."""

    def __init__(self, key: bytes, identity: bytes, rank: int, parties: int) -> None:
        """Derive both."""
        self._about = b"%b %d of %d " % (identity.hex().encode(), rank, parties)
        place = f"{identity.hex()}/{rank} of {parties}"
        self._aead = AESGCM(derive(key, f"items/{place}"))
        self._mac = derive(key, f"items used/{place}")

    def seal(self, number: int, place: int, what: bytes, content: bytes) -> Iterator[bytes]:
        """The pieces of a sealed part. A nonce is the number, the place and the piece: used once.

        The number of pieces follows from the length, which the reader knows.
        """
        for i, start in enumerate(range(0, len(content), PIECE)):
            piece = content[start : start + PIECE]
            yield self._aead.encrypt(_nonce(number, place, i), piece, self._about + what)

    def unseal(self, number: int, place: int, what: bytes, sealed: bytes) -> bytes:
        """What was sealed; raises InvalidTag if anything differs."""
        step = PIECE + TAG
        pieces = [
            self._aead.decrypt(_nonce(number, place, i), sealed[at : at + step], self._about + what)
            for i, at in enumerate(range(0, len(sealed), step))
        ]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def mark(self, used: int) -> bytes:
        """The counter and its MAC. It changes under one key, which an AEAD's nonce may not."""
        return USED.pack(used, hmac.digest(self._mac, b"%d" % used, "sha256"))

    def read_mark(self, raw: bytes) -> int:
        """The counter; raises InvalidTag if it was changed."""
        used = int.from_bytes(raw[:8], "little")
        if not hmac.compare_digest(raw, self.mark(used)):
            raise InvalidTag
        return used


def _nonce(number: int, place: int, piece: int) -> bytes:
    return struct.pack("<QHH", number, place, piece)


def sealed_bytes(nbytes: int) -> int:
    """What a part of this many bytes takes in a file."""
    return nbytes + TAG * -(-nbytes // PIECE)


def item_bytes(item: Item) -> int:
    """What an item takes in the last party's file."""
    return sum(sealed_bytes(field.nbytes) for field in item.products())


def read_key(path: Path) -> bytes:
    """The key of a file of items.

    Raises:
        UsageError: no such file, not 32 bytes, or others may read it.
    """
    try:
        with path.open("rb") as file:
            mode, key = os.fstat(file.fileno()).st_mode, file.read()
    except OSError as error:
        raise UsageError(
            f"this site's key for its items could not be read ({error.strerror}): it comes, as the "
            f"file of items does, from whoever ran radmpc deal, to {path}"
        ) from None
    if mode & 0o077:
        raise UsageError(f"others may read the key file {path}: chmod 600 {path}")
    if len(key) != KEY_BYTES:
        raise UsageError(f"the key file {path} has {len(key)} bytes, not {KEY_BYTES}")
    return key


def deal(
    paths: Sequence[Path],
    keys: Sequence[bytes],
    items: Iterable[Item],
    *,
    label: str = "",
    on_item: Callable[[], None] = lambda: None,
) -> int:
    """Make items ahead and write each party's file; returns how many bytes of corrections.

    Corrections are made and written one by one; the list of items is held. If anything fails, no
    file is left.

    Args:
        paths: a file for each party, which must not be there yet.
        keys: 32 bytes for each party, of this file alone, which only it and the dealer may know.
        items: what will be asked for, in order.
        label: what the files are for, such as a digest of settings; who uses them may compare it.
        on_item: told after each item.

    Raises:
        UsageError: a file is there already, or the paths and keys do not go together.
    """
    parties = len(paths)
    if parties < 2 or len(keys) != parties or len(set(paths)) != parties:
        raise UsageError(f"{parties} different files and {len(keys)} keys: each party has its own")
    if "\n" in label:
        raise UsageError("a label is one line")
    for path in paths:
        refuse_to_replace(path)
    items = list(items)
    lines = [label, *(f"{item_bytes(item)} {described(item)}" for item in items)]
    packed = zlib.compress("\n".join(lines).encode())
    identity, seeds = os.urandom(16), [fresh_seed() for _ in paths]
    maker, total = Maker(seeds), 0
    made: list[tuple[Seal, BinaryIO]] = []
    try:
        for rank, path in enumerate(paths):
            seal, file = Seal(keys[rank], identity, rank, parties), _new(path)
            made.append((seal, file))
            content = seeds[rank] + packed
            size = sealed_bytes(len(content))
            front = (bytes(16), identity, rank, parties, len(items), size)
            file.write(FRONT.pack(*front) + seal.mark(0))
            file.writelines(seal.seal(LIST, 0, about_list(len(items), size), content))
        seal, file = made[-1]
        for number, item in enumerate(items):
            what = described(item).encode()
            for place, part in enumerate(maker.corrections(number, item)):
                file.writelines(seal.seal(number, place, what, part.tobytes()))
            total += item.correction_bytes
            on_item()
        for _, file in made:
            _synced(file)
            file.seek(0)
            file.write(MAGIC)  # last: a file without it is none, such as after a crash
            _synced(file)
    except BaseException:
        for path, _ in zip(paths, made, strict=False):
            path.unlink(missing_ok=True)
        raise
    finally:
        for _, file in made:
            file.close()
    return total


def _synced(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def refuse_to_replace(path: Path) -> None:
    """Raise a `UsageError` if there is a file already: its items may be in use."""
    if path.exists():
        raise UsageError(f"{path} is there already: remove it once no run needs it any more")


def _new(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except FileExistsError:
        refuse_to_replace(path)
        raise


def about_list(count: int, nbytes: int) -> bytes:
    """What the list of items says of itself."""
    return b"list of %d in %d bytes" % (count, nbytes)
