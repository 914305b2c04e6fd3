"""What a secret tensor is to PyTorch: in-place changes, views, memory; and what it refuses."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mpc.errors import NotOffered, UsageError
from protocols.nn import SecretTensor, Session
from protocols.nn.tensor import implements
from tests.nn.both import ULP, at_parties, check, opened, reals, secretly, shared


@pytest.fixture
def session():
    return Session(None, protocol="clear")


# In-place changes and views.


def test_an_in_place_change_is_seen_through_every_name(session):
    x = shared(session, reals(1, 4))
    data, detached, same = x.data, x.detach(), x
    x.add_(1).mul_(2)
    expected = (reals(1, 4) + 1) * 2
    for seen in (x, data, detached, same):
        assert torch.equal(opened(session, seen), expected)
    detached.zero_()
    assert not opened(session, x).any()


def test_a_view_shows_what_its_base_has_become(session):
    x = shared(session, reals(1, 2, 6))
    flat, row, turned = x.view(-1), x[1], x.t()
    again, parts = flat.view(3, 4), x.split(1)
    x.mul_(2)
    x += 1
    y = reals(1, 2, 6) * 2 + 1
    assert torch.equal(opened(session, flat), y.view(-1))
    assert torch.equal(opened(session, row), y[1])
    assert torch.equal(opened(session, turned), y.t())
    assert torch.equal(opened(session, again), y.view(3, 4))
    assert torch.equal(opened(session, parts[1]), y[1:])
    del flat
    x.zero_()
    assert not opened(session, again).any()


def test_a_clone_goes_its_own_way(session):
    x = shared(session, reals(1, 4))
    y = x.clone()
    x.zero_()
    assert torch.equal(opened(session, y), reals(1, 4))
    y.add_(1)
    assert not opened(session, x).any()


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.__setitem__(0, 1.0),
        lambda x: x[0].add_(1),
        lambda x: x.view(-1)[:2].mul_(2),
        lambda x: x.t()[1:].zero_(),
        lambda x: x.split(1)[0].copy_(x[1:]),
    ],
)
def test_a_change_of_a_part_is_refused_and_changes_nothing(session, change):
    x = shared(session, reals(1, 2, 3))
    with pytest.raises(NotOffered, match=r"torch.cat, torch.stack or torch.where"):
        change(x)
    assert torch.equal(opened(session, x), reals(1, 2, 3))


def test_a_change_of_all_through_a_view_reaches_every_other_view(session):
    x = shared(session, reals(1, 2, 3))
    flat, turned, part = x.view(-1), x.t(), x[1]
    flat.add_(1)
    turned.mul_(2)
    y = (reals(1, 2, 3) + 1) * 2
    for found, expected in ((x, y), (flat, y.view(-1)), (turned, y.t()), (part, y[1])):
        assert torch.equal(opened(session, found), expected)
    x.unsqueeze(1).permute(2, 0, 1).copy_(torch.arange(6.0).reshape(3, 2, 1))
    assert torch.equal(opened(session, turned), torch.arange(6.0).reshape(3, 2))
    bits = x > 2
    bits.view(-1).logical_not_()
    assert torch.equal(opened(session, bits), (opened(session, x) <= 2).double())


def test_an_in_place_activation_after_a_reshape_works():
    check("clear", lambda x: F.relu((x * 1).view(-1), inplace=True), reals(1, 2, 3), grads=[0])
    check("rep3", lambda x: F.relu((x * 1).view(3, 2).t(), inplace=True), reals(1, 2, 3), grads=[0])


def test_a_value_that_a_gradient_needs_may_not_be_changed(session):
    x = shared(session, reals(1, 5), grad=True)
    y = F.relu(x * 1)
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_what_was_remembered_of_a_tensor_is_forgotten_when_it_changes(session):
    x = shared(session, reals(1, 50))
    y = F.leaky_relu(x, 0)
    assert "positive" in y.secret.memo
    y.sub_(1)
    assert not y.secret.memo
    expected = (F.relu(reals(1, 50)) - 1 > 0).double()
    assert torch.equal(opened(session, (y > 0).float()), expected)
    x.neg_()
    assert torch.equal(opened(session, F.relu(x)), F.relu(-reals(1, 50)))


def test_a_relu_after_a_changed_relu_has_its_own_gradient():
    def f(x):
        y = F.relu(x) - 1
        return F.relu(y)

    check("clear", f, reals(1, 50), grads=[0])
    check("clear", lambda x: F.relu(F.relu(x)), reals(2, 50), grads=[0])


def test_public_values_in_secret_tensors_are_computed_by_pytorch(session):
    x = shared(session, reals(1, 3))
    for made, expected in (
        (torch.sigmoid(torch.zeros_like(x)), torch.full((3,), 0.5)),
        (torch.ones_like(x).cumsum(0).relu() / 2, torch.tensor([0.5, 1.0, 1.5])),
        (torch.full_like(x, 2.0).sin(), torch.full((3,), 2.0, dtype=torch.float64).sin()),
        (x.new_zeros(2, 2) + 1, torch.ones(2, 2)),
        (torch.empty_like(x), torch.zeros(3)),
    ):
        assert isinstance(made, SecretTensor)
        assert torch.allclose(opened(session, made), expected.double(), rtol=1e-6)
        assert not session.openings  # nothing secret was opened
    y = torch.zeros_like(x)
    y += x
    assert torch.equal(opened(session, y), reals(1, 3))
    assert [o.shape for o in session.openings] == [(3,)]


def test_random_numbers_are_not_drawn_by_each_party_alone(session):
    x = shared(session, reals(1, 3))
    for draw in (torch.rand_like, torch.randn_like, lambda x: torch.zeros_like(x).uniform_()):
        with pytest.raises(NotOffered):
            draw(x)


def test_types_are_those_of_pytorch(session):
    x, n = shared(session, reals(1, 3).float()), shared(session, torch.arange(3))
    assert x.dtype == torch.float32 and n.dtype == torch.int64
    assert x.double().dtype == torch.float64 and x.double().float().dtype == torch.float32
    assert (x > 0).dtype == torch.bool and (x > 0).long().dtype == torch.int64
    assert n.float().dtype == torch.float32 and n.bool().dtype == torch.bool
    assert (n / 2).dtype == torch.float32 and (x * n).dtype == torch.float32
    assert x.argmax().dtype == torch.int64 and x.sign().dtype == torch.float32
    assert torch.zeros_like(n).dtype == torch.int64 and n.new_zeros(2).dtype == torch.int64
    assert shared(session, reals(1, 3)).dtype == torch.float64


def test_no_grad_and_detach_end_a_history(session):
    x = shared(session, reals(1, 3), grad=True)
    with torch.no_grad():
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad and not (x * 2).detach().requires_grad
    y = (x * x).detach() * x
    y.sum().backward()
    assert torch.all((opened(session, x.grad) - reals(1, 3) ** 2).abs() <= ULP)


def test_modules_switch_between_training_and_evaluation(session):
    model = session.secure(nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5)))
    x = shared(session, reals(1, 8, 3).float())
    model.train()(x)
    moved = opened(session, model[0].running_mean)
    model.eval()
    one, other = opened(session, model(x)), opened(session, model(x))
    assert torch.equal(one, other)  # nothing is dropped
    assert torch.equal(opened(session, model[0].running_mean), moved)
    assert not torch.equal(opened(session, model.train()(x)), one)


# Misuse: one line each, which says what to do.


@pytest.mark.parametrize(
    "use",
    [
        lambda x: bool(x.sum() > 0),
        lambda x: 1 if x[0] > 0 else 0,
        lambda x: [0 for _ in iter(lambda: bool(x[0] < 0), False)],
        lambda x: x[0].item(),
        lambda x: float(x[0]),
        lambda x: int(x[0]),
        lambda x: x.numpy(),
        lambda x: np.asarray(x),
        lambda x: x.tolist(),
        lambda x: f"{x[0]:.3f}",
        lambda x: torch.equal(x, x),
        lambda x: x.nonzero(),
        lambda x: x.masked_select(x > 0),
        lambda x: pickle.dumps(x),
    ],
)
def test_a_use_that_would_reveal_is_refused_and_points_to_open(session, use):
    x = shared(session, reals(1, 3))
    with pytest.raises(UsageError, match=r"open|checkpoint") as caught:
        use(x)
    assert "\n" not in str(caught.value)
    assert not session.openings


def test_saving_is_refused_and_leaves_no_share_behind(session, tmp_path):
    x = shared(session, torch.full((3,), 1234.5))
    model = session.secure(nn.Linear(2, 2))
    for thing in (x, model.state_dict(), {"x": x}):
        with pytest.raises(UsageError, match="checkpoint"):
            torch.save(thing, tmp_path / "saved")


def test_a_secret_cannot_be_written_into_a_public_tensor(session):
    x, public = shared(session, reals(1, 3).float()), torch.zeros(3)
    for write in (
        lambda: public.add_(x),
        lambda: public.copy_(x),
        lambda: public.__setitem__(0, x[0]),
    ):
        with pytest.raises(NotOffered, match="make the target secret first"):
            write()
    assert not public.any()


def test_an_operator_without_an_implementation_is_named(session):
    x = shared(session, reals(1, 3, 3))
    for use, name in (
        (torch.linalg.inv, "linalg_inv_ex"),
        (torch.sin, "aten::sin"),
        (torch.fft.fft, "_fft_"),
    ):
        with pytest.raises(NotOffered, match=name) as caught:
            use(x)
        assert "adding-an-operator" in str(caught.value) and "\n" not in str(caught.value)


def test_no_value_is_shown(session):
    x = shared(session, torch.full((2,), 1234.5))
    model = session.secure(nn.Linear(2, 1))
    for shown in (
        repr(x),
        str(x),
        f"{x}",
        repr(x > 0),
        repr(model),
        repr(list(model.parameters())),
    ):
        assert "1234" not in shown and "tensor(" not in shown.lower().replace("secrettensor(", "")
    assert "(2,)" in repr(x) and "clear" in repr(x)


def test_an_operator_is_implemented_once():
    with pytest.raises(ValueError, match="twice"):
        implements("relu")(lambda x: x)


def test_a_tensor_with_a_history_is_not_copied(session):
    import copy

    x = shared(session, reals(1, 3), grad=True)
    with pytest.raises(UsageError, match="detach"):
        copy.deepcopy(x * 2)
    twin = copy.deepcopy(x)
    assert twin.requires_grad and twin is not x
    assert torch.equal(opened(session, twin), reals(1, 3))


def test_errors_under_rep3_are_the_same_at_every_party():
    def program(session):
        x = shared(session, reals(1, 3))
        for use in (lambda: bool(x[0] > 0), lambda: x.sin(), lambda: x.__setitem__(0, 1.0)):
            with pytest.raises(UsageError):
                use()
        return opened(session, x * 2)  # and the session goes on

    assert torch.equal(at_parties("rep3", program), reals(1, 3) * 2)


def test_second_derivatives_come_out_as_pytorch_derives_them():
    def f(x):
        (slope,) = torch.autograd.grad((x * x * x).sum(), x, create_graph=True)
        return slope

    found = secretly("clear", f, reals(1, 4, limit=2))
    assert torch.all((found.value - 3 * reals(1, 4, limit=2) ** 2).abs() <= 12 * ULP)
