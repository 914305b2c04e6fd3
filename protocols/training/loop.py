"""An ordinary PyTorch loop. It runs on secret and on plain tensors alike, so the two compare."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mpc.errors import UsageError
from protocols.nn.repeats import Each, every


@dataclass(frozen=True)
class Training:
    """How to train.

    Args:
        epochs: passes over the data.
        batch: studies a step.
        rate: learning rate.
        momentum: of SGD.
        weight_decay: L2 penalty.
        optimizer: "sgd" or "adam".
        seed: of the order of the batches, which is public.
    """

    epochs: int = 5
    batch: int = 32
    rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 0.0
    optimizer: str = "sgd"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        if self.epochs < 1 or self.batch < 1:
            raise UsageError(f"epochs {self.epochs}, batch {self.batch}: both must be at least 1")
        if self.optimizer not in ("sgd", "adam"):
            raise UsageError(f"optimizer {self.optimizer!r}: choose sgd or adam")
        if not 0 < self.rate < 2**15:
            raise UsageError(f"learning rate {self.rate}: must be above 0")
        if not 0 <= self.momentum < 1:
            raise UsageError(f"momentum {self.momentum}: must be from 0 up, and less than 1")
        if not 0 <= self.weight_decay < 1:
            raise UsageError(f"weight_decay {self.weight_decay}: must be from 0 up, less than 1")

    def make_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """PyTorch's own optimizer over the model's parameters."""
        if self.optimizer == "adam":
            return torch.optim.Adam(
                model.parameters(), lr=self.rate, weight_decay=self.weight_decay
            )
        return torch.optim.SGD(
            model.parameters(),
            lr=self.rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )

    def batches(self, studies: int, epoch: int) -> Iterator[torch.Tensor]:
        """Public places of the studies of each step, shuffled anew each epoch.

        A last odd study joins the step before: a batch of one would have no variance, which batch
        norm divides by.
        """
        order = np.random.default_rng([self.seed, epoch]).permutation(studies).astype(np.int64)
        ends = list(range(self.batch, studies, self.batch))
        if self.batch > 1 and ends and studies - ends[-1] == 1:
            ends.pop()
        yield from map(torch.from_numpy, np.split(order, ends))

    def steps(self, studies: int) -> int:
        """Steps in an epoch."""
        return sum(1 for _ in self.batches(studies, 0))


def fit(
    model: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor,
    training: Training,
    *,
    on_step: Callable[[int, int], None] | None = None,
    on_epoch: Callable[[int, torch.Tensor, float], None] | None = None,
    each: Each = every,
) -> None:
    """Train a model in place by cross-entropy.

    Args:
        model: any module; its parameters may be secret.
        images: all studies, [n, c, *s].
        targets: one-hot or soft labels, [n, classes].
        training: how.
        on_step: told epoch and step after each step.
        on_epoch: told epoch, mean loss over the studies (secret if the data is) and seconds after
            each epoch; the model has to be in training mode again when it returns.
        each: how epochs, and the steps of one, are gone through: `Session.each` on secrets.
    """
    optimizer = training.make_optimizer(model)

    def pass_over(epoch: int) -> None:
        def step(numbered: tuple[int, torch.Tensor]) -> torch.Tensor:
            number, places = numbered
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images[places]), targets[places])
            loss.backward()  # type: ignore[no-untyped-call]  # PyTorch's has no types
            optimizer.step()
            if on_step is not None:
                on_step(epoch, number)
            return loss.detach()

        model.train()
        start, batches = time.perf_counter(), list(training.batches(len(images), epoch))
        losses = each(step, enumerate(batches), lambda numbered: len(numbered[1]))
        if on_epoch is not None:
            sizes = [len(places) for places in batches]
            mean = (torch.stack(losses) * (torch.tensor(sizes) / sum(sizes))).sum()
            on_epoch(epoch, mean, time.perf_counter() - start)

    each(pass_over, range(training.epochs), lambda epoch: "epoch")


def logits_of(
    model: nn.Module, images: torch.Tensor, batch: int, *, each: Each = every
) -> torch.Tensor:
    """What the model says of all images, [n, classes], batch by batch, in evaluation mode."""
    model.eval()
    with torch.no_grad():
        batches = [images[at : at + batch] for at in range(0, len(images), batch)]
        return torch.cat(each(model, batches, len))
