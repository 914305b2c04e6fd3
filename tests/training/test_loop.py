"""The loop is PyTorch's own, in an order that every party knows."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from mpc.errors import UsageError
from protocols.nn import Session
from protocols.training.loop import Training, fit, logits_of

COUNTS = st.integers(1, 70)


@given(studies=COUNTS, batch=st.integers(1, 20), seed=st.integers(0, 9), epoch=st.integers(0, 5))
def test_an_epoch_visits_every_study_once(studies, batch, seed, epoch):
    steps = list(Training(batch=batch, seed=seed).batches(studies, epoch))
    assert sorted(torch.cat(steps).tolist()) == list(range(studies))
    assert all(step.dtype == torch.int64 for step in steps)
    assert Training(batch=batch, seed=seed).steps(studies) == len(steps)


@given(studies=COUNTS, batch=st.integers(1, 20))
def test_only_a_single_study_is_left_alone_and_only_if_a_step_is_one_study(studies, batch):
    sizes = [len(step) for step in Training(batch=batch).batches(studies, 0)]
    assert all(size == batch for size in sizes[:-1])
    odd = batch > 1 and studies > batch and studies % batch == 1
    assert sizes[-1] == (batch + 1 if odd else (studies - 1) % batch + 1)
    assert sizes[-1] > 1 or batch == 1 or studies == 1


def test_the_order_is_the_same_for_the_same_seed_and_another_for_each_epoch_and_seed():
    def order(seed, epoch):
        return tuple(torch.cat(list(Training(seed=seed).batches(40, epoch))).tolist())

    assert order(3, 1) == order(3, 1)
    assert len({order(seed, epoch) for seed in range(3) for epoch in range(3)}) == 9
    assert order(0, 0) == tuple(np.random.default_rng([0, 0]).permutation(40))


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch": 0},
        {"optimizer": "rmsprop"},
        {"rate": 0.0},
        {"rate": float("nan")},
        {"rate": 1e9},
        {"momentum": -0.1},
        {"momentum": 1.0},
        {"weight_decay": -1.0},
        {"weight_decay": float("nan")},
    ],
)
def test_what_cannot_be_trained_with_is_refused(wrong):
    with pytest.raises(UsageError):
        Training(**wrong)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_optimizer_is_pytorchs_with_the_settings(optimizer):
    model = nn.Linear(2, 2)
    training = Training(rate=0.3, momentum=0.5, weight_decay=0.01, optimizer=optimizer)
    made = training.make_optimizer(model)
    assert type(made) is {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    assert made.defaults["lr"] == 0.3 and made.defaults["weight_decay"] == 0.01
    assert optimizer == "adam" or made.defaults["momentum"] == 0.5


def a_task(studies=21):
    torch.manual_seed(0)
    images, labels = torch.randn(studies, 1, 4, 4), torch.arange(studies) % 2
    images += labels.reshape(-1, 1, 1, 1) * 1.5
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))
    return model, images, F.one_hot(labels, 2).float()


def test_a_plain_model_is_trained_as_by_hand():
    model, images, targets = a_task()
    by_hand, *_ = a_task()
    training = Training(epochs=3, batch=10, rate=0.2)
    fit(model, images, targets, training)
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.2, momentum=0.9)
    for epoch in range(3):
        order = torch.from_numpy(np.random.default_rng([0, epoch]).permutation(21))
        for places in (order[:10], order[10:]):  # 10, and 10 with the odd one
            optimizer.zero_grad()
            F.cross_entropy(by_hand(images[places]), targets[places]).backward()
            optimizer.step()
    for one, other in zip(model.parameters(), by_hand.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_loss_of_an_epoch_is_the_mean_over_its_studies_not_over_its_steps():
    model, images, targets = a_task()
    losses, steps = [], []
    expected = []

    class Watched(nn.Sequential):
        def forward(self, x):
            logits = super().forward(x)
            places = [next(i for i, y in enumerate(images) if torch.equal(y, row)) for row in x]
            each = F.cross_entropy(logits, targets[places], reduction="none")
            expected.extend(each.tolist())
            return logits

    training = Training(epochs=1, batch=8)  # steps of 8, 8 and 5 studies
    fit(
        Watched(*model),
        images,
        targets,
        training,
        on_step=lambda *at: steps.append(at),
        on_epoch=lambda *about: losses.append(about),
    )
    assert steps == [(0, 0), (0, 1), (0, 2)]
    ((epoch, loss, seconds),) = losses
    assert epoch == 0 and seconds >= 0
    assert abs(float(loss) - np.mean(expected)) < 1e-5


def test_secret_and_plain_training_agree():
    model, images, targets = a_task()
    secret, *_ = a_task()
    session, losses = Session(protocol="clear"), {"plain": [], "secret": []}
    training = Training(epochs=2, batch=8, rate=0.1)
    fit(model, images, targets, training, on_epoch=lambda _, x, __: losses["plain"].append(x))
    session.secure(secret)
    shared = session.share(images, owner=0), session.share(targets, owner=0)
    fit(secret, *shared, training, on_epoch=lambda _, x, __: losses["secret"].append(x))
    for one, other in zip(losses["plain"], losses["secret"], strict=True):
        opened = session.open(other, reason="a test on made-up data")
        # A step of training errs by some 2^-12 of a weight here; two epochs are six steps.
        assert abs(float(opened) - float(one)) < 2**-8


def test_logits_come_batch_by_batch_in_evaluation_mode():
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 3))
    images, seen = torch.randn(11, 1, 4, 4), []
    model[0].register_forward_hook(lambda _m, inputs, _o: seen.append(len(inputs[0])))
    got = logits_of(model, images, 4)
    assert seen == [4, 4, 3] and not model.training and not got.requires_grad
    assert torch.allclose(got, model(images), atol=1e-6)
