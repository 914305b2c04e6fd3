"""Where a plain tensor has an answer and a careless secret one would have a wrong one."""

import pytest
import torch
from torch.nn import functional as F

from mpc.errors import NotOffered, RangeError, UsageError
from tests.nn.both import PROTOCOLS, ULP, at_parties, opened, shared

WIDE = torch.tensor([1000.0, 0.001, -0.37, 2.0**-20], dtype=torch.float64)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_small_factors_beside_large_ones_keep_their_bits(protocol):
    x = torch.tensor([1.0, 2.0**20, 300.0, 2.0**28], dtype=torch.float64)

    def program(session):
        return [opened(session, shared(session, x) * WIDE)]

    (found,) = at_parties(protocol, program)
    exact = x * WIDE
    # Nine bits of every factor, and an ulp for each of at most four truncated parts.
    assert torch.all((found - exact).abs() <= exact.abs() * 2.0**-9 + 4 * ULP)


def test_small_entries_of_a_public_matrix_count_beside_large_ones():
    public, x = torch.tensor([[4096.0, 0.01]]), torch.tensor([[0.0], [100.0]])
    (found,) = at_parties("clear", lambda s: [opened(s, public @ shared(s, x))])
    assert abs(float(found) - 1.0) <= 2.0**-9 + 2 * ULP


@pytest.mark.parametrize("factor", [1e20, -(2.0**30), float("inf"), float("nan")])
def test_a_public_factor_out_of_range_is_refused(factor):
    def program(session):
        with pytest.raises(RangeError, match="do not fit"):
            shared(session, torch.ones(2)) * factor
        return []

    at_parties("clear", program)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_mean_over_very_many_large_numbers_does_not_wrap(protocol):
    x = torch.full((300_001,), 30_000.0, dtype=torch.float64)
    (found,) = at_parties(protocol, lambda s: [opened(s, shared(s, x).mean())])
    assert abs(float(found) - 30_000.0) <= 30_000.0 * 2.0**-16 + 2 * ULP


def test_ignored_classes_are_refused_for_secret_labels():
    def program(session):
        x, labels = shared(session, torch.randn(3, 2)), shared(session, torch.tensor([0, 1, 1]))
        with pytest.raises(NotOffered, match="ignore_index"):
            F.cross_entropy(x, labels, ignore_index=0)
        return []

    at_parties("clear", program)


def test_data_can_be_replaced_by_a_secret_of_the_same_shape():
    def program(session):
        p = torch.nn.Parameter(shared(session, torch.ones(2)))
        seen = p.detach()
        p.data = shared(session, torch.tensor([3.0, 4.0]))
        with pytest.raises(UsageError, match="same shape"):
            p.data = torch.zeros(2)
        return [opened(session, p), opened(session, seen)]

    for found in at_parties("clear", program):
        assert found.tolist() == [3.0, 4.0]


def test_averaging_code_that_writes_data_reaches_the_weights():
    def program(session):
        net = session.secure(torch.nn.Linear(2, 1))
        flat = torch.nn.utils.parameters_to_vector(net.parameters())
        torch.nn.utils.vector_to_parameters(flat * 0, net.parameters())
        return [opened(session, p) for p in net.parameters()]

    for found in at_parties("clear", program):
        assert not found.any()


def test_bounds_that_cross_clamp_to_the_high_one():
    x = torch.tensor([0.0, 2.0, 5.0])
    (found,) = at_parties("rep3", lambda s: [opened(s, shared(s, x).clamp(3, 1))])
    assert found.tolist() == x.clamp(3, 1).tolist()


def test_a_view_follows_its_base_in_inference_mode():
    def program(session):
        with torch.inference_mode():
            x = shared(session, torch.arange(4.0))
            view = x[1:3]
            x.add_(10)
            del x
            return [opened(session, view)]

    (found,) = at_parties("clear", program)
    assert found.tolist() == [11.0, 12.0]


@pytest.mark.parametrize("hand_over", [lambda x: x.share_memory_(), lambda x: x.__dlpack__()])
def test_memory_that_is_not_there_cannot_be_handed_over(hand_over):
    def program(session):
        with pytest.raises(UsageError, match="secret tensor"):
            hand_over(shared(session, torch.ones(2)))
        return []

    at_parties("clear", program)
