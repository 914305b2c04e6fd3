"""What CrypTen's programs here are given, and how their results are judged."""

import numpy as np
import torch
from torch import nn

from protocols.interop.crypten.importing import crypten

ULP = 2.0**-16
# A pickle of names on CrypTen's list only, whose BUILD sets a default of one of torch's functions.
SETS_DEFAULTS = (
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(N}X\x0c\x00\x00\x00__defaults__K\x01\x85stb."
)


def drawn(seed, *shape, scale=4.0):
    """The same reals at every party, on CrypTen's grid."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.trunc(rng.normal(0, scale, shape) / ULP) * ULP).float()


def shared(x, src=0):
    """Secret; only the source's values count."""
    mine = x if crypten.communicator.get().get_rank() == src else torch.zeros_like(x)
    return crypten.cryptensor(mine, src=src)


def close(secret, expected, ulps=2.0):
    # CrypTen's own decoding takes a number just above a negative integer for one less.
    got = secret.reveal().double() / secret.encoder.scale
    assert got.shape == expected.shape, (got.shape, expected.shape)
    error, coarse = (got - expected).abs().max(), expected.abs().max() * 2.0**-21  # of float32
    assert error <= ulps * ULP + (coarse if ulps else 0), error / ULP


def same(secret, expected):
    close(secret, expected.float(), ulps=0)


def networks():
    theirs = crypten.nn.Sequential(
        crypten.nn.Conv2d(1, 4, 3, padding=1),
        crypten.nn.ReLU(),
        crypten.nn.MaxPool2d(2, stride=2),
        crypten.nn.Flatten(),
        crypten.nn.Linear(4 * 4 * 4, 3),
    )
    plain = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 3)
    )
    torch.manual_seed(0)
    for p, q in zip(theirs.parameters(), plain.parameters(), strict=True):
        values = drawn(p.numel(), *p.shape, scale=0.2)
        p.data, q.data = values.clone(), values.clone()
    return theirs, plain
