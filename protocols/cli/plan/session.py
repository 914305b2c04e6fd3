"""A session for a plan: loops leave out repetitions, and what is opened is ones."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

import torch

from mpc.correlated.seeded import Source
from mpc.party import Party
from protocols.cli.plan.repeats import Tape
from protocols.nn import Session
from protocols.nn.tensor import SecretTensor
from protocols.rep3 import Rep3Protocol

T = TypeVar("T")
R = TypeVar("R")


class DrySession(Session):
    """As a session, and records itself.

    Args:
        party: one whose transport carries nothing secret.
        protocol: "rep3" or "additive".
        width: bits of a comparison.
        chunk: elements compared at once.
        source: for "additive".
        tape: takes the record.
    """

    def __init__(
        self,
        party: Party,
        *,
        protocol: str,
        width: int,
        chunk: int,
        source: Source | None,
        tape: Tape,
    ) -> None:
        """See `Session`."""
        super().__init__(party, protocol=protocol, width=width, source=source, chunk=chunk)
        self._tape = tape

    @property
    def turns(self) -> int:
        """How often the parties' roles were turned."""
        return self.protocol.turns if isinstance(self.protocol, Rep3Protocol) else 0

    @turns.setter
    def turns(self, turns: int) -> None:
        if isinstance(self.protocol, Rep3Protocol):
            self.protocol.turns = turns

    def each(
        self, body: Callable[[T], R], things: Iterable[T], kind: Callable[[T], Hashable]
    ) -> list[R]:
        """See `Session.each`: two of a kind."""

        def computed(thing: T) -> R:
            (result,) = super(DrySession, self).each(body, [thing], kind)
            return result

        return self._tape.each(computed, things, kind, self)

    def open(
        self,
        x: SecretTensor,
        *,
        reason: str,
        to: int | None = None,
        device: torch.device | str | None = None,
    ) -> torch.Tensor | None:
        """See `Session.open`: ones.

        What follows is then done as with any usual counts: a test set has studies of each class.
        """
        opened = super().open(x, reason=reason, to=to, device=device)
        return None if opened is None else torch.ones_like(opened)
