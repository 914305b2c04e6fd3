"""Dry runs that wait for one another in each round, as the ranks of a real run on one machine do.

They have nothing to say to each other, but who waits for whom decides who computes when: three
ranks on two cores take half as long again as one alone if the cores change hands within a round,
and twice as long if each round's work is done before they do.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, MutableSequence

from mpc.transport.mpi import LOOKS_PER_YIELD, SPIN_S, nap

START, _GONE = -1, (1 << 63) - 1


class Lockstep:
    """One rank's part.

    Args:
        rank: whose.
        steps: that each rank has come to, in memory which all of them share; at first `START`.
    """

    def __init__(self, rank: int, steps: MutableSequence[int]) -> None:
        """Nobody is waited for yet."""
        self._rank, self._steps = rank, steps

    def reach(self, step: int, peers: Iterable[int]) -> None:
        """Wait until these peers have come to this step, have gone beyond it or are gone."""
        self._steps[self._rank] = step
        behind = [peer for peer in peers if self._steps[peer] < step]
        since, looks = time.monotonic(), 0
        while behind:
            looks += 1
            if looks % LOOKS_PER_YIELD == 0:
                if (waited := time.monotonic() - since) < SPIN_S:
                    os.sched_yield()
                else:
                    nap(waited)
            behind = [peer for peer in behind if self._steps[peer] < step]

    def leave(self) -> None:
        """Nobody waits for this rank from now on."""
        self._steps[self._rank] = _GONE
