"""Whole models train on secrets by the code that trains them in the clear.

How near the logits must come is found by carrying rounding errors through the plain model. For a
chain of convolutions, ReLUs and pools that is a bound: an error e at a layer's input is at most |W|
* e at its output, plus one ulp. For the others it is a sample: each layer's output is moved by as
much as that layer may be off, in random directions, ten times, and the secret run must stay within
four times what that does at most.
"""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from protocols.nn import SecretTensor
from protocols.radiology.models import radcnn, resnet18
from tests.nn.both import PARTIES, PROTOCOLS, ULP, at_parties, opened, shared

SEED = 3


def drawn(*shape, seed=SEED):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return torch.round(x / ULP) * ULP


def rounded(model):
    """The model with weights that sharing does not change."""
    with torch.no_grad():
        for p in [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]:
            p.copy_(torch.round(p / ULP) * ULP)
    return model


def built(make):
    torch.manual_seed(SEED)
    return rounded(make())


def step(model, x, target, loss, make):
    """One step of training: logits, loss, gradients, and parameters after it."""
    optimizer = make(model.parameters())
    optimizer.zero_grad()
    logits = model(x)
    value = loss(logits, target)
    value.backward()
    grads = [p.grad.clone() for p in model.parameters()]
    optimizer.step()
    return [logits.detach(), value.detach(), *grads, *(p.detach() for p in model.parameters())]


def both_ways(protocol, model, x, target, loss, make, train=True):
    """The step in float64 and on secrets."""
    plain = copy.deepcopy(model).double().train(train)
    exact = step(plain, x.double(), target.double(), loss, make)

    def program(session):
        secret = session.secure(copy.deepcopy(model)).train(train)
        assert all(isinstance(p, SecretTensor) for p in secret.parameters())
        found = step(secret, shared(session, x), shared(session, target, 1), loss, make)
        return [opened(session, v) for v in found]

    return at_parties(protocol, program), exact


def carried(model, x):
    """How far roundings can move the logits of a chain of convolutions, ReLUs and pools."""
    off = torch.zeros_like(x)
    for layer in model:
        absolute = copy.deepcopy(layer)
        if isinstance(layer, (nn.Conv2d, nn.Conv3d, nn.Linear)):
            absolute.weight.data.abs_()
            absolute.bias.data.zero_()
            off = absolute(off) + ULP
        else:
            off = absolute(
                off
            )  # none of them makes an error larger, nor a larger one than the largest in its window
    return off.detach()


ROUNDS = (nn.Linear, nn.modules.conv._ConvNd)
NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
CURVES = (nn.Sigmoid, nn.Tanh, nn.GELU, nn.SiLU)


def _least_variance(layer, x):
    """Of what a norm divides by."""
    if not layer.training and getattr(layer, "running_var", None) is not None:
        return layer.running_var.min()
    rows = x.detach().transpose(0, 1).flatten(1)
    if isinstance(layer, nn.modules.instancenorm._InstanceNorm):
        rows = x.detach().flatten(2).flatten(0, 1)
    return rows.var(1).min()


def sampled(model, x, train):
    """How far errors of each layer's size move the logits, in ten samples."""
    model = copy.deepcopy(model).double().train(train)
    draw = torch.Generator().manual_seed(1)

    def move(layer, inputs, out):
        # A norm is off by about 2^-12 of its result, and by an ulp over the deviation of what went
        # in.
        size = ULP
        if isinstance(layer, NORMS):
            least = _least_variance(layer, inputs[0])
            size = out.abs() * 2.0**-12 + 4 * ULP / (least + 1e-5)
        elif isinstance(layer, CURVES):
            size = 2.0**-10
        return out + size * (2 * torch.rand(out.shape, generator=draw).double() - 1)

    kept = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        exact = model(x.double())
        for layer in model.modules():
            if isinstance(layer, (*ROUNDS, *NORMS, *CURVES)) or type(layer) is nn.PReLU:
                layer.register_forward_hook(move)
        most = 0.0
        for _ in range(10):
            model.load_state_dict(kept)
            most = max(most, float((model(x.double()) - exact).abs().max()))
    return most


