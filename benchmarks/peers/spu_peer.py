"""SPU on one shared workload: python spu_peer.py {aby3,semi2k} CASE BATCH.

Prints the seconds of each repeat as one JSON line, after a warm-up. Runs in .peers/spu, not in
radmpc's environment. Parties are threads of one process with links in memory.
"""

import json
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import spu.libspu as libspu
import spu.utils.simulation as simulation

PROTOCOL, CASE, BATCH = sys.argv[1], sys.argv[2], int(sys.argv[3] or 0)
PARTIES = {"aby3": 3, "semi2k": 2}[PROTOCOL]
REPEATS = {"cnn": 1, "cnntrain": 1, "resnet": 1}.get(CASE, 3)
WIDTHS = (64, 64, 64, 128, 128, 256, 256, 512, 512)
random = np.random.default_rng(0)


def weight(*shape):
    """He initialisation."""
    fan_in = int(np.prod(shape[:-1]))
    return (random.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)


def image(*shape):
    """Standard normal values."""
    return random.standard_normal(shape).astype(np.float32)


def conv(x, w, stride=1, pad=1):
    """Convolution, channels last."""
    return jax.lax.conv_general_dilated(
        x, w, (stride, stride), [(pad, pad)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def relu(x):
    """max(x, 0)."""
    return jnp.maximum(x, 0)


def pool(x):
    """2x2 max-pool; as a reduction over an axis in training, whose gradient SPU offers."""
    if CASE == "cnntrain":
        n, h, w, c = x.shape
        return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))
    return jax.lax.reduce_window(x, -1e4, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def radcnn(p, x):
    """Images to logits."""
    x = relu(conv(x, p["c1"]))
    x = pool(relu(conv(x, p["c2"])))
    x = pool(relu(conv(x, p["c3"])))
    return relu(x.reshape(x.shape[0], -1) @ p["f1"]) @ p["f2"]


def radcnn_weights():
    """Weights of the CNN of the shared workloads."""
    return {
        "c1": weight(3, 3, 1, 16),
        "c2": weight(3, 3, 16, 32),
        "c3": weight(3, 3, 32, 64),
        "f1": weight(64 * 7 * 7, 128),
        "f2": weight(128, 2),
    }


def train_step(p, x, y):
    """One step of SGD with cross-entropy."""

    def loss(p):
        z = radcnn(p, x)
        z = z - jax.lax.stop_gradient(jnp.max(z, axis=1, keepdims=True))
        return (y * (jnp.log(jnp.sum(jnp.exp(z), axis=1, keepdims=True)) - z)).sum() / x.shape[0]

    return jax.tree_util.tree_map(lambda w, g: w - 0.05 * g, p, jax.grad(loss)(p))


def strides():
    """Of the eight blocks."""
    return [2 if i in (2, 4, 6) else 1 for i in range(8)]


def resnet(p, x):
    """Images to logits, without batch norm, with a 2x2 max-pool."""
    x = pool(relu(conv(x, p["stem"], 2, 3)))
    for i, stride in enumerate(strides()):
        y = conv(relu(conv(x, p[f"a{i}"], stride)), p[f"b{i}"])
        x = relu(y + (conv(x, p[f"d{i}"], stride, 0) if f"d{i}" in p else x))
    return x.mean((1, 2)) @ p["head"]


def resnet_weights():
    """Weights of the ResNet-18 body."""
    p = {"stem": weight(7, 7, 3, 64), "head": weight(512, 2)}
    for i, stride in enumerate(strides()):
        inputs, outputs = WIDTHS[i], WIDTHS[i + 1]
        p[f"a{i}"], p[f"b{i}"] = weight(3, 3, inputs, outputs), weight(3, 3, outputs, outputs)
        if stride != 1 or inputs != outputs:
            p[f"d{i}"] = weight(1, 1, inputs, outputs)
    return p


def workload():
    """The function that is timed, and its arguments."""
    if CASE in ("matmul1024", "relu1M", "mul1M"):
        a, b = image(1024, 1024), image(1024, 1024)
        table = {
            "matmul1024": (jnp.matmul, a, b),
            "relu1M": (relu, a),
            "mul1M": (jnp.multiply, a, b),
        }
        return table[CASE]
    if CASE == "resnet":
        return resnet, resnet_weights(), image(BATCH, 64, 64, 3)
    x = image(BATCH, 28, 28, 1)
    if CASE == "cnn":
        return radcnn, radcnn_weights(), x
    labels = np.eye(2, dtype=np.float32)[random.integers(0, 2, BATCH)]
    return train_step, radcnn_weights(), x, labels


def main():
    """Warm up, time, print."""
    kind = {"aby3": libspu.ProtocolKind.ABY3, "semi2k": libspu.ProtocolKind.SEMI2K}[PROTOCOL]
    config = libspu.RuntimeConfig(protocol=kind, field=libspu.FieldType.FM64)
    f, *arguments = workload()
    run = simulation.sim_jax(simulation.Simulator(PARTIES, config), f)
    run(*arguments)
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run(*arguments)
        times.append(time.perf_counter() - start)
    print(json.dumps({"seconds": times}), flush=True)


main()
