"""Items of every kind, and what sources serve of them, for tests."""

import secrets
from pathlib import Path

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
from mpc.sources import (
    deal,
)

ITEMS: list[Item] = [
    Triple("multiply", (5,), (5,)),
    Triple("matmul", (2, 3), (3, 4)),
    Triple("matmul", (3, 2), (2, 4), x_mask=Mask(1, 0, (1, 0)), y_mask=None),
    Triple("multiply", (5,), (5,), x_mask=Mask(0, 1), square=True),
    Triple("conv2d padding=1", (1, 2, 4, 4), (3, 2, 3, 3)),
    Masked(70, fraction=16),
    Masked(3, low=63, choose=True),
    Masked(66, fraction=13, low=63, choose=True),
    Masked(7, choose=True),
    Carries(16, 65),
    Carries(8, 3),
    Conjunction((2, 3)),
    Addend(65, 33),
    Choice(65),
    DoubleBits(2, 65),
    Triple("multiply", (0,), (0,)),
]


def take_all(source, items):
    """What one party is served of each item: number, masks (those named too) and products."""
    served = []
    for item in items:
        dealt = source.take(item)
        named = [source.mask(mask, field) for mask, field in item.reused()]
        served.append((dealt.number, [v.copy() for v in [*dealt.masks, *named]], dealt.products))
    return served


def make_files(folder, parties, items, label=""):
    paths = [Path(folder) / f"{rank}.items" for rank in range(parties)]
    keys = [secrets.token_bytes(32) for _ in paths]
    deal(paths, keys, items, label=label)
    return paths, keys
