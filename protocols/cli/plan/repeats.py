"""What a run costs, from a run in which repetitions were left out.

In each loop a dry run does things of a kind until two in a row were alike, and leaves out the rest.
What it did is kept as stretches, whose costs were measured, and loops, which say which pass stands
for each of the real ones. So sums over the real run, and the list of items in its order, follow.

Where the parties' roles turn, a pass is like another one with the ranks moved on: what rank 0 does
in one, rank 1 does in the other, towards rank 2 what was towards rank 1. So what a rank costs is
found from the dry runs of all of them.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Generic, Protocol, TypeVar, cast

from mpc.correlated.items import Item, Mask
from mpc.meter import Count, Meter

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Stretch:
    """What was done without a loop: costs by metered path, and which items were used up."""

    costs: Mapping[str, Count]
    items: range


@dataclass(frozen=True)
class Loop:
    """Passes that were done, and what the real ones are like.

    Args:
        passes: those that were done.
        order: for each real pass which of these it is like, and how far the roles are moved on.
        before: for one that stands for others, the one of its kind before it.
    """

    passes: Sequence[Sequence[Stretch | Loop]]
    order: Sequence[tuple[int, int]]
    before: Mapping[int, int]


Part = Stretch | Loop


class Roles(Protocol):
    """Whose turn it is."""

    turns: int


@dataclass(frozen=True)
class Pass(Generic[R]):
    """One that was done: its place, what it returned, and turns of the roles before and in it."""

    place: int
    result: R
    before: int
    within: int


@dataclass
class Tape:
    """Records a dry run.

    Args:
        meter: of the party that runs.
        items: those that are used up, as they are.
    """

    meter: Meter
    items: Sequence[Item]
    _parts: list[Part] = field(default_factory=list)
    _seen: dict[str, Count] = field(default_factory=dict)
    _used: int = 0

    def each(
        self,
        body: Callable[[T], R],
        things: Iterable[T],
        kind: Callable[[T], Hashable],
        roles: Roles,
    ) -> list[R]:
        """See `Each`: of each kind as many things as it takes until two in a row were alike.

        The last one's result is that of all the others.
        """
        self._mark()
        outer, self._parts = self._parts, []
        passes: list[list[Part]] = []
        steady: set[Hashable] = set()
        done: dict[Hashable, list[Pass[R]]] = defaultdict(list)
        order: list[tuple[int, int]] = []
        results: list[R] = []
        for thing in things:
            alike, now = done[kind(thing)], roles.turns
            if kind(thing) not in steady:
                result = body(thing)
                self._mark()
                alike.append(Pass(len(passes), result, now, roles.turns - now))
                passes.append(self._parts)
                self._parts = []
                if len(alike) > 1 and self._same(*(passes[p.place] for p in alike[-2:])):
                    steady.add(kind(thing))
            else:
                roles.turns += alike[-1].within
            order.append((alike[-1].place, now - alike[-1].before))
            results.append(alike[-1].result)
        before = {a[-1].place: a[-2].place for a in done.values() if len(a) > 1}
        self._parts = [*outer, Loop(passes, order, before)]
        return results

    def _same(self, before: Sequence[Part], after: Sequence[Part]) -> bool:
        """Whether two passes used up the same items, but for the masks that these name."""
        used = [list(numbers(parts)) for parts in (before, after)]
        plain = {n: unnamed(self.items[n]) for n in {*used[0], *used[1]}}
        a, b = ([plain[n] for n in listed] for listed in used)
        return a == b

    def end(self) -> list[Part]:
        """All that was recorded."""
        self._mark()
        return self._parts

    def _mark(self) -> None:
        """End a stretch here."""
        self.meter.settle()
        now = {path: _copy(count) for path, count in self.meter.operations.items()}
        costs = {path: _less(count, self._seen.get(path)) for path, count in now.items()}
        used = len(self.items)
        self._parts.append(Stretch(costs, range(self._used, used)))
        self._seen, self._used = now, used


def stretches(parts: Sequence[Part]) -> Iterator[Stretch]:
    """Those of the real run, in its order."""
    for part in parts:
        if isinstance(part, Stretch):
            yield part
        else:
            for place, _ in part.order:
                yield from stretches(part.passes[place])


def totals(ranks: Sequence[Sequence[Part]]) -> list[dict[str, Count]]:
    """Costs of the real run by metered path, at each rank, from the dry runs of all."""
    size = len(ranks)
    made: list[dict[str, Count]] = [defaultdict(Count) for _ in ranks]
    for alike, moves in _weighed(ranks, Counter({0: 1})):
        for (move, times), rank in itertools.product(moves.items(), range(size)):
            for path, count in alike[(rank - move) % size].costs.items():
                _add(made[rank][path], count, times, partial(_moved, move, size))
    return made


def numbers(parts: Sequence[Part]) -> Iterator[int]:
    """The items of the real run, by their numbers in the dry run, in the real run's order."""
    return itertools.chain.from_iterable(stretch.items for stretch in stretches(parts))


def times_used(parts: Sequence[Part]) -> dict[int, int]:
    """How often an item like each of the dry run's is used up in the real one."""
    return {
        number: moves.total()
        for (stretch,), moves in _weighed([parts], Counter({0: 1}))
        for number in stretch.items
    }


def unnamed(item: Item) -> Item:
    """The item without the names of masks."""
    masks = [f.name for f in fields(item) if isinstance(getattr(item, f.name), Mask)]
    return replace(item, **dict.fromkeys(masks)) if masks else item


def _weighed(
    ranks: Sequence[Sequence[Part]], moves: Counter[int]
) -> Iterator[tuple[list[Stretch], Counter[int]]]:
    """Each stretch that was done, at all ranks, and how often it is done, by how far moved on."""
    for parts in zip(*ranks, strict=True):
        if all(isinstance(part, Stretch) for part in parts):
            yield [cast(Stretch, part) for part in parts], moves
            continue
        loops = [cast(Loop, part) for part in parts]
        for place, inner in enumerate(zip(*(loop.passes for loop in loops), strict=True)):
            here = Counter(by % len(ranks) for at, by in loops[0].order if at == place)
            both: Counter[int] = Counter()
            for (a, n), (b, m) in itertools.product(moves.items(), here.items()):
                both[(a + b) % len(ranks)] += n * m
            yield from _weighed(inner, both)


def _copy(count: Count) -> Count:
    return Count(count.rounds, count.seconds, dict(count.sent), dict(count.received))


def _less(count: Count, before: Count | None) -> Count:
    made = _copy(count)
    if before is not None:
        _add(made, before, -1)
    return made


def _moved(by: int, size: int, peer: int) -> int:
    return (peer + by) % size


def _add(
    count: Count, other: Count, times: int, moved: Callable[[int], int] = lambda peer: peer
) -> None:
    count.rounds += times * other.rounds
    count.seconds += times * other.seconds
    for mine, theirs in ((count.sent, other.sent), (count.received, other.received)):
        for peer, n in theirs.items():
            if n:
                mine[moved(peer)] = mine.get(moved(peer), 0) + times * n
