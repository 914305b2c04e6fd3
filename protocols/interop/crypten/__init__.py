"""CrypTen 0.4.1 beside radmpc: importable on today's torch, its shares ours, its programs faster.

Importing this package makes `import crypten` work, and changes nothing of it.

- `accelerate`: an unchanged CrypTen program on our kernels, comparisons, streams and MPI wires
- `from_crypten`, `to_crypten`, `model_from_crypten`: shares both ways without opening them
- `python -m protocols.interop.crypten PROGRAM`: runs a program so

CrypTen's default provider is a trusted first party: rank 0 makes all correlated randomness and
could see everything. That is as it was.
"""

from protocols.interop.crypten.acceleration import Acceleration, accelerate
from protocols.interop.crypten.importing import CrypTenMissing
from protocols.interop.crypten.models import model_from_crypten
from protocols.interop.crypten.shares import (
    array_from_crypten,
    bits_from_crypten,
    bits_to_crypten,
    from_crypten,
    to_crypten,
)

__all__ = [
    "Acceleration",
    "CrypTenMissing",
    "accelerate",
    "array_from_crypten",
    "bits_from_crypten",
    "bits_to_crypten",
    "from_crypten",
    "model_from_crypten",
    "to_crypten",
]
