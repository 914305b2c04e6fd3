"""How tests of the front end run a function on secrets and in float64, and what they compare.

Inputs are multiples of one ulp, 2^-16, so sharing them loses nothing; every bound counts the
roundings after that. A truncation is off by at most one ulp of its result. A public factor is off
by 2^-16 of itself (of the largest, in an array). What functions such as `rsqrt` lose is in their
docstrings.
"""

from typing import NamedTuple

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st

from mpc.launch import run_parties
from mpc.sources.insecure import InsecureSource
from protocols.nn import Session

torch.set_num_threads(1)
ULP = 2.0**-16
RELATIVE = 2.0**-16  # of a public factor
PARTIES = {"rep3": 3, "additive": 2}
PROTOCOLS = ["clear", *PARTIES]
SEEDS = st.integers(0, 2**32 - 1)
some = settings(deadline=None, max_examples=8)


def reals(seed, *shape, limit=4.0):
    """Numbers that are exact at 16 fractional bits."""
    drawn = np.random.default_rng(seed).uniform(-limit, limit, shape)
    return torch.from_numpy(np.asarray(np.rint(drawn / ULP) * ULP))


def session_at(party, protocol, width=64):
    """A session of one party, with a source of correlated randomness where it needs one."""
    source = InsecureSource(party) if protocol == "additive" else None
    return Session(party, protocol=protocol, width=width, source=source)


def at_parties(protocol, program, width=64):
    """What a program of a session gives; all parties must agree on it."""
    if protocol == "clear":
        return program(session_at(None, "clear", width))
    first, *others = run_parties(
        PARTIES[protocol], lambda party: program(session_at(party, protocol, width))
    )
    for other in others:
        agree(first, other)
    return first


def agree(one, other):
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            agree(a, b)
    else:
        assert one == other


def shared(session, x, owner=0, grad=False):
    """A tensor that one party holds; whole numbers have no gradient."""
    mine = session.party is None or session.party.rank == owner % session.size
    made = session.share(x if mine else None, owner=owner % session.size)
    return made.requires_grad_(grad and x.is_floating_point())


def opened(session, x):
    """What is in a tensor, as float64; a public tensor as it is."""
    if type(x) is torch.Tensor:
        return x.double()
    return session.open(x.detach(), reason="a test").double()


class Outcome(NamedTuple):
    """A value, and the gradient for each input that has one."""

    value: torch.Tensor
    grads: list


def secretly(protocol, f, *inputs, weight=None, public=()):
    """f of shared inputs, and the gradients of the sum of its values times a shared weight."""

    def program(session):
        xs = [shared(session, x, i, i not in public) for i, x in enumerate(inputs)]
        y = f(*xs)
        assert tuple(y.shape) == tuple(y.detach().secret.shape)
        if weight is not None:
            y.backward(shared(session, weight, 1))
        return opened(session, y), [opened(session, x.grad) for x in xs if x.grad is not None]

    return Outcome(*at_parties(protocol, program))


def plainly(f, *inputs, weight=None, public=()):
    """The same in float64."""
    xs = [
        x.clone().requires_grad_(x.is_floating_point() and i not in public)
        for i, x in enumerate(inputs)
    ]
    y = f(*xs)
    if weight is not None:
        y.backward(weight)
    return Outcome(y.detach().double(), [x.grad for x in xs if x.grad is not None])


def within(found, exact, bound):
    """Assert that a tensor is as near as a bound says, place by place."""
    assert found.shape == exact.shape
    off = (found - exact).abs()
    assert torch.all(off <= torch.as_tensor(bound) + 1e-12), f"off by {float(off.max() / ULP)} ulp"


def check(protocol, f, *inputs, value=0.0, grads=None, weight_seed=7, limit=1.0):
    """Assert that value and gradients on secrets are within bounds of float64.

    A bound is a number, a tensor, or a function of the plain outcome and the weight.
    """
    plain = plainly(f, *inputs)
    weight = None
    if grads is not None:
        weight = reals(weight_seed, *plain.value.shape, limit=limit)
        plain = plainly(f, *inputs, weight=weight)
    found = secretly(protocol, f, *inputs, weight=weight)
    within(found.value, plain.value, _bound(value, plain, weight))
    if grads is not None:
        assert len(found.grads) == len(plain.grads) == len(grads)
        for one, exact, bound in zip(found.grads, plain.grads, grads, strict=True):
            within(one, exact, _bound(bound, plain, weight))
    return found, plain


def _bound(bound, plain, weight):
    return bound(plain, weight) if callable(bound) else bound
