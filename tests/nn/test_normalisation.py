"""Batch, group, layer and instance norm keep a bound that is derived from their roundings.

With u = 2^-16, rows of m numbers c = x - mean, v = variance + eps and i = 1/√v:

- the mean is a sum times 1/m, off by d = u + u·|mean|;
- the variance gains d^2 from that, and its two products lose u/m, u·v and u; eps is rounded, u: in
  all E;
- `rsqrt` loses 2^-12 of i and u, and E moves it by at most E/2·(v - E)^-3/2: in all I;
- the result c·i is off by |c|·I + d·(i + I) + u, and with a weight |w| times that and u more.

The gradient i·(g - mean(g) - y·mean(g·y)) is handled the same way; its means are kept at 32 bits.
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from tests.nn.both import (
    PROTOCOLS,
    SEEDS,
    ULP,
    at_parties,
    opened,
    plainly,
    reals,
    secretly,
    shared,
    some,
    within,
)

protocols = pytest.mark.parametrize("protocol", PROTOCOLS)
FINE = 2.0**-32


class Rows:
    """What standardising rows [r, m] gives, and how far off it may be."""

    def __init__(self, x, eps=1e-5):
        m = x.shape[1]
        self.mean = x.mean(1, keepdims=True)
        self.c = x - self.mean
        var = (self.c**2).mean(1, keepdims=True)
        self.var, v = var, var + eps
        self.mean_off = ULP + ULP * np.abs(self.mean)
        d = self.mean_off
        self.var_off = d**2 + ULP / m + ULP * (var + d**2) + ULP
        e = self.var_off + ULP
        least = np.maximum(v - e, ULP)
        self.i = v**-0.5
        self.i_off = e / 2 * least**-1.5 + 2.0**-12 * least**-0.5 + ULP
        self.y = self.c * self.i
        self.y_off = np.abs(self.c) * self.i_off + d * (self.i + self.i_off) + ULP

    def grad_off(self, g, g_off):
        """For the gradient at the rows, from g at the result, which is off by g_off."""
        m = g.shape[1]
        along = (g * self.y).mean(1, keepdims=True)
        lost = np.abs(g) * self.y_off + g_off * (np.abs(self.y) + self.y_off)
        along_off = lost.mean(1, keepdims=True) + ULP * np.abs(along) + (m + 2) * FINE
        mean = g.mean(1, keepdims=True)
        mean_off = np.mean(g_off + 0 * g, 1, keepdims=True) + ULP * np.abs(mean) + FINE
        rest = g - mean - self.y * along
        rest_off = g_off + mean_off + np.abs(self.y) * along_off
        rest_off = rest_off + self.y_off * (np.abs(along) + along_off) + FINE
        return np.abs(rest) * self.i_off + rest_off * (self.i + self.i_off) + ULP

    def weight_off(self, g):
        """For the sum of g·y over each row; g is exact."""
        return (np.abs(g) * self.y_off).sum(1) + ULP


def tensor(x):
    return torch.from_numpy(np.array(x))


def channels(x):
    return np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)


def unchannels(rows, shape):
    n, c, *s = shape
    return np.moveaxis(rows.reshape(c, n, *s), 0, 1)


SHAPES = st.sampled_from([(5, 2), (4, 3, 6), (2, 2, 3, 3), (2, 1, 2, 2, 3), (16, 1)])


@protocols
@some
@given(seed=SEEDS, shape=SHAPES, affine=st.booleans())
def test_batch_norm_in_training_and_its_gradients_keep_the_bound(protocol, seed, shape, affine):
    x, w, b = reals(seed, *shape), reals(seed + 1, shape[1]), reals(seed + 2, shape[1])
    g = reals(seed + 3, *shape, limit=1)

    def f(x, w=None, b=None):
        return F.batch_norm(x, None, None, w, b, training=True)

    inputs = (x, w, b) if affine else (x,)
    found, exact = secretly(protocol, f, *inputs, weight=g), plainly(f, *inputs, weight=g)
    rows, column = Rows(channels(x.numpy())), np.abs(w.numpy())[:, None] if affine else 1.0
    value = column * rows.y_off + (ULP if affine else 0)
    within(found.value, exact.value, tensor(unchannels(value, shape)))
    at_rows, lost = channels(g.numpy()), 0.0
    if affine:
        within(found.grads[1], exact.grads[1], tensor(rows.weight_off(at_rows)))
        within(found.grads[2], exact.grads[2], 0)
        at_rows, lost = at_rows * w.numpy()[:, None], ULP
    bound = rows.grad_off(at_rows, lost)
    within(found.grads[0], exact.grads[0], tensor(unchannels(bound, shape)))


@protocols
@pytest.mark.parametrize("momentum", [0.1, 0.5, None])
def test_running_statistics_move_as_pytorch_moves_them_and_then_serve(protocol, momentum):
    batches = [reals(i, 6, 3, 4, limit=3) for i in range(3)]
    w, b = reals(8, 3), reals(9, 3)

    def trained(session):
        norm = nn.BatchNorm1d(3, momentum=momentum)
        norm.weight.data, norm.bias.data = w.float(), b.float()
        if session is None:
            norm.double()
        else:
            session.secure(norm)
        for x in batches:
            norm(x if session is None else shared(session, x.float()))
        norm.eval()
        x = batches[0].clone() if session is None else shared(session, batches[0].float())
        x.requires_grad_()
        y = norm(x)
        g = reals(10, *y.shape, limit=1)
        y.backward(g if session is None else shared(session, g.float()))
        out = [norm.running_mean, norm.running_var, y, x.grad, norm.weight.grad, norm.bias.grad]
        assert int(norm.num_batches_tracked) == 3
        return [v.detach() if session is None else opened(session, v) for v in out]

    exact = trained(None)
    found = at_parties(protocol, trained)
    mean_off, var_off = 0.0, 0.0
    mean, var = np.zeros(3), np.ones(3)
    for t, x in enumerate(batches, start=1):
        a = momentum if momentum is not None else 1 / t
        rows = Rows(channels(x.numpy()))
        m = rows.c.shape[1]
        now, spread = rows.mean[:, 0], rows.var[:, 0] * m / (m - 1)
        spread_off = rows.var_off[:, 0] * m / (m - 1) + ULP * spread + ULP
        # Two products with public numbers each: off by u of the product, and u.
        mean_off = (1 - a) * mean_off + a * rows.mean_off[:, 0]
        mean_off = mean_off + ULP * (np.abs(mean) + np.abs(now)) + 2 * ULP
        var_off = (1 - a) * var_off + a * spread_off + ULP * (var + spread) + 2 * ULP
        mean, var = (1 - a) * mean + a * now, (1 - a) * var + a * spread
    within(found[0], exact[0], tensor(mean_off))
    within(found[1], exact[1], tensor(var_off))
    # In evaluation: (x - mean)·(i·w) + b, with i as above but for a variance that is off by
    # var_off.
    v, e = var + 1e-5, var_off + ULP
    i, i_off = v**-0.5, e / 2 * (v - e) ** -1.5 + 2.0**-12 * (v - e) ** -0.5 + ULP
    scale, scale_off = np.abs(i * w.numpy()), i_off * np.abs(w.numpy()) + ULP
    column = (slice(None), None)
    c = np.abs(channels(batches[0].numpy()) - mean[column])
    bound = c * scale_off[column] + (mean_off * (scale + scale_off))[column] + ULP
    within(found[2], exact[2], tensor(unchannels(bound, (6, 3, 4))))
    g = np.abs(channels(reals(10, 6, 3, 4, limit=1).numpy()))
    gw = g * np.abs(w.numpy())[column]
    bound = gw * i_off[column] + (ULP * (i + i_off))[column] + ULP
    within(found[3], exact[3], tensor(unchannels(bound, (6, 3, 4))))
    standard_off = c * i_off[column] + (mean_off * (i + i_off))[column] + ULP
    within(found[4], exact[4], tensor((g * standard_off).sum(1) + ULP))
    within(found[5], exact[5], 0)


@protocols
@some
@given(
    seed=SEEDS,
    shape=st.sampled_from([(2, 4, 3), (1, 6, 2, 3), (3, 2, 2, 2, 2)]),
    groups=st.sampled_from([1, 2]),
    affine=st.booleans(),
)
def test_group_norm_and_its_gradients_keep_the_bound(protocol, seed, shape, groups, affine):
    x, w, b = reals(seed, *shape), reals(seed + 1, shape[1]), reals(seed + 2, shape[1])
    g = reals(seed + 3, *shape, limit=1)

    def f(x, w=None, b=None):
        return F.group_norm(x, groups, w, b)

    inputs = (x, w, b) if affine else (x,)
    found, exact = secretly(protocol, f, *inputs, weight=g), plainly(f, *inputs, weight=g)
    rows = Rows(x.numpy().reshape(shape[0] * groups, -1))
    column = w.numpy().reshape(-1, *[1] * (len(shape) - 2)) if affine else np.ones(1)
    y_off = rows.y_off.reshape(shape)
    within(found.value, exact.value, tensor(np.abs(column) * y_off + (ULP if affine else 0)))
    if affine:
        lost = channels(np.abs(g.numpy()) * y_off).sum(1) + ULP
        within(found.grads[1], exact.grads[1], tensor(lost))
        within(found.grads[2], exact.grads[2], 0)
    at_rows = (g.numpy() * column).reshape(shape[0] * groups, -1)
    bound = rows.grad_off(at_rows, ULP if affine else 0.0)
    within(found.grads[0], exact.grads[0], tensor(bound.reshape(shape)))


@protocols
@some
@given(
    seed=SEEDS,
    shape=st.sampled_from([(3, 8), (2, 3, 5), (2, 2, 3, 4)]),
    axes=st.integers(1, 2),
    affine=st.booleans(),
)
def test_layer_norm_and_its_gradients_keep_the_bound(protocol, seed, shape, axes, affine):
    axes = min(axes, len(shape) - 1)
    normal = shape[-axes:]
    x, w, b = reals(seed, *shape), reals(seed + 1, *normal), reals(seed + 2, *normal)
    g = reals(seed + 3, *shape, limit=1)

    def f(x, w=None, b=None):
        return F.layer_norm(x, normal, w, b)

    inputs = (x, w, b) if affine else (x,)
    found, exact = secretly(protocol, f, *inputs, weight=g), plainly(f, *inputs, weight=g)
    width = int(np.prod(normal))
    rows = Rows(x.numpy().reshape(-1, width))
    row = w.numpy().reshape(1, -1) if affine else np.ones((1, 1))
    value = np.abs(row) * rows.y_off + (ULP if affine else 0)
    within(found.value, exact.value, tensor(value.reshape(shape)))
    flat = g.numpy().reshape(-1, width)
    if affine:
        lost = (np.abs(flat) * rows.y_off).sum(0) + ULP
        within(found.grads[1], exact.grads[1], tensor(lost.reshape(normal)))
        within(found.grads[2], exact.grads[2], 0)
    bound = rows.grad_off(flat * row, ULP if affine else 0.0)
    within(found.grads[0], exact.grads[0], tensor(bound.reshape(shape)))


@protocols
@some
@given(seed=SEEDS, shape=st.sampled_from([(2, 3, 6), (2, 2, 3, 4), (1, 2, 2, 3, 3)]))
def test_instance_norm_and_its_gradients_keep_the_bound(protocol, seed, shape):
    x, w, b = reals(seed, *shape), reals(seed + 1, shape[1]), reals(seed + 2, shape[1])
    g = reals(seed + 3, *shape, limit=1)

    def f(x, w, b):
        return F.instance_norm(x, weight=w, bias=b)

    found, exact = secretly(protocol, f, x, w, b, weight=g), plainly(f, x, w, b, weight=g)
    rows = Rows(x.numpy().reshape(shape[0] * shape[1], -1))
    column = w.numpy().reshape(-1, *[1] * (len(shape) - 2))
    y_off = rows.y_off.reshape(shape)
    within(found.value, exact.value, tensor(np.abs(column) * y_off + ULP))
    # The weight is repeated for each image, and its gradients are rounded for each.
    lost = channels(np.abs(g.numpy()) * y_off).sum(1) + shape[0] * ULP
    within(found.grads[1], exact.grads[1], tensor(lost))
    within(found.grads[2], exact.grads[2], 0)
    at_rows = (g.numpy() * column).reshape(shape[0] * shape[1], -1)
    within(found.grads[0], exact.grads[0], tensor(rows.grad_off(at_rows, ULP).reshape(shape)))


def test_instance_norm_with_running_statistics_moves_them():
    x = reals(1, 4, 2, 9)

    def trained(session):
        norm = nn.InstanceNorm1d(2, track_running_stats=True, affine=True)
        if session is not None:
            session.secure(norm)
        for _ in range(2):
            norm(x.float() if session is None else shared(session, x.float()))
        return [
            v.double() if session is None else opened(session, v)
            for v in (norm.running_mean, norm.running_var)
        ]

    for found, exact in zip(at_parties("clear", trained), trained(None), strict=True):
        within(
            found, exact, 20 * ULP
        )  # two steps, each as in batch norm, and a mean over four images


def test_the_scale_of_fixed_statistics_is_found_once():
    from mpc.launch import run_parties
    from protocols.nn import Session

    def program(party):
        session = Session(party)
        norm = session.secure(nn.BatchNorm1d(3)).eval()
        x = shared(session, reals(1, 4, 3).float())
        counts = []
        for _ in range(2):
            before = party.meter.total.rounds
            norm(x).secret.share  # noqa: B018  # the product is truncated when it is looked at
            counts.append(party.meter.total.rounds - before)
        norm.train()(x)
        norm.eval()
        before = party.meter.total.rounds
        norm(x).secret.share  # noqa: B018
        return [*counts, party.meter.total.rounds - before]

    first, second, after_training = run_parties(3, program)[0]
    assert second == 2 < first == after_training


def folding_layers(seed):
    """A convolution and a batch norm with statistics, all multiples of one ulp."""
    conv, norm = nn.Conv2d(2, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)
    with torch.no_grad():
        conv.weight.copy_(reals(seed, 3, 2, 3, 3, limit=1))
        norm.weight.copy_(reals(seed + 1, 3, limit=2))
        norm.bias.copy_(reals(seed + 2, 3))
        norm.running_mean.copy_(reals(seed + 3, 3))
        norm.running_var.copy_((reals(seed + 4, 3, limit=1) + 1.5) * torch.tensor([1, 10, 100]))
    return conv, norm


@protocols
@some
@given(seed=SEEDS)
def test_a_batch_norm_goes_into_the_convolution_before_it(protocol, seed):
    x = reals(seed + 5, 2, 2, 4, 5)

    def program(session):
        model = session.secure(nn.Sequential(*folding_layers(seed)).eval())
        with torch.no_grad():
            return session.open(model(shared(session, x.float())), reason="a test")

    conv, norm = (layer.double().eval() for layer in folding_layers(seed))
    exact = norm(conv(x)).detach()
    inverse = 1 / torch.sqrt(norm.running_var + norm.eps)
    eps_rounded = ULP * inverse**3 / 2
    of_scale = norm.weight.abs() * (2**-12 * inverse + ULP + eps_rounded) + ULP
    of_weight = of_scale.reshape(-1, 1, 1, 1) * conv.weight.abs() + ULP / 16
    of_product = F.conv2d(x.abs(), of_weight, padding=1)
    of_shift = norm.running_mean.abs() * of_scale + ULP
    bound = (of_product + of_shift.reshape(-1, 1, 1) + ULP).detach()
    assert bool((abs(at_parties(protocol, program).double() - exact) <= bound).all())


def test_what_went_into_a_convolution_is_found_once_until_a_weight_changes():
    from mpc.launch import run_parties
    from protocols.nn import Session

    def program(party):
        session, rounds = Session(party), []
        model = session.secure(nn.Sequential(*folding_layers(1), nn.ReLU()).eval())
        x, plain = reals(6, 1, 2, 4, 4).float(), nn.Sequential(*folding_layers(1), nn.ReLU()).eval()
        secret = shared(session, x)
        for step in range(3):
            with torch.no_grad():
                if step == 2:
                    model[0].weight.mul_(2)
                    plain[0].weight.mul_(2)
                before = party.meter.total.rounds
                y = model(secret)
                y.secret.share  # noqa: B018
            rounds.append(party.meter.total.rounds - before)
            opened = session.open(y, reason="a test")
            assert torch.allclose(opened, plain(x), atol=2e-2)
        return rounds

    first, second, changed = run_parties(3, program)[0]
    assert second == 7 < changed == 9 < first  # the new weights are multiplied by the scale: 2 more
