"""The items of a real run from those of a dry run: as many, in the same order, rightly named.

A product may name masks of earlier items. In a pass that stands for several, what it names of
itself is its own. What it names of the pass before it may be one of two things: a value that stays,
such as a weight at inference, or one that each pass leaves to the next, such as a weight that was
opened in the evaluation after an epoch. Either way it is the mask of what stood at the same place
of the program, one pass later: for a value that stays, the later pass names the earlier one's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mpc.correlated.items import Item, Mask, Triple
from mpc.correlated.seeded import new_masks
from protocols.cli.plan.repeats import Part, Stretch, numbers


def expanded(parts: Sequence[Part], items: Sequence[Item]) -> list[Item]:
    """The items of the real run, in its order, with masks named by their numbers there.

    Args:
        parts: the dry run.
        items: those of the dry run.
    """
    expansion = _Expansion(items)
    expansion.play(parts)
    return expansion.made


class _Expansion:
    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items
        self.made: list[Item] = []
        self._latest: dict[Mask, Mask] = {}  # a mask of the dry run: its latest like in the real

    def play(self, parts: Sequence[Part]) -> None:
        for part in parts:
            if isinstance(part, Stretch):
                for number in part.items:
                    self._use(number)
                continue
            played = set()
            for place, _ in part.order:
                if place in played:
                    self._move_on(part.passes[part.before[place]], part.passes[place])
                self.play(part.passes[place])
                played.add(place)

    def _use(self, number: int) -> None:
        item, now = self._items[number], len(self.made)
        if isinstance(item, Triple):
            x, y = (None if m is None else self._real(m) for m in (item.x_mask, item.y_mask))
            real = replace(item, x_mask=x, y_mask=y)
            self._latest |= zip(new_masks(item, number), new_masks(real, now), strict=True)
            item = real
        self.made.append(item)

    def _move_on(self, before: Sequence[Part], after: Sequence[Part]) -> None:
        """What stood one pass earlier is now what stood in the pass that was just played."""
        moved: dict[Mask, Mask] = {}
        for old, new in zip(numbers(before), numbers(after), strict=True):
            a, b = self._items[old], self._items[new]
            if isinstance(a, Triple) and isinstance(b, Triple):
                pairs = zip(new_masks(a, old), new_masks(b, new), strict=True)
                moved |= {was: self._real(now) for was, now in pairs if was.item == old}
        self._latest |= moved

    def _real(self, mask: Mask) -> Mask:
        """The real mask that is meant, in the order of axes that is meant."""
        real = self._latest[mask._replace(axes=())]
        axes = tuple(real.axes[i] for i in mask.axes) if real.axes and mask.axes else None
        axes = axes if axes is not None else real.axes or mask.axes
        return real._replace(axes=() if axes == tuple(range(len(axes))) else axes)