def aligned(found, exact):
    """The cosine between all gradients on secrets and in float64."""
    a, b = (torch.cat([v.reshape(-1) for v in vs]) for vs in (found, exact))
    return float(a @ b / (a.norm() * b.norm()))


def sgd(ps):
    return torch.optim.SGD(ps, lr=0.05, momentum=0.9, weight_decay=1e-4)


def adam(ps):
    return torch.optim.Adam(ps, lr=1e-3)


def assert_near(found, exact, bound, cosine=0.999):
    count = (len(exact) - 2) // 2
    assert (found[0] - exact[0]).abs().max() <= bound
    # The losses used here change by at most 2 for each unit that the logits do.
    assert abs(found[1] - exact[1]) <= 2 * bound + 2.0**-11
    assert aligned(found[2 : 2 + count], exact[2 : 2 + count]) >= cosine
    return count


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dims, size", [(2, 12), (3, 8)])
def test_radcnn_takes_the_step_that_it_takes_in_the_clear(protocol, dims, size):
    model = built(lambda: radcnn(size=size, dims=dims))
    x, t = drawn(4, 1, *[size] * dims), F.one_hot(torch.tensor([0, 1, 1, 0]), 2).float()
    found, exact = both_ways(protocol, model, x, t, F.cross_entropy, sgd)
    bound = carried(copy.deepcopy(model).double(), x.double())
    assert torch.all((found[0] - exact[0]).abs() <= bound)
    count = assert_near(found, exact, 4 * sampled(model, x, True))
    grads = list(zip(found[2 : 2 + count], exact[2 : 2 + count], strict=True))
    for (one, other), p, q in zip(grads, found[-count:], exact[-count:], strict=True):
        # A parameter moved by its gradient times the rate: off by as much as that, and two
        # roundings.
        assert (p - q).abs().max() <= 0.05 * (one - other).abs().max() + 4 * ULP


def test_resnet18_takes_the_step_that_it_takes_in_the_clear():
    model = built(lambda: resnet18(2, 1, small=True))
    x, t = drawn(4, 1, 8, 8), F.one_hot(torch.tensor([0, 1, 1, 0]), 2).float()
    found, exact = both_ways("clear", model, x, t, F.cross_entropy, sgd)
    assert_near(found, exact, 4 * sampled(model, x, True), cosine=0.98)


def test_resnet18_infers_with_its_stem_and_pool():
    model = built(lambda: resnet18(3, 3))
    x = drawn(2, 3, 32, 32)
    bound = 4 * sampled(model, x, False)

    def program(session):
        secret = session.secure(copy.deepcopy(model)).eval()
        with torch.no_grad():
            return opened(session, secret(shared(session, x)))

    with torch.no_grad():
        exact = copy.deepcopy(model).double().eval()(x.double())
    assert (at_parties("clear", program) - exact).abs().max() <= bound


