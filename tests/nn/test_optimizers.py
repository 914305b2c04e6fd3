"""PyTorch's optimizers run on secrets; how far they stray from float64 is added up step by step."""

import copy

import pytest
import torch
from torch import nn

from tests.nn.both import PROTOCOLS, RELATIVE, ULP, at_parties, opened, reals, shared, within

protocols = pytest.mark.parametrize("protocol", PROTOCOLS)
STEPS = 6
START = reals(1, 40)
GRADS = [reals(10 + i, 40, limit=1) for i in range(STEPS)]


def descended(session, make, grads=GRADS):
    """A parameter after each step, given its gradients."""
    if session is None:
        p = nn.Parameter(START.clone())
    else:
        p = nn.Parameter(shared(session, START))
    optimizer, path = make([p]), []
    for g in grads:
        optimizer.zero_grad()
        p.grad = g.clone() if session is None else shared(session, g)
        optimizer.step()
        path.append(p.detach().clone() if session is None else opened(session, p))
    return path


@protocols
@pytest.mark.parametrize(
    "rate, momentum, decay, nesterov",
    [(0.1, 0, 0, False), (0.05, 0.9, 0, False), (0.05, 0.9, 0.01, False), (0.1, 0.9, 0.01, True)],
)
def test_sgd_strays_by_no_more_than_its_roundings(protocol, rate, momentum, decay, nesterov):
    def make(ps):
        return torch.optim.SGD(
            ps, lr=rate, momentum=momentum, weight_decay=decay, nesterov=nesterov
        )

    exact = descended(None, make)
    found = at_parties(protocol, lambda session: descended(session, make))
    p_off, buffer_off, buffer = 0.0, 0.0, torch.zeros(40).double()
    p = START
    for t, (g, one, other) in enumerate(zip(GRADS, found, exact, strict=True)):
        # g + decay·p, momentum·b + g, nesterov's g + momentum·b, p - rate·b: each product is off by
        # u of itself and by one ulp, and carries on what its operand is off by.
        g, g_off = g + decay * p, decay * (p_off + RELATIVE * p.abs()) + ULP * (decay > 0)
        if momentum:
            lost = momentum * (buffer_off + RELATIVE * buffer.abs()) + ULP
            buffer_off = g_off + (lost if t else 0)
            buffer = momentum * buffer + g if t else g
            lost = momentum * (buffer_off + RELATIVE * buffer.abs()) + ULP
            step_off = g_off + lost if nesterov else buffer_off
            step = g + momentum * buffer if nesterov else buffer
        else:
            step, step_off = g, g_off
        p, p_off = other, p_off + rate * (step_off + RELATIVE * step.abs()) + ULP
        within(one, other, p_off)


@protocols
@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_adam_strays_by_no_more_than_its_roundings(protocol, kind, decay):
    rate, b1, b2 = 0.01, 0.9, 0.999

    def make(ps):
        return kind(ps, lr=rate, betas=(b1, b2), weight_decay=decay)

    grads = [torch.sign(g) * (g.abs() + 0.125) for g in GRADS]
    exact = descended(None, make, grads)
    found = at_parties(protocol, lambda session: descended(session, make, grads))
    zero = torch.zeros(40).double()
    m, v, m_off, v_off, p, p_off = zero, zero, 0.0, 0.0, START, 0.0
    for t, (g, one, other) in enumerate(zip(grads, found, exact, strict=True), start=1):
        g_off = decay * (p_off + RELATIVE * p.abs()) + ULP * (decay > 0)
        g = g + decay * p if kind is torch.optim.Adam else g
        # m + 0.1·(g - m); v·0.999 + 0.001·g·g with v at 32 bits and the square exact but for what g
        # is off by.
        m_off = m_off + 0.1 * (g_off + RELATIVE * (g - m).abs()) + ULP
        m = b1 * m + (1 - b1) * g
        square_off = 2 * g.abs() * g_off + g_off**2
        v_off = v_off + 0.001 * square_off + RELATIVE * (v + 0.001 * (g * g)) + 2 * 2.0**-32
        v = b2 * v + (1 - b2) * g * g
        # The root of v at 24 bits: it loses 2^-13 of itself and 2^-24; over a public number: u and
        # 2^-24. Then divide: 2^-11 of the quotient, 2^-16, and 2 ulp of its divisor's scale over
        # the divisor.
        root = v.sqrt()
        root_off = v_off / (v - v_off).sqrt() / 2 + 2.0**-13 * root + 2.0**-24
        d = root / (1 - b2**t) ** 0.5
        d_off = root_off / (1 - b2**t) ** 0.5 + RELATIVE * d + 2 * 2.0**-24
        q = m.abs() / (d - d_off)
        q_off = (
            m_off / (d - d_off) + q * d_off / d + 2.0**-11 * q + ULP + 2 * 2.0**-24 / (d - d_off)
        )
        step = rate / (1 - b1**t)
        p_off = p_off + step * (q_off + RELATIVE * q) + ULP
        if kind is torch.optim.AdamW:  # times 1 - rate·decay
            p_off = p_off + rate * decay * RELATIVE * p.abs() + ULP * (decay > 0)
        p = other
        within(one, other, p_off)


