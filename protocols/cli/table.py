"""`radmpc protocols`: what each assumes, withstands and costs, word by word, as measured now."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from kernels.ring import multiply
from mpc.correlated.items import Item
from mpc.correlated.seeded import Dealt, Source
from mpc.launch import run_parties
from mpc.party import Party
from mpc.shares import Bits
from mpc.sources import InsecureSource
from protocols.additive import AdditiveProtocol
from protocols.bits import BitProtocol
from protocols.nn.session import PROTOCOLS

ELEMENTS = 64 * 3
PARTIES = {"rep3": 3, "additive": 2, "clear": 1}
Word = Callable[[BitProtocol[Any], Any, Any, Bits[Any]], object]
WORDS: dict[str, Word] = {
    "input": lambda p, x, y, b: p.input(_mine(p), (ELEMENTS,), 0),
    "open": lambda p, x, y, b: p.open(x, reason="measuring the cost of an opening of zeros"),
    "bilinear": lambda p, x, y, b: p.bilinear(multiply, (x, y)),
    "truncate": lambda p, x, y, b: p.truncate(x, fraction=16),
    "bilinear_truncate": lambda p, x, y, b: p.bilinear_truncate(multiply, (x, y), fraction=16),
    "conj": lambda p, x, y, b: p.conj(b, b),
    "addends": lambda p, x, y, b: p.addends(x, 64),
    "sign_bit": lambda p, x, y, b: p.sign_bit(x),
    "bits": lambda p, x, y, b: p.bits(x),
    "bit_to_ring": lambda p, x, y, b: p.bit_to_ring(b),
    "select": lambda p, x, y, b: p.select(b, x),
    "positive_part": lambda p, x, y, b: p.positive_part(x),
    "truncated_positive_part": lambda p, x, y, b: p.truncated_positive_part(
        *p.product(multiply, (x, y)), fraction=16
    ),
    "equal_zero": lambda p, x, y, b: p.equal_zero(x),
}


class Cost(NamedTuple):
    """What a word costs; bytes are for each element, and the mean over the parties or the roles.

    Args:
        rounds: of messages.
        sent: bytes that a party sends.
        dealt: bytes of corrections that the last party is dealt beforehand.
    """

    rounds: int
    sent: float
    dealt: float


class _Counted(InsecureSource):
    """For this table, which computes on zeros: its parties are threads of this process."""

    corrections_bytes = 0

    def take(self, item: Item) -> Dealt:
        self.corrections_bytes += item.correction_bytes
        return super().take(item)


def word_costs(name: str) -> dict[str, Cost]:
    """What every word costs under a protocol, measured now."""
    size = PARTIES[name]

    def program(party: Party) -> dict[str, Cost]:
        source = _Counted(party) if name == "additive" else None
        p = _protocol(name, party, source)
        bits, found = p.sign_bit(_zeros(p)), {}
        for word, run in WORDS.items():
            total = party.meter.total
            rounds, sent = total.rounds, total.sent_bytes
            dealt = source.corrections_bytes if source is not None else 0
            for _ in range(size):  # once with each turn of the roles, and with factors that are new
                run(p, _zeros(p), _zeros(p), bits)
            dealt = source.corrections_bytes - dealt if source is not None else 0
            found[word] = Cost((total.rounds - rounds) // size, total.sent_bytes - sent, dealt)
        return found

    rows = run_parties(size, program)
    each = size * ELEMENTS
    return {
        word: Cost(
            rows[0][word].rounds,
            sum(row[word].sent for row in rows) / size / each,
            rows[-1][word].dealt / each,
        )
        for word in WORDS
    }


def protocols_table() -> str:
    """The table as text."""
    text = io.StringIO()
    out = Console(file=text, width=110, highlight=False)
    about = Table(title="protocols")
    for head in ("protocol", "parties", "corrupt", "adversary", "set-up", "source"):
        about.add_column(head, overflow="fold")
    for name, kind in PROTOCOLS.items():
        a = kind.assumptions
        about.add_row(name, a.parties, a.corrupt, a.adversary, a.setup, a.source)
    out.print(about)
    costs = Table(title="cost of each word on one element, comparisons of 64 bits; bytes a party")
    costs.add_column("word", no_wrap=True)
    measured = {name: word_costs(name) for name in PROTOCOLS}
    for name in PROTOCOLS:
        for head in _heads(name):
            costs.add_column(head, justify="right")
    for word in WORDS:
        costs.add_row(word, *(c for name in PROTOCOLS for c in _cells(name, measured[name][word])))
    out.print(costs)
    return text.getvalue()


def _protocol(name: str, party: Party, source: Source | None) -> BitProtocol[Any]:
    return AdditiveProtocol(party, source=source) if source else PROTOCOLS[name](party)


def _heads(name: str) -> list[str]:
    if name == "additive":
        return [f"{name}, {PARTIES[name]}: rounds", "bytes", "dealt to the last"]
    return [f"{name}: rounds", "bytes"]


def _cells(name: str, cost: Cost) -> list[str]:
    shown = [str(cost.rounds), f"{cost.sent:.2f}", f"{cost.dealt:.2f}"]
    return shown if name == "additive" else shown[:2]


def _zeros(p: BitProtocol[Any]) -> Any:
    return p.constant(np.zeros(ELEMENTS, np.uint64))


def _mine(p: BitProtocol[Any]) -> Any:
    alone = p.party is None or p.party.rank == 0
    return np.zeros(ELEMENTS, np.uint64) if alone else None
