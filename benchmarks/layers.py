"""How many rounds one layer takes, read off the meter: over far links, rounds are the price."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from mpc.party import Party
from protocols.nn import Session

# The most rounds that each layer may take under rep3 with 64-bit comparisons.
LIMITS = {"relu": 10, "max-pool 2x2": 20, "product": 2, "convolution and relu": 10}


def rounds_of_layers(party: Party) -> dict[str, int]:
    """Rounds of each layer in `LIMITS`, on a few secret numbers; every rank calls it."""
    session = Session(party)

    def secret(*shape: int) -> Any:
        return session.share(torch.randn(shape) if party.rank == 0 else None, owner=0)

    def rounds(layer: Callable[..., Any], *operands: Any) -> int:
        before = party.meter.total.rounds
        _ = layer(*operands).secret.share  # asked for, so that nothing of the layer is put off
        return party.meter.total.rounds - before

    with torch.no_grad():
        return {
            "relu": rounds(F.relu, secret(4)),
            "max-pool 2x2": rounds(lambda x: F.max_pool2d(x, 2), secret(1, 1, 4, 4)),
            "product": rounds(torch.mul, secret(4), secret(4)),
            "convolution and relu": rounds(
                lambda x, w: F.relu(F.conv2d(x, w)), secret(1, 2, 4, 4), secret(2, 2, 3, 3)
            ),
        }


def format_rounds(measured: dict[str, int]) -> str:
    """One line a layer, the limit beside what was measured."""
    return "\n".join(
        f"{layer:22} {rounds:3d} rounds (limit {LIMITS[layer]})"
        for layer, rounds in measured.items()
    )