class Small(nn.Module):
    """Every family of layers once, and a residual sum."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.norm1 = nn.GroupNorm(2, 4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.norm2 = nn.BatchNorm2d(4)
        self.act1, self.act2 = nn.SiLU(), nn.GELU()
        self.up = nn.ConvTranspose2d(4, 2, 2, stride=2)
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        x = self.act1(self.norm1(self.conv1(x)))
        x = x + self.act2(self.norm2(self.conv2(x)))
        y = F.max_pool2d(x, 3, 2, 1)
        y = torch.cat([F.avg_pool2d(x, 2), self.up(F.avg_pool2d(y, 2))], 1)
        return self.head(F.adaptive_avg_pool2d(y, 1).flatten(1))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("make", [sgd, adam])
def test_a_model_of_every_family_of_layers_takes_its_step(protocol, make):
    model = built(Small)
    x, t = drawn(4, 1, 8, 8), F.one_hot(torch.tensor([0, 1, 1, 0]), 2).float()
    found, exact = both_ways(protocol, model, x, t, F.cross_entropy, make)
    assert_near(found, exact, 4 * sampled(model, x, True), cosine=0.995)


@pytest.mark.parametrize("protocol", PARTIES)
def test_a_few_steps_of_training_lower_the_loss_as_they_do_in_the_clear(protocol):
    x = drawn(16, 1, 8, 8)
    t = (x.mean((1, 2, 3)) > 0).long()
    y = F.one_hot(t, 2).float()

    start = built(lambda: radcnn(size=8))

    def trained(session):
        model = copy.deepcopy(start)
        if session is not None:
            session.secure(model)
        a, b = (x, y) if session is None else (shared(session, x), shared(session, y))
        optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), []
        for _ in range(8):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(a), b)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return [float(v) if session is None else float(opened(session, v)) for v in losses]

    found, exact = at_parties(protocol, trained), trained(None)
    assert np.max(np.abs(np.array(found) - exact)) < 2.0**-6
    assert found[-1] < found[0]


def test_between_two_parties_weights_are_opened_with_the_first_batch_alone():
    model = built(
        lambda: nn.Sequential(
            *(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5), nn.ReLU()),
            nn.Linear(5, 2),
        )
    )
    weights = sum(p.numel() for p in model.parameters() if p.ndim > 1)

    def program(session):
        total = session.party.meter.total
        secret, sent = session.secure(copy.deepcopy(model)).eval(), []
        for seed in range(3):
            x = shared(session, drawn(2, 1, 6, 6, seed=seed))
            before = total.sent_bytes
            with torch.no_grad():
                secret(x).secret.share  # noqa: B018  looked at, and so computed
            sent.append(total.sent_bytes - before)
        return sent

    first, *later = at_parties("additive", program)
    assert set(later) == {first - 8 * weights}


# MONAI's networks, unchanged.


def test_monai_densenet_takes_its_step():
    nets = pytest.importorskip("monai.networks.nets")
    model = built(
        lambda: nets.DenseNet121(2, 1, 2, init_features=8, growth_rate=4, block_config=(2, 2, 2, 2))
    )
    x, t = drawn(4, 1, 32, 32), F.one_hot(torch.tensor([0, 1, 1, 0]), 2).float()
    found, exact = both_ways("clear", model, x, t, F.cross_entropy, sgd)
    assert_near(found, exact, 4 * sampled(model, x, True), cosine=0.98)


def test_monai_densenet121_infers_at_full_depth():
    nets = pytest.importorskip("monai.networks.nets")
    model = built(lambda: nets.DenseNet121(2, 1, 2))
    x = drawn(1, 1, 32, 32)
    bound = 4 * sampled(model, x, False)

    def program(session):
        with torch.no_grad():
            return opened(session, session.secure(copy.deepcopy(model)).eval()(shared(session, x)))

    with torch.no_grad():
        exact = copy.deepcopy(model).double().eval()(x.double())
    assert (at_parties("clear", program) - exact).abs().max() <= bound


def test_monai_resnet10_in_3d_takes_its_step():
    nets = pytest.importorskip("monai.networks.nets")
    model = built(lambda: nets.resnet10(spatial_dims=3, n_input_channels=1, num_classes=2))
    x, t = drawn(2, 1, 16, 16, 16), F.one_hot(torch.tensor([0, 1]), 2).float()
    # With fixed statistics, as when it is tuned: at this size the last norms would see two numbers
    # a channel.
    found, exact = both_ways("clear", model, x, t, F.cross_entropy, adam, train=False)
    assert_near(found, exact, 4 * sampled(model, x, False))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_monai_unet_takes_its_step(protocol, norm):
    nets = pytest.importorskip("monai.networks.nets")
    model = built(lambda: nets.UNet(2, 1, 1, (4, 8, 8), (2, 2), norm=norm))
    x = drawn(2, 1, 16, 16)
    t = (drawn(2, 1, 16, 16, seed=4) > 0).float()
    loss = F.binary_cross_entropy_with_logits
    found, exact = both_ways(protocol, model, x, t, loss, sgd)
    assert_near(found, exact, 4 * sampled(model, x, True), cosine=0.98)
