"""Markup, tables and numbers as the page shows them. Whatever is not `Markup` is escaped."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

Run = Mapping[str, Any]

STYLE = """
:root { color-scheme: light dark;
  --ink: #1c2430; --muted: #5d6878; --line: #d9dee6; --page: #f6f7f9; --card: #ffffff;
  --accent: #1f5fa8; --second: #b3541e; --tint: 31 95 168; }
@media (prefers-color-scheme: dark) { :root {
  --ink: #e6e9ee; --muted: #9aa5b4; --line: #333c49; --page: #12161c; --card: #1a2028;
  --accent: #74b0f4; --second: #f0a06a; --tint: 116 176 244; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .35rem; letter-spacing: -.015em;
  overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 0 0 .75rem; }
p { margin: 0 0 .75rem; max-width: 44rem; }
.note, .absent, figcaption { color: var(--muted); font-size: .9rem; }
.absent { font-style: italic; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 1.25rem 1.4rem 1.1rem; margin-top: 1.25rem; }
.cards { display: grid; gap: .8rem; margin-top: 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: .85rem 1rem .75rem; }
.card .name { color: var(--muted); font-size: .82rem; }
.card .value { font-size: 1.55rem; line-height: 1.25; font-weight: 600; letter-spacing: -.01em;
  font-variant-numeric: tabular-nums; }
.card .more { color: var(--muted); font-size: .82rem; }
.pair { display: grid; gap: 0 1.25rem;
  grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); }
figure { margin: 0 0 .75rem; }
svg { display: block; width: 100%; height: auto; }
svg * { stroke-linejoin: round; stroke-linecap: butt; }
.scroll { overflow-x: auto; margin-bottom: .75rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; padding: .38rem .9rem .38rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere; }
tr:last-child > * { border-bottom: 0; }
th { font-weight: 600; color: var(--muted); font-size: .82rem; }
tbody th { font-weight: 500; color: var(--ink); font-size: .92rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code { font: .86em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace;
  overflow-wrap: anywhere; }
.matrix { width: auto; } .matrix th, .matrix td { padding: .55rem 1.1rem; text-align: center;
  border: 1px solid var(--line); }
.matrix td { font-variant-numeric: tabular-nums; font-size: 1.05rem; min-width: 5.5rem; }
.matrix td small { display: block; color: var(--muted); font-size: .76rem; }
@media print { body { background: none; } section, .card { break-inside: avoid; } }
"""


class Markup(str):
    """Text that is already HTML; whatever is not of this type is escaped."""

    __slots__ = ()


def element(tag: str, *children: object, **attributes: str) -> Markup:
    """One element around its children; `class_` is the attribute `class`."""
    names = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(visible(value))}"'
        for name, value in attributes.items()
    )
    inner = "".join(
        child if isinstance(child, Markup) else html.escape(visible(child)) for child in children
    )
    return Markup(f"<{tag}{names}>{inner}</{tag}>")


def join(parts: Iterable[Markup]) -> Markup:
    """Pieces of markup one after the other."""
    return Markup("".join(parts))


def visible(value: object) -> str:
    """Text with what cannot be seen spelled out: control signs, text direction, broken UTF-8."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii")
        for sign in str(value)
    )


def section(title: str, *children: Markup) -> Markup:
    """A box with a heading."""
    return element("section", element("h2", title), *children)


def absent(what: str = "Not measured in this run.") -> Markup:
    """What stands where a number would be that the run does not have."""
    return element("p", what, class_="absent")


def table_of(head: Sequence[str], rows: Iterable[Sequence[object]], numbers: int = 0) -> Markup:
    """A table whose last `numbers` columns are numbers."""
    first = len(head) - numbers

    def cells(tag: str, row: Sequence[object]) -> Markup:
        return join(
            element(tag, cell, class_="number") if column >= first else element(tag, cell)
            for column, cell in enumerate(row)
        )

    body = join(element("tr", cells("td", row)) for row in rows)
    table = element(
        "table", element("thead", element("tr", cells("th", head))), element("tbody", body)
    )
    return element("div", table, class_="scroll")


def finite(value: object) -> float | None:
    """A finite number, or None for what the run does not have."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def shown(value: object, form: Callable[[float], str]) -> str:
    """A number in a form, or a dash for what the run does not have."""
    number = finite(value)
    return "–" if number is None else form(number)


def as_percent(value: float) -> str:
    """A share of 1 as a percentage."""
    return f"{100 * value:.1f} %"


def as_count(value: float) -> str:
    """A whole number, thousands apart."""
    return f"{value:,.0f}"


def as_decimals(digits: int) -> Callable[[float], str]:
    """A form with this many decimals."""
    return lambda value: f"{value:.{digits}f}"


def as_seconds(value: float) -> str:
    """A time with the unit that suits it."""
    if value < 0.1:
        return f"{1000 * value:.2f} ms"
    if value < 120:
        return f"{value:.2f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def as_bytes(value: float) -> str:
    """A size with the unit that suits it."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} TB"


def sum_of(rows: Sequence[Run], key: str) -> float | None:
    """The sum over all rows, or None when one of them lacks it: half a sum is not a number."""
    numbers = [finite(row.get(key)) for row in rows]
    known = [number for number in numbers if number is not None]
    return sum(known) if known and len(known) == len(numbers) else None
