"""An epoch of RadCNN, ours and CrypTen's: `python -m benchmarks --epoch --data FILE.npz`.

Ours is a whole epoch on the training images of the file, from the first step on. CrypTen's is made
up from a few steps after a warm-up, on random images of the same size: what it computes does not
depend on them. It runs between two parties, whose triples cost it nothing.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.accuracy import classes_of, make, tensors
from benchmarks.peers.beside import CRYPTEN, Peer
from benchmarks.ranks import measured, say
from mpc.party import Party
from protocols.nn import Session
from protocols.radiology.npz import Splits, load_npz
from protocols.training.loop import Training, fit

STEPS = 5  # that CrypTen is timed for
PEER_IMAGES, PEER_CLASSES = (1, 28, 28), 2  # what its program is written for


@dataclass(frozen=True)
class Epoch:
    """One pass over `studies`; `measured_steps` is fewer than `steps` where the rest is made up."""

    name: str
    seconds: float
    steps: int
    measured_steps: int
    studies: int
    batch: int


def report(file: Path, *, batch: int, width: int) -> dict[str, object]:
    """Run ours on ranks of its own, then the peer, and compare.

    Raises:
        UsageError: the file cannot be taken.
    """
    data = load_npz(file)
    asked = ("--data", str(file.resolve()), "--batch", str(batch), "--width", str(width))
    ours = Epoch(**measured("--epoch", *asked))
    print(format_row(ours), flush=True)
    return compare(ours, extrapolate(data, batch=batch))


def train(party: Party, data: Splits, *, batch: int, width: int) -> dict[str, object]:
    """An epoch on shares, SGD with cross-entropy; every rank calls it. Sharing is not timed."""
    training = Training(epochs=1, batch=batch, rate=0.05, momentum=0.0)
    session = Session(party, width=width)
    model, classes = make("radcnn", data, training.seed), classes_of(data)
    images, labels = (
        session.share(t if party.rank == 0 else None, owner=0) for t in tensors(data.train, classes)
    )
    session.secure(model, owner=0)
    times: list[float] = []

    def on_epoch(epoch: int, loss: torch.Tensor, seconds: float) -> None:
        times.append(seconds)

    fit(model, images, labels, training, on_epoch=on_epoch)
    steps = training.steps(len(images))
    row = Epoch("radmpc 3PC", times[0], steps, steps, len(images), batch)
    say(party, format_row(row))
    return asdict(row)


def extrapolate(data: Splits, *, batch: int, peer: Peer = CRYPTEN) -> Epoch | None:
    """The same epoch at a peer, from the mean of `STEPS` steps; None if it could not be run.

    The last step counts by its studies, as if fewer of them took less time in proportion.
    """
    images = data.train.images
    if images.shape[1:] != PEER_IMAGES or classes_of(data) != PEER_CLASSES:
        print(f"{peer.name} takes images of {PEER_IMAGES} in 2 classes only", file=sys.stderr)
        return None
    if not peer.python.exists():
        print(f"not set up: {peer.environment}; run ./scripts/peers", file=sys.stderr)
        return None
    times = peer.times("cnntrain", batch, repeats=STEPS)
    if not times:
        print(f"{peer.name} did not run", file=sys.stderr)
        return None
    seconds = sum(times) / len(times) * len(images) / batch
    steps = Training(batch=batch).steps(len(images))
    return Epoch(peer.name, seconds, steps, len(times), len(images), batch)


def compare(ours: Epoch, theirs: Epoch | None) -> dict[str, object]:
    """Print the peer's line and the ratio, and return all of it as plain values."""
    made: dict[str, object] = {"ours": asdict(ours)}
    if theirs is None:
        return made
    ratio = theirs.seconds / ours.seconds
    print(format_row(theirs), f"{ratio:.1f} times as long as {ours.name}", sep="\n", flush=True)
    return made | {"peer": asdict(theirs), "ratio_to_ours": ratio}


def format_row(row: Epoch) -> str:
    """One line: who, how long, and what was measured of it."""
    made = (
        f"{row.steps} steps"
        if row.measured_steps == row.steps
        else f"from {row.measured_steps} of {row.steps} steps"
    )
    return (
        f"{row.name:12} {row.seconds:9.2f} s an epoch "
        f"({row.studies} studies, batch {row.batch}, {made})"
    )
