"""What a session costs: rounds, bytes in each direction and seconds, in all and by operation.

Every round of a `Party` is counted here, and nowhere else. A place says where in a model one is
("features.0"), a scope what is being done ("relu"); scopes nest, and what happens is credited to
the whole path ("features.0/relu/select"), so that the parts add up to the total.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

Path = tuple[str, tuple[str, ...]]


@dataclass(slots=True)
class Count:
    """Rounds, seconds, and bytes to and from each peer."""

    rounds: int = 0
    seconds: float = 0.0
    sent: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    received: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    @property
    def sent_bytes(self) -> int:
        """Bytes sent to all peers together."""
        return sum(self.sent.values())

    @property
    def received_bytes(self) -> int:
        """Bytes received from all peers together."""
        return sum(self.received.values())

    def as_dict(self) -> dict[str, object]:
        """Plain values, for a manifest."""
        return {
            "rounds": self.rounds,
            "seconds": round(self.seconds, 6),
            "sent_bytes": self.sent_bytes,
            "received_bytes": self.received_bytes,
            "sent_to": {str(peer): n for peer, n in sorted(self.sent.items())},
            "received_from": {str(peer): n for peer, n in sorted(self.received.items())},
        }


class Meter:
    """Counts of one party. `total` is everything; `operations` splits it by scope."""

    def __init__(self) -> None:
        """Start from zero, outside any scope."""
        self.total = Count()
        self.operations: dict[str, Count] = defaultdict(Count)
        self._place = ""
        self._labels: list[str] = []
        self._since = time.perf_counter()

    @property
    def label(self) -> str:
        """The path of place and scopes, or "other" outside all of them."""
        return "/".join([*([self._place] if self._place else []), *self._labels]) or "other"

    @property
    def place(self) -> str:
        """Where in a model one is; the head of the path."""
        return self._place

    @place.setter
    def place(self, place: str) -> None:
        self._credit()
        self._place = place

    def settle(self) -> None:
        """Credit the time up to now, so that the counts can be read."""
        self._credit()

    def round(self, sent: Mapping[int, int], received: Mapping[int, int]) -> None:
        """Count one round: bytes sent to and received from each peer."""
        for count in (self.total, self.operations[self.label]):
            count.rounds += 1
            for peer, n in sent.items():
                count.sent[peer] += n
            for peer, n in received.items():
                count.received[peer] += n

    @contextmanager
    def scope(self, label: str) -> Iterator[None]:
        """Credit what happens inside to `label`, except what an inner scope takes."""
        self._credit()
        self._labels.append(label)
        try:
            yield
        finally:
            self._credit()
            self._labels.pop()

    @property
    def path(self) -> Path:
        """Where one is now, to be handed to `at` later."""
        return self._place, tuple(self._labels)

    @contextmanager
    def at(self, path: Path) -> Iterator[None]:
        """Credit what happens inside to a path of before: it was put off from there."""
        self._credit()
        here = self._place, self._labels
        self._place, self._labels = path[0], list(path[1])
        try:
            yield
        finally:
            self._credit()
            self._place, self._labels = here

    def _credit(self) -> None:
        now = time.perf_counter()
        self.operations[self.label].seconds += now - self._since
        self.total.seconds += now - self._since
        self._since = now
