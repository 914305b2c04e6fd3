"""Models by name: the shapes that were asked for, and one line for what cannot be built."""

import sys
import types

import pytest
import torch
from torch import nn

from mpc.errors import UsageError
from protocols.radiology import build, radcnn, resnet18, resnet18_body


def test_radcnn_is_the_network_of_the_benchmarks():
    layers = [type(layer).__name__ for layer in radcnn()]
    assert (
        layers
        == (
            "Conv2d ReLU Conv2d ReLU MaxPool2d Conv2d ReLU MaxPool2d Flatten Linear ReLU Linear"
        ).split()
    )
    assert radcnn()[9].in_features == 3136
    assert sum(p.numel() for p in radcnn().parameters()) == 160 + 4640 + 18496 + 401536 + 258


@pytest.mark.parametrize(
    ("name", "settings", "shape"),
    [
        ("radcnn", {}, (1, 28, 28)),
        ("radcnn", {"classes": 5, "channels": 3, "size": 33}, (3, 33, 33)),
        ("radcnn", {"size": (20, 34)}, (1, 20, 34)),
        ("radcnn", {"size": 12, "dims": 3}, (1, 12, 12, 12)),
        ("resnet18", {"channels": 1, "small": True}, (1, 28, 28)),
        ("resnet18", {"classes": 3}, (3, 64, 64)),
        ("resnet18_body", {"channels": 1}, (1, 64, 64)),
    ],
)
def test_a_model_gives_a_logit_for_each_class(name, settings, shape):
    model = build(name, **settings)
    assert model(torch.zeros(2, *shape)).shape == (2, settings.get("classes", 2))


def test_resnet18_has_the_parameters_of_torchvision_and_its_body_no_batch_norm():
    names = set(resnet18(1000).state_dict())
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "fc.bias"} <= names
    assert {"layer2.0.downsample.0.weight", "layer4.1.bn2.bias"} <= names
    assert sum(p.numel() for p in resnet18(1000).parameters()) == 11689512  # He et al.: 11.7 M
    assert not [m for m in resnet18_body().modules() if isinstance(m, nn.BatchNorm2d)]


@pytest.fixture
def own_models():
    module = types.ModuleType("models_of_a_user")
    module.linear = lambda classes: nn.Linear(4, classes)
    module.number = lambda: 7
    module.constant = 7

    def broken():
        raise ValueError("first line\nsecond line")

    module.broken = broken
    sys.modules[module.__name__] = module
    yield module.__name__
    del sys.modules[module.__name__]


def test_a_users_own_model_is_built_by_module_and_callable(own_models):
    assert build(f"{own_models}:linear", classes=3).out_features == 3
    assert isinstance(build("torch.nn:Sequential"), nn.Sequential)


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("vgg", {}, "there is no model 'vgg'; take radcnn, resnet18, resnet18_body or module"),
        ("radcnn", {"clases": 2}, "model radcnn: got an unexpected keyword argument 'clases'"),
        ("radcnn", {"size": 3}, "at least 4 pixels"),
        ("radcnn", {"dims": 1}, "dims 2 or 3"),
        ("radcnn", {"classes": -1}, "model radcnn was not built"),
        ("no_such_module:x", {}, "cannot be imported: ModuleNotFoundError"),
        ("models_of_a_user:absent", {}, "cannot be imported: AttributeError"),
        ("models_of_a_user:linear", {}, "missing a required argument: 'classes'"),
        ("models_of_a_user:number", {}, "is a int, not a torch.nn.Module"),
        ("models_of_a_user:constant", {}, "is not callable"),
        ("models_of_a_user:broken", {}, "was not built: ValueError: first line$"),
        (":x", {}, "there is no model ':x'"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(own_models, name, settings, reason):
    with pytest.raises(UsageError, match=reason) as caught:
        build(name, **settings)
    assert "\n" not in str(caught.value)
