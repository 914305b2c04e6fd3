"""Descriptions of items as lines of JSON: for a request to a dealer, and for a list in a file.

What comes from elsewhere is read with care: shapes of whole numbers, and nothing larger than any
step needs.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from mpc.correlated.items import (
    Addend,
    Carries,
    Choice,
    Conjunction,
    DoubleBits,
    Item,
    Mask,
    Masked,
    Triple,
)
from mpc.errors import UsageError

LARGEST = 2**40  # bytes of a field: what a description from elsewhere may ask for
AXES = 64  # NumPy's arrays have no more

KINDS: dict[str, type[Item]] = {
    made.kind: made for made in (Triple, Masked, Carries, Conjunction, Addend, Choice, DoubleBits)
}


def described(item: Item) -> str:
    """An item as one line of JSON."""
    values = {f.name: getattr(item, f.name) for f in fields(item)}
    return json.dumps({"kind": item.kind} | values, separators=(",", ":"), sort_keys=True)


def read_item(text: str | bytes) -> Item:
    """The item that a line describes.

    Raises:
        UsageError: no item, or one larger than any step needs.
    """
    try:
        values = json.loads(text)
        kind = KINDS[values.pop("kind")]
        known = {f.name for f in fields(kind)}
        item = kind(**{name: _value(name, v) for name, v in values.items() if name in known})
        if known != values.keys() or not _is_possible(item):
            raise ValueError
        return item
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError):
        raise UsageError("no item of correlated randomness is described so") from None


def _value(name: str, value: object) -> object:
    """A value of a description, with tuples where JSON has lists. Whole numbers alone are sizes."""
    if name.endswith("mask") and isinstance(value, list):
        item, place, axes = value
        if axes and sorted(_sizes(axes)) != list(range(len(axes))):
            raise ValueError
        number, at = _sizes([item, place])
        return Mask(number, at, _sizes(axes))
    if name in ("x", "y", "shape") and isinstance(value, list):
        return _sizes(value)
    plain = {"f": str, "choose": bool, "square": bool}.get(name, int)
    if value is None and name.endswith("mask"):
        return None
    if type(value) is not plain or (plain is int and not 0 <= int(str(value)) < LARGEST):
        raise ValueError
    return value


def _sizes(values: list[Any]) -> tuple[int, ...]:
    if any(type(n) is not int or not 0 <= n < LARGEST for n in values):
        raise ValueError
    return tuple(values)


def _is_possible(item: Item) -> bool:
    """Whether a description that was read asks for something that can be made."""
    if isinstance(item, Masked) and not (item.fraction <= 62 and item.low <= 63):
        return False
    if isinstance(item, Carries) and item.blocks > 16:
        return False
    if isinstance(item, Addend | DoubleBits):
        if (item.width if isinstance(item, Addend) else item.planes) > 64:
            return False
    if isinstance(item, Triple):
        named_axes = [(m.axes, s) for m, s in ((item.x_mask, item.x), (item.y_mask, item.y)) if m]
        if any(axes and len(axes) != len(shape) for axes, shape in named_axes):
            return False
        if any(mask.place > 1 for mask in (item.x_mask, item.y_mask) if mask):
            return False  # a triple has two; what is drawn further on are no masks
        if item.square and (item.x != item.y or item.y_mask):
            return False
    parts = (*item.masks(), *item.products(), *(field for _, field in item.reused()))
    return all(field.nbytes < LARGEST and len(field.shape) <= AXES for field in parts)
