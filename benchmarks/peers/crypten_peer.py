"""CrypTen on one shared workload: python crypten_peer.py PARTIES CASE BATCH [REPEATS].

Prints the seconds of each repeat, after a warm-up, and the bytes that a party sends in one, as one
JSON line. Runs in .peers/crypten, not in
radmpc's environment. Triples come from CrypTen's default provider, its first party, at no cost to
it: what it prints is a lower bound of an honest two-party time.
"""

import importlib
import json
import sys
import time

# CrypTen 0.4.1 asks for this module under the name it had before it moved in torch 2.9.
sys.modules.setdefault(
    "torch.onnx._internal.registration",
    importlib.import_module("torch.onnx._internal.torchscript_exporter.registration"),
)

import crypten  # noqa: E402  after the module is where CrypTen looks for it
import crypten.communicator as communicator  # noqa: E402  as above
import crypten.mpc as mpc  # noqa: E402  as above
import crypten.nn as nn  # noqa: E402  as above
import torch  # noqa: E402  as above

PARTIES, CASE, BATCH = int(sys.argv[1]), sys.argv[2], int(sys.argv[3] or 0)
OWN_REPEATS = {"cnn": 1, "cnntrain": 1, "resnet": 2}.get(CASE, 3)
REPEATS = int(sys.argv[4]) if len(sys.argv) > 4 else OWN_REPEATS


def radcnn():
    """The CNN of the shared workloads."""
    layers = (
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2, stride=2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2, stride=2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 128),
        nn.ReLU(),
        nn.Linear(128, 2),
    )
    return nn.Sequential(*layers)


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, inputs, outputs, stride):
        """The shortcut is a 1x1 convolution where the shape changes."""
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, stride=1, padding=1, bias=False)
        self.relu = nn.ReLU()
        self.wider = stride != 1 or inputs != outputs
        if self.wider:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x):
        """relu(second(relu(first(x))) + shortcut(x))."""
        y = self.second(self.relu(self.first(x)))
        return self.relu(y + (self.shortcut(x) if self.wider else x))


class Body(nn.Module):
    """ResNet-18 without batch norm, with a 2x2 max-pool."""

    def __init__(self):
        """Eight blocks between a stem and a head."""
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.relu, self.pool = nn.ReLU(), nn.MaxPool2d(2, stride=2)
        widths = (64, 64, 64, 128, 128, 256, 256, 512, 512)
        for i in range(8):
            stride = 2 if i in (2, 4, 6) else 1
            setattr(self, f"block{i}", Residual(widths[i], widths[i + 1], stride))
        self.head = nn.Linear(512, 2)

    def forward(self, x):
        """Images to logits."""
        x = self.pool(self.relu(self.stem(x)))
        for i in range(8):
            x = getattr(self, f"block{i}")(x)
        return self.head(x.mean((2, 3)))


def make_step():
    """The function that is timed."""
    if CASE in ("matmul1024", "relu1M", "mul1M"):
        a, b = (crypten.cryptensor(torch.randn(1024, 1024)) for _ in range(2))
        return {"matmul1024": lambda: a @ b, "relu1M": a.relu, "mul1M": lambda: a * b}[CASE]
    model = (Body() if CASE == "resnet" else radcnn()).encrypt()
    size = (3, 64, 64) if CASE == "resnet" else (1, 28, 28)
    x = crypten.cryptensor(torch.randn(BATCH, *size))
    if CASE != "cnntrain":
        model.eval()
        return lambda: model(x)
    model.train()
    loss = nn.CrossEntropyLoss()
    y = crypten.cryptensor(torch.eye(2)[torch.randint(0, 2, (BATCH,))])

    def step():
        value = loss(model(x), y)
        model.zero_grad()
        value.backward()
        model.update_parameters(0.05)

    return step


@mpc.run_multiprocess(world_size=PARTIES)
def main():
    """Warm up, time, print at the first party."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    step, times = make_step(), []
    step()
    for _ in range(REPEATS):
        communicator.get().barrier()
        start = time.perf_counter()
        step()
        communicator.get().barrier()
        times.append(time.perf_counter() - start)
    crypten.cfg.communicator.verbose = True  # counts bytes, which takes time: after the clock
    crypten.reset_communication_stats()
    step()
    sent = communicator.get().get_communication_stats()["bytes"]
    if communicator.get().get_rank() == 0:
        print(json.dumps({"seconds": times, "bytes": sent}), flush=True)


main()
