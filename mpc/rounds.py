"""Steps of a protocol as coroutines, so that independent ones share their rounds.

A step yields what it sends and what it expects in a round, is handed what was heard, and returns
its result. It reads from top to bottom, as in a paper, and whoever runs it decides what else goes
over the wires at the same time.

Parties that share a stream must draw from it in the same order. Steps that run together take turns:
each up to its first `yield`, in the order given, then each up to its second, and so on. So what a
step draws from a common stream, it draws before the same `yield` at all who hold the stream.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, TypeVar

from mpc.party import Buffer, Party
from mpc.ring import Array

Sent = Mapping[int, Sequence[Array]]
Expected = Mapping[int, Sequence[Buffer]]
Heard = Mapping[int, Sequence[Array]]
Result = TypeVar("Result")
Step = Generator[tuple[Sent, Expected], Heard, Result]


def alone(party: Party, step: Step[Result]) -> Result:
    """Run a step. Cost: its rounds and bytes."""
    try:
        asked = next(step)
        while True:
            asked = step.send(party.exchange(*asked))
    except StopIteration as ended:
        result: Result = ended.value
        return result


def together(*steps: Step[Any]) -> Step[list[Any]]:
    """Steps side by side, as one. Cost: the rounds of the longest, the bytes of all."""
    if len(steps) == 1:
        return [(yield from steps[0])]
    results: dict[int, Any] = {}
    heard: dict[int, Heard | None] = dict.fromkeys(range(len(steps)))
    while True:
        asked: dict[int, tuple[Sent, Expected]] = {}
        for i, what in heard.items():
            try:
                asked[i] = next(steps[i]) if what is None else steps[i].send(what)
            except StopIteration as ended:
                results[i] = ended.value
        if not asked:
            return [results[i] for i in range(len(steps))]
        came = yield _joined(s for s, _ in asked.values()), _joined(e for _, e in asked.values())
        left = {peer: iter(arrays) for peer, arrays in came.items()}
        heard = {
            i: {peer: [next(left[peer]) for _ in wanted] for peer, wanted in expected.items()}
            for i, (_, expected) in asked.items()
        }


def _joined(parts: Any) -> dict[int, list[Any]]:
    """For each peer, the lists of all parts one after the other."""
    joined: dict[int, list[Any]] = {}
    for part in parts:
        for peer, some in part.items():
            joined.setdefault(peer, []).extend(some)
    return joined
