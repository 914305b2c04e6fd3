"""Classifying a site's studies so that only the site learns the result."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import nn

from protocols.nn import Session
from protocols.nn.tensor import SecretTensor


def classify(
    session: Session, model: nn.Module, images: SecretTensor, *, owner: int, batch: int = 32
) -> np.ndarray | None:
    """Class probabilities of an owner's studies, opened to the owner alone.

    Args:
        session: computes.
        model: secret weights, in evaluation mode when this returns.
        images: the owner's studies, [n, c, *s], secret.
        owner: the rank that may know.
        batch: studies at a time.

    Returns:
        float64 [n, classes] at the owner, rows that sum to 1 up to rounding; None elsewhere.
    """
    model.eval()
    with torch.no_grad():
        batches = [images[at : at + batch] for at in range(0, len(images), batch)]
        whole = torch.cat(session.each(lambda x: torch.softmax(model(x), 1), batches, len))
    reason = "class probabilities, to the owner of the studies"
    opened = session.open(cast(SecretTensor, whole), reason=reason, to=owner)
    if opened is None:
        return None
    chances = np.clip(opened.numpy().astype(np.float64), 0, None)
    total: np.ndarray = chances.sum(1, keepdims=True)
    return np.asarray(chances / np.where(total > 0, total, 1))
