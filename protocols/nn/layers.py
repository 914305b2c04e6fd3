"""What is said as layers compute: which is at work, for the meter, and that weights are steady."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mpc.meter import Meter
from protocols.secret import SecretArray


def watch(model: nn.Module, meter: Meter) -> None:
    """Set the meter's place to a layer's name and kind while the layer computes.

    Forward, a hook does it; backward, the layer's last node in the graph, until the layer's first
    gradient is there. And where no gradient is wanted, say of weights that they are steady.
    """
    for name, module in model.named_modules():
        if module._parameters:
            module.register_forward_pre_hook(_say_steady)
        if next(module.children(), None) is None:
            _watch_layer(module, f"{name} {type(module).__name__}".strip(), meter)


def _say_steady(module: nn.Module, _inputs: Any) -> None:
    """Let what products make of a layer's weights be kept, while the model infers.

    It would be as right in training, where an optimizer puts new arrays in the place of the old
    ones. But there weights meet one batch, and once more on the way back, where they are read in
    another order: what was kept, as much as they are themselves, would serve nothing. What was
    said while the model was evaluated holds, until the optimizer replaces the weights.
    """
    if torch.is_grad_enabled():
        return
    for weights in module.parameters(recurse=False):
        value = getattr(weights, "secret", None)
        if type(value) is SecretArray:  # not one that waits, which would be computed here
            value.steady()


def _watch_layer(module: nn.Module, label: str, meter: Meter) -> None:
    outer: list[str] = []

    def before(*_: Any) -> None:
        outer.append(meter.place)
        meter.place = f"{meter.place}/{label}" if meter.place else label

    def after(_module: nn.Module, _inputs: Any, out: Any) -> None:
        meter.place = outer.pop()
        node = getattr(out, "grad_fn", None)
        if node is not None:
            node.register_prehook(lambda _grads: set_place(label))

    def set_place(place: str) -> None:
        meter.place = place

    def accumulated(_parameter: torch.Tensor) -> None:
        set_place("")

    module.register_forward_pre_hook(before)
    module.register_forward_hook(after)
    for parameter in module.parameters(recurse=False):
        if parameter.requires_grad:
            hook = parameter.register_post_accumulate_grad_hook
            hook(accumulated)  # type: ignore[no-untyped-call]  # PyTorch's has no types
