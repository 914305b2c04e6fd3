"""python -m benchmarks.accuracy FILE.npz: the same training in the clear and on shares.

Same initial weights, order and batches; what differs is fixed point, its rounding, and the
approximations. The file has MedMNIST's format. Starts its own ranks.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn

from mpc.errors import UsageError
from mpc.launch import mpirun, run_under_mpi, under_mpirun
from mpc.party import Party
from protocols.nn import Session
from protocols.radiology.metrics import accuracy, auc
from protocols.radiology.models import build
from protocols.radiology.npz import Splits, load_npz
from protocols.radiology.site import Site
from protocols.training.evaluate import evaluate
from protocols.training.loop import Training, fit, logits_of

PARTIES = 3


def main(arguments: list[str] | None = None) -> int:
    """Parse, start ranks if this is not one, train twice, print both."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("file", type=Path, help="MedMNIST-style .npz")
    parser.add_argument("--model", default="radcnn")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--momentum", type=float, default=0.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--clear-only", action="store_true", help="only the training in the clear")
    options = parser.parse_args(arguments)
    if not options.clear_only and not under_mpirun():
        passed = sys.argv[1:] if arguments is None else arguments
        line, environment = mpirun(PARTIES, ["-m", "benchmarks.accuracy", *passed])
        return subprocess.run(line, env=environment, check=False).returncode
    try:
        data = load_npz(options.file)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    rows: list[dict[str, object]] = []
    for seed in options.seeds:
        training = Training(
            epochs=options.epochs,
            batch=options.batch,
            rate=options.rate,
            momentum=options.momentum,
            seed=seed,
        )
        if options.clear_only:
            rows.append({"seed": seed} | in_the_clear(options.model, data, training))
            print(rows[-1], flush=True)
            continue

        def program(party: Party, training: Training = training) -> tuple[int, dict[str, object]]:
            return party.rank, on_shares(party, options.model, data, training)

        rank, secure = run_under_mpi(program, parties=PARTIES)
        if rank == 0:
            clear = in_the_clear(options.model, data, training)
            rows.append({"seed": seed, "clear": clear, "shares": secure})
            print_row(seed, clear, secure)
    if options.json and rows:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


def make(name: str, data: Splits, seed: int) -> nn.Module:
    """The model with its initial weights."""
    torch.manual_seed(seed)
    _, channels, *size = data.train.images.shape
    shape = {"size": tuple(size), "dims": len(size)} if name == "radcnn" else {}
    return build(name, classes=classes_of(data), channels=channels, **shape)


def classes_of(data: Splits) -> int:
    """How many classes the training labels name."""
    return int(data.train.labels.max()) + 1


def tensors(site: Site, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and one-hot labels."""
    return torch.from_numpy(site.images), torch.from_numpy(site.one_hot(classes))


def in_the_clear(name: str, data: Splits, training: Training) -> dict[str, object]:
    """Plain PyTorch, float32."""
    model, classes = make(name, data, training.seed), classes_of(data)
    start = time.perf_counter()
    fit(model, *tensors(data.train, classes), training)
    seconds = time.perf_counter() - start
    logits = logits_of(model, torch.from_numpy(data.test.images), 256).numpy()
    found: dict[str, object] = {"accuracy": accuracy(data.test.labels, logits.argmax(1))}
    if classes == 2:
        found["auc"] = auc(data.test.labels, logits[:, 1] - logits[:, 0]).value
    return found | {"seconds": seconds}


def on_shares(party: Party, name: str, data: Splits, training: Training) -> dict[str, object]:
    """The same loop on secret tensors; only test counts are opened."""
    session = Session(party)
    model, classes = make(name, data, training.seed), classes_of(data)
    mine = party.rank == 0
    train = [session.share(t if mine else None, owner=0) for t in tensors(data.train, classes)]
    test = [session.share(t if mine else None, owner=0) for t in tensors(data.test, classes)]
    session.secure(model, owner=0)
    start = time.perf_counter()

    def on_epoch(epoch: int, loss: torch.Tensor, seconds: float) -> None:
        if mine:
            print(f"  epoch {epoch + 1}: {seconds:.1f} s", flush=True)

    fit(model, train[0], train[1], training, on_epoch=on_epoch)
    seconds = time.perf_counter() - start
    logits = logits_of(model, test[0], 64)
    result = evaluate(session, logits, test[1])  # type: ignore[arg-type]  # secret in, secret out
    found: dict[str, object] = {"accuracy": result.accuracy, "seconds": seconds}
    return found | ({"auc": result.auc} if result.auc is not None else {})


def print_row(seed: int, clear: dict[str, object], secure: dict[str, object]) -> None:
    """Both results under each other."""
    for title, row in (("clear", clear), ("shares", secure)):
        shown = "  ".join(f"{k} {v:.4f}" for k, v in row.items() if isinstance(v, float))
        print(f"seed {seed} {title:7} {shown}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
