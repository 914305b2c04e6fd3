"""CrypTen's products by our triples: drawn from ChaCha20, of the operands' own shapes.

Where CrypTen's default holds, rank 0 makes the triples either way. CrypTen has all parties draw
all three parts and multiply them, and all parties multiply what was opened; here each part is
drawn once, by who holds it, and two products are one pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kernels.ring import multiply
from protocols.interop.crypten.engine import current
from protocols.interop.crypten.products import fits, plan
from protocols.interop.crypten.secret import arithmetic, is_ours, share

OPS = ("mul", "matmul", "conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d")
Function = Callable[..., Any]


def product(op: str) -> Callable[[Function], Function]:
    """A replacement of `beaver.<op>`."""

    def replacing(original: Function) -> Function:
        def beaver(x: Any, y: Any, **settings: Any) -> Any:
            shapes = tuple(x.size()), tuple(y.size())
            chosen = plan(op, *shapes, **settings) if is_ours(x, y) else None
            if chosen is None or not fits(chosen, *shapes):
                return original(x, y, **settings)
            pair = share(x).map(chosen.x), share(y).map(chosen.y)
            (z,) = current().protocol.bilinear(chosen.map, pair)
            return arithmetic(chosen.result(z.own))

        return beaver

    return replacing


def square(original: Function) -> Function:
    """A replacement of `beaver.square`: the operand is opened once."""

    def beaver(x: Any) -> Any:
        if not is_ours(x):
            return original(x)
        own = share(x)
        (z,) = current().protocol.bilinear(multiply, (own, own))
        return arithmetic(z.own)

    return beaver


def truncate(original: Function) -> Function:
    """A replacement of `beaver.truncate`, with which three parties or more divide.

    CrypTen corrects for a wrap that it supposes not to happen; ours is right for |x| < 2^62.
    """

    def beaver(x: Any, y: Any) -> Any:
        fraction = y.bit_length() - 1 if isinstance(y, int) else 0  # y may be a tensor of divisors
        if not 1 <= fraction <= 62 or y != 1 << fraction or not is_ours(x):
            return original(x, y)
        (z,) = current().protocol.truncate(share(x), fraction=fraction)
        x.share = arithmetic(z.own).share
        return x

    return beaver