@protocols
def test_gradients_add_up_until_they_are_set_to_zero(protocol):
    x = [reals(i, 5, 3) for i in range(3)]
    w, b = reals(7, 2, 3), reals(8, 2)

    def program(session):
        layer = nn.Linear(3, 2).double()
        layer.weight.data, layer.bias.data = w.clone(), b.clone()
        if session is not None:
            session.secure(layer)
        out = []
        for i, batch in enumerate(x):
            y = layer(batch if session is None else shared(session, batch)).sum()
            y.backward()
            if i == 1:
                out += [layer.weight.grad.clone(), layer.bias.grad.clone()]
                layer.zero_grad(set_to_none=False)
        out += [layer.weight.grad, layer.bias.grad]
        return [v if session is None else opened(session, v) for v in out]

    for one, other in zip(at_parties(protocol, program), program(None), strict=True):
        within(one, other, 2 * 5 * 4 * RELATIVE + 2 * ULP)  # the gradient of a sum is public: ones


@protocols
def test_a_gradient_norm_is_clipped(protocol):
    grads = [reals(1, 6, 5), reals(2, 7)]
    for most in (0.5, 1000.0):

        def program(session, most=most):
            ps = [nn.Parameter(torch.zeros(g.shape).double()) for g in grads]
            if session is not None:
                ps = [nn.Parameter(shared(session, p.detach())) for p in ps]
            for p, g in zip(ps, grads, strict=True):
                p.grad = g.clone() if session is None else shared(session, g)
            norm = nn.utils.clip_grad_norm_(ps, most)
            return [
                v if session is None else opened(session, v) for v in (norm, *(p.grad for p in ps))
            ]

        found, exact = at_parties(protocol, program), program(None)
        norm = float(exact[0])
        # Norms of parts, off by 2^-13 of themselves and 2 ulp, and the norm of them; its
        # reciprocal, 2^-11 and an ulp.
        norm_off = 2 * 2.0**-13 * norm + 6 * ULP
        within(found[0], exact[0], norm_off)
        scale = min(1.0, most / norm)
        scale_off = 0.0 if most > norm else most * (norm_off / norm**2 + 2.0**-11 / norm + 2 * ULP)
        for one, other in zip(found[1:], exact[1:], strict=True):
            within(one, other, 4 * (scale_off + ULP * scale) + ULP)


@protocols
def test_a_shared_parameter_gets_both_gradients_and_stays_shared(protocol):
    x = reals(1, 4, 3)
    w = reals(2, 3, 3, limit=1)

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.other.weight = self.one.weight

        def forward(self, x):
            return self.other(self.one(x))

    def program(session):
        model = Tied().double()
        model.one.weight.data = w.clone()
        if session is not None:
            session.secure(model)
            assert model.one.weight is model.other.weight
            assert len(list(model.parameters())) == 1
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        y = model(x if session is None else shared(session, x))
        y.backward(
            torch.ones(4, 3).double() if session is None else shared(session, torch.ones(4, 3))
        )
        optimizer.step()
        out = [y, model.one.weight.grad, model.other.weight]
        return [v.detach() if session is None else opened(session, v) for v in out]

    found, exact = at_parties(protocol, program), program(None)
    # The first result is off by one ulp, which three weights below 1 carry on; the gradients of
    # both are added: sums of 4 products of numbers below 4 that are off by an ulp, and the
    # roundings.
    bounds = [3 * ULP + ULP, 4 * ULP + 4 * 4 * ULP + 2 * ULP, 0.5 * 22 * ULP + ULP]
    for one, other, bound in zip(found, exact, bounds, strict=True):
        within(one, other, bound)


def test_a_secret_model_can_be_copied_and_the_copy_goes_its_own_way():
    def program(session):
        model = session.secure(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))
        twin = copy.deepcopy(model)
        assert all(type(p).__name__ == "SecretTensor" for p in twin.parameters())
        assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in twin.parameters())
        before = [opened(session, p) for p in twin.parameters()]
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        model(shared(session, reals(1, 5, 3).float())).square().sum().backward()
        optimizer.step()
        after = [opened(session, p) for p in twin.parameters()]
        moved = [opened(session, p) for p in model.parameters()]
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        assert not torch.equal(moved[0], after[0])
        return 0

    at_parties("rep3", program)


def test_parameters_keep_their_scale_whatever_is_added_to_them():
    """A gradient that came through a pool has more bits; a parameter must not take them on."""

    def program(session):
        model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 2))
        session.secure(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            model(shared(session, reals(1, 2, 1, 6, 6).float())).square().mean().backward()
            optimizer.step()
        assert {p.detach().secret.fraction for p in model.parameters()} == {16}
        return 0

    at_parties("clear", program)
    at_parties("rep3", program)
