"""`radmpc protocols`: what each assumes, withstands and costs, word by word, as measured now."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from kernels.ring import multiply
from mpc.launch import run_parties
from mpc.party import Party
from mpc.shares import Bits
from protocols.bits import BitProtocol
from protocols.nn.session import PROTOCOLS

ELEMENTS = 64 * 3
PARTIES = {"rep3": 3, "clear": 1}
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


def word_costs(name: str) -> dict[str, tuple[int, float]]:
    """Rounds of every word, and bytes a party for each element (mean over the parties)."""
    size = PARTIES[name]

    def program(party: Party) -> dict[str, tuple[int, int]]:
        p = PROTOCOLS[name](party)
        x = p.constant(np.zeros(ELEMENTS, np.uint64))
        bits, found = p.sign_bit(x), {}
        for word, run in WORDS.items():
            total = party.meter.total
            rounds, sent = total.rounds, total.sent_bytes
            for _ in range(size):  # once with each turn of the roles
                run(p, x, x, bits)
            found[word] = (total.rounds - rounds) // size, total.sent_bytes - sent
        return found

    rows = run_parties(size, program)
    return {
        word: (rows[0][word][0], sum(row[word][1] for row in rows) / size / size / ELEMENTS)
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
    costs = Table(title="cost of each word on one element, comparisons of 64 bits")
    costs.add_column("word")
    measured = {name: word_costs(name) for name in PROTOCOLS}
    for name in PROTOCOLS:
        costs.add_column(f"{name}: rounds", justify="right")
        costs.add_column("bytes a party", justify="right")
    for word in WORDS:
        cells = [c for name in PROTOCOLS for c in _cells(*measured[name][word])]
        costs.add_row(word, *cells)
    out.print(costs)
    return text.getvalue()


def _cells(rounds: int, sent: float) -> tuple[str, str]:
    return str(rounds), f"{sent:.2f}"


def _mine(p: BitProtocol[Any]) -> Any:
    alone = p.party is None or p.party.rank == 0
    return np.zeros(ELEMENTS, np.uint64) if alone else None
