"""Steps of a protocol as coroutines, so that independent ones share their rounds.

A step yields what it sends and what it expects in a round, is handed what was heard, and returns
its result. It reads from top to bottom, as in a paper, and whoever runs it decides what else goes
over the wires at the same time.

Parties that share a stream must draw from it in the same order. Steps run in the order given: first
each up to its first `yield`, then each up to its next one. Two steps that run together therefore
draw from the same stream either both before or both after a `yield`, at all who draw.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, TypeVar

from mpc.party import Buffer, Party
from mpc.ring import Array

Sent = Mapping[int, Sequence[Array]]
Expected = Mapping[int, Sequence[Buffer]]
Heard = dict[int, list[Array]]
A = TypeVar("A")
B = TypeVar("B")
Step = Generator[tuple[Sent, Expected], Heard, A]


def alone(party: Party, step: Step[A]) -> A:
    """Run one step. Cost: its rounds and bytes."""
    (result,) = _run(party, step)
    made: A = result
    return made


def together(party: Party, a: Step[A], b: Step[B]) -> tuple[A, B]:
    """Run two steps side by side. Cost: the rounds of the longer one, the bytes of both."""
    first, second = _run(party, a, b)
    return first, second


def _run(party: Party, *steps: Step[Any]) -> list[Any]:
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
        heard = {**_exchange(party, asked)}


def _exchange(party: Party, asked: dict[int, tuple[Sent, Expected]]) -> dict[int, Heard]:
    """One round for all that asked: their arrays one after the other, handed out likewise."""
    send: dict[int, list[Array]] = {}
    expect: dict[int, list[Buffer]] = {}
    for arrays, buffers in asked.values():
        for peer, some in arrays.items():
            send.setdefault(peer, []).extend(some)
        for peer, wanted in buffers.items():
            expect.setdefault(peer, []).extend(wanted)
    came = {peer: iter(arrays) for peer, arrays in party.exchange(send, expect).items()}
    return {
        i: {peer: [next(came[peer]) for _ in wanted] for peer, wanted in buffers.items()}
        for i, (_, buffers) in asked.items()
    }
