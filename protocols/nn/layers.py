"""Telling the meter which layer is at work, so that a report can say what each costs."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mpc.meter import Meter


def watch(model: nn.Module, meter: Meter) -> None:
    """Set the meter's place to a layer's name and kind while the layer computes.

    Forward, a hook does it; backward, the layer's last node in the graph, until the layer's first
    gradient is there.
    """
    for name, module in model.named_modules():
        if next(module.children(), None) is None:
            _watch_layer(module, f"{name} {type(module).__name__}".strip(), meter)


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
