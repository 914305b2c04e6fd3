"""Which protocol to take, and why, so that a person can disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocols.cli.plan.estimate import Estimate
from protocols.cli.plan.predict import Seconds

PARTS = {
    "compute": "computes",
    "rounds": "waits for rounds",
    "wire": "sends",
    "items": "waits for items",
}
_CORRUPT = {"1": "one site", "all but 1": "all sites but one"}


@dataclass(frozen=True)
class Choice:
    """The fastest, in one sentence."""

    name: str
    reason: str


def recommended(estimates: Sequence[Estimate]) -> Choice:
    """The fastest of several, and what makes it so."""
    best, *others = sorted(estimates, key=lambda e: e.seconds.total)
    if not others:
        sites = len(best.sent)
        return Choice(best.name, f"it is the only protocol here for {sites} sites")
    other = others[0]
    part = max(PARTS, key=lambda p: getattr(other.seconds, p) - getattr(best.seconds, p))
    reason = (
        f"{duration(best.seconds.total)} against {duration(other.seconds.total)} of {other.name}, "
        f"which {PARTS[part]} for {_of(other.seconds, part)} where {best.protocol} does for "
        f"{_of(best.seconds, part)}"
    )
    if other.dealt is not None and other.source == "file":
        reason += f", and needs {size(other.dealt.nbytes)} dealt ahead"
    if best.dealt is not None and best.source == "file":
        made = f"{size(best.dealt.nbytes)} in {duration(best.dealt.seconds)}"
        reason += f"; what it needs was dealt ahead, {made}"
    return Choice(best.name, reason)


def assumed(estimate: Estimate) -> str:
    """What one has to believe to take a protocol."""
    a = estimate.assumptions
    trust = f"; {estimate.trust}" if estimate.trust else ""
    corrupt = _CORRUPT.get(a.corrupt, f"at most {a.corrupt}")
    return f"{estimate.name}: {corrupt} may be corrupt{trust}"


def duration(seconds: float) -> str:
    """In words."""
    if seconds < 0.9995:
        ms = seconds * 1e3
        return f"{ms:.1f} ms" if 0 < ms < 9.95 else f"{ms:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """In words."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} B"


def _of(seconds: Seconds, part: str) -> str:
    value: float = getattr(seconds, part)
    return duration(value)
