"""What a case promises of itself: its size by name, and how many products it takes."""

import pytest
import torch
from torch import nn

from benchmarks.cases import CASES, sized
from protocols.radiology.models import radcnn, resnet18, resnet18_body

NETWORKS = {
    "cnn": (radcnn(), (1, 28, 28)),
    "resnet": (resnet18_body(2, 3), (3, 64, 64)),
    "resnet18": (resnet18(10, 3), (3, 32, 32)),
    "resnet18small": (resnet18(10, 3, small=True), (3, 32, 32)),
}


def counted(model: nn.Module, size: tuple[int, ...]) -> int:
    """Multiply-accumulates of one image: each weight once for every place of its output."""
    found = []

    def count(layer, _, out):
        found.append(layer.weight.numel() * out[0, 0].numel())

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.no_grad():
        model.eval()(torch.zeros(1, *size))
    return sum(found)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_products_of_a_network_are_those_of_its_layers(name):
    assert CASES[name].products == counted(*NETWORKS[name])


@pytest.mark.parametrize(("name", "read"), [("cnn", ("cnn", 0)), ("relu@1000", ("relu", 1000))])
def test_a_batch_may_stand_behind_the_name_of_a_case(name, read):
    assert sized(name) == read
