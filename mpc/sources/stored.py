"""Items made ahead: a file for each party, encrypted and authenticated, each item served once.

A file holds the party's seed and the list of items, and the last party's also the corrections
(`mpc.sources.sealed`).

How far a file is used up stands at its beginning, under a MAC, and is on the disk before anything
beyond it is served. So after a crash some items are lost, and none is served again. At the start
all parties go on from the furthest that any of them has come to: setting back one file does not set
back the rest. Setting back all of them does: no copy of a file may ever be used beside it.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np
from cryptography.exceptions import InvalidTag

from mpc.correlated.descriptions import described
from mpc.correlated.items import Field, Item
from mpc.correlated.seeded import SeededSource
from mpc.errors import OutOfStep, PeerError, PreprocessingSpent, UsageError
from mpc.party import Party
from mpc.prg import SEED_BYTES
from mpc.ring import Array
from mpc.sources.sealed import FRONT, LIST, MAGIC, USED, Seal, about_list, sealed_bytes

AHEAD = 64  # items marked as used at a time, so that not each waits for the disk


class StoredSource(SeededSource):
    """Items from this party's file.

    Cost: 1 round at the start; none for items.

    Args:
        path: the file, as `deal` wrote it; it is marked as it is used, and locked meanwhile.
        key: this party's.
        party: who uses it.
        label: what the file must be for; anything if not given.

    Raises:
        UsageError: no such file, another party's, another key's or label's, damaged, or in use.
        PeerError: a peer's will not do, and who; or the parties' were not made together.
    """

    name: ClassVar[str] = "file"
    assumption: ClassVar[str] = "who made the files works with no party, and keeps nothing of them"

    def __init__(self, path: Path, key: bytes, party: Party, *, label: str | None = None) -> None:
        """Open, check, and agree with the others where to go on."""
        self._path = path
        self._open: BinaryIO | None = None
        self.corrections_bytes = 0  # that were read
        self.skipped = 0  # items that were passed over: foreseen, and not needed
        refusal: UsageError | None = None
        identity, used, seed = bytes(16), 0, bytes(SEED_BYTES)
        try:
            identity, used, seed = self._opened(key, party.rank, party.size, label)
        except UsageError as error:
            refusal = error
        except (OSError, ValueError, zlib.error):  # nobody leaves without telling the others
            refusal = UsageError(f"{path} could not be read")
        try:
            self.begun = self._agreed(party, identity, used, refusal)
        except BaseException:
            self._release()
            raise
        super().__init__(seed, is_last=party.rank == party.size - 1, memory=party.memory)
        self._number = self._marked = self.begun

    @property
    def left(self) -> int:
        """How many items are not used up."""
        return len(self._lines) - self._number

    def _opened(
        self, key: bytes, rank: int, parties: int, label: str | None
    ) -> tuple[bytes, int, bytes]:
        """Lock and read: the file's identity, how far it is used up, the seed."""
        try:
            self._open = os.fdopen(os.open(self._path, os.O_RDWR), "r+b", 0)
        except OSError as error:
            raise UsageError(
                f"this site's items could not be opened ({error.strerror}): they come from whoever "
                f"ran radmpc deal, to {self._path}"
            ) from None
        try:
            fcntl.flock(self._fileno, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{self._path} is in use by another process") from None
        front = self._read(0, FRONT.size)
        if front[:16] != MAGIC or len(front) < FRONT.size:
            raise UsageError(f"{self._path} is no file of items, or of another version")
        _, identity, theirs, of, count, size = FRONT.unpack(front)
        if (theirs, of) != (rank, parties):
            raise UsageError(
                f"{self._path} is for party {theirs} of {of}, and this is party {rank} of {parties}"
            )
        self._seal = Seal(key, identity, rank, parties)
        start = FRONT.size + USED.size
        whole = os.fstat(self._fileno).st_size
        if start + size > whole:
            raise self._damaged()
        try:
            content = self._seal.unseal(LIST, 0, about_list(count, size), self._read(start, size))
            used = self._seal.read_mark(self._read(FRONT.size, USED.size))
        except InvalidTag:
            raise self._damaged() from None
        found, *lines = zlib.decompress(content[SEED_BYTES:]).split(b"\n")
        if label is not None and found.decode() != label:
            raise UsageError(
                f"{self._path} was made for another command, or for a job with other settings"
            )
        sizes = [int(line.partition(b" ")[0]) for line in lines] if rank == parties - 1 else []
        self._starts = np.cumsum([start + size, *sizes], dtype=np.int64)
        if self._starts[-1] != whole or len(lines) != count or used > count:
            raise self._damaged()
        self._lines = [line.partition(b" ")[2] for line in lines]
        return identity, used, content[:SEED_BYTES]

    def _agreed(self, party: Party, identity: bytes, used: int, refusal: UsageError | None) -> int:
        """Where all parties go on: beyond what any of them has used. 1 round."""
        good = np.array([refusal is None], np.uint8)
        mine = good, np.frombuffer(identity, np.uint8), np.array([used], np.uint64)
        heard = party.broadcast(*mine)
        failed = [party.names[rank] for rank, (fine, *_) in sorted(heard.items()) if not fine[0]]
        if failed:
            with suppress(PeerError):  # nobody leaves before all have heard who failed
                party.broadcast(good)
            who = " and ".join(failed)
            raise refusal or PeerError(
                f"{who} could not open its file of items, and says why in its own log"
            )
        if any(theirs.tobytes() != identity for _, theirs, _ in heard.values()):
            raise OutOfStep("the parties' files of items were not made together: deal anew")
        furthest = max(int(there[0]) for *_, there in heard.values())
        if furthest > len(self._lines):
            raise OutOfStep("a party's file of items is used up beyond its end")
        return furthest

    def _read(self, start: int, size: int) -> bytes:
        """Bytes of the file; a system may give fewer at once than it is asked for."""
        parts = []
        while size and (part := os.pread(self._fileno, size, start)):
            parts.append(part)
            start, size = start + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _damaged(self) -> UsageError:
        return UsageError(f"{self._path} is damaged, or sealed with another key")

    def _next(self, item: Item) -> int:
        """The next item that is such a one; what is passed over, as after a crash, is used up.

        Nothing is used up if there is none.
        """
        number = self._found(item, self._number)
        if number >= self._marked:
            self._mark(min(number + AHEAD, len(self._lines)))
        self.skipped += number - self._number
        self._number = number + 1
        return number

    def require(self, items: Sequence[Item]) -> None:
        """See `Source.require`."""
        number = self._number
        for item in items:
            number = self._found(item, number) + 1

    def _found(self, item: Item, number: int) -> int:
        """The first item from `number` on that is such a one."""
        what = described(item).encode()
        while number < len(self._lines) and self._lines[number] != what:
            number += 1
        if number == len(self._lines):
            raise PreprocessingSpent(
                f"the file of items has no {item.kind} left such as this step needs, "
                f"at item {self._number} of {len(self._lines)}: make new files with radmpc deal"
            )
        return number

    def _mark(self, used: int) -> None:
        """Put on the disk that items below `used` are gone."""
        mark = self._seal.mark(used)
        if os.pwrite(self._fileno, mark, FRONT.size) != len(mark):
            raise OSError(f"{self._path.name} could not be marked as used")
        os.fdatasync(self._fileno)
        self._marked = used

    def _corrections(self, number: int, item: Item) -> list[Array]:
        what, at = described(item).encode(), int(self._starts[number])
        self.corrections_bytes += item.correction_bytes
        made = []
        for place, field in enumerate(item.products()):
            size = sealed_bytes(field.nbytes)
            made.append(self._array(number, place, what, field, self._read(at, size)))
            at += size
        return made

    def _array(self, number: int, place: int, what: bytes, field: Field, sealed: bytes) -> Array:
        try:
            content = self._seal.unseal(number, place, what, sealed) if field.nbytes else b""
        except InvalidTag:
            raise self._damaged() from None
        if len(content) != field.nbytes:
            raise self._damaged()
        return np.frombuffer(content, field.dtype).reshape(field.shape)

    @property
    def _fileno(self) -> int:
        if self._open is None:
            raise UsageError(f"{self._path} is closed: nothing more is taken from it")
        return self._open.fileno()

    def close(self) -> None:
        """Note exactly how far the file is used up, and unlock it."""
        try:
            if self._open is not None and self._marked > self._number:
                self._mark(self._number)
        finally:
            self._release()

    def _release(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None
