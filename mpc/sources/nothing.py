"""No items: for a program that only shares, adds up and opens."""

from __future__ import annotations

from typing import ClassVar, NoReturn

from mpc.correlated.items import Field, Item, Mask
from mpc.correlated.seeded import Source
from mpc.errors import PreprocessingSpent


class NoSource(Source):
    """A source that is empty from the start: no dealer and no file is needed for it."""

    name: ClassVar[str] = "none"
    assumption: ClassVar[str] = "nothing is dealt, and nobody is trusted for it"

    def take(self, item: Item) -> NoReturn:
        """See `Source.take`."""
        raise PreprocessingSpent(f"this step needs a {item.kind}, and it has no source of any")

    def mask(self, mask: Mask, field: Field) -> NoReturn:
        """See `Source.mask`."""
        raise PreprocessingSpent("no mask was served before")
