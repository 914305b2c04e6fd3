"""Doing the same with each of several things, such as the batches of an epoch.

A loop that says which of its things are alike lets a plan run two of a kind and count the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Each(Protocol):
    """How a loop is run."""

    def __call__(
        self, body: Callable[[T], R], things: Iterable[T], kind: Callable[[T], Hashable]
    ) -> list[R]:
        """What `body` returns of each thing, in order.

        Args:
            body: what is done.
            things: with each of these.
            kind: things of one kind cost the same, but for the first, which may leave something
                behind that later ones use: an optimizer's momentum, a weight that was opened.
        """


def every(body: Callable[[T], R], things: Iterable[T], kind: Callable[[T], Hashable]) -> list[R]:
    """As any loop: all of them."""
    return [body(thing) for thing in things]
