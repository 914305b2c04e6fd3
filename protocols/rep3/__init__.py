"""Replicated sharing among three parties, one of whom may look but not lie.

x = x0 + x1 + x2 (mod 2^64) and party i holds (x_i, x_(i+1)); bits likewise under XOR. Products
follow Araki, Furukawa, Lindell, Nof and Ohara (CCS 2016); truncation, signs and choices give two
parties, the evaluators, a value masked by the third, the helper. Which rank plays which role turns
with every step, so that the load is even over time.

In all modules, first and second are the evaluators and helper is the third; with the roles turned
by o, first is rank o, and terms and keys are counted from o: first holds (x0, x1), second (x1, x2),
helper (x2, x0). Key k_j is held by the same two parties as x_j. What each party sees is argued
where it is sent.

To be read in this order: `keys`, `sharing`, `products`, `choices`, `signs`; each module adds words
to the ones before.
"""

from protocols.rep3.keys import agree_on_keys
from protocols.rep3.signs import Signs

__all__ = ["Rep3Protocol", "agree_on_keys"]


class Rep3Protocol(Signs):
    """Three parties, honest majority, semi-honest."""
