"""What is measured in processes of their own: start-up and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

IMPORT = "import minihash"
FIRST_STEP = """
import minihash, numpy as np
network = minihash.mlp([784, 1000, 10], compression=1/64)
outputs = network.forward(np.ones((128, 784), np.float32), training=True)
network.backward(outputs)
minihash.optimizers.SGD().step(network.params, network.grads)
"""
MEMORY = """
import json, sys
import numpy as np
from minihash import HashedLinear, optimizers

def resident(field):
    with open("/proc/self/status") as status:
        return 1024 * int(status.read().split(field + ":")[1].split()[0])

def build_and_step(features, a, delta):
    layer = HashedLinear(features, features, compression=1 / 64, **json.loads(sys.argv[1]), bias="none")
    optimizer = optimizers.SGD(0.01, momentum=0.9)
    outputs = layer.forward(a, training=True)
    grad_inputs = layer.backward(delta)
    optimizer.step(layer.params, layer.grads)
    return outputs, grad_inputs

small, large = (np.ones((2, 128, features), np.float32) for features in (1024, 4096))
build_and_step(1024, *small)  # loads, starts threads, fills the buffers of BLAS
with open("/proc/self/clear_refs", "w") as refs:
    refs.write("5")  # the peak falls to what is resident now
before = resident("VmRSS")
build_and_step(4096, *large)
outputs = 2 * 128 * 4096 * 4  # and the gradient of the inputs
print(resident("VmHWM") - before - outputs)
"""


def seconds(code: str, **environment: str) -> float:
    """Return the seconds that a Python process takes longer for running `code` than for nothing."""
    return _seconds(code, environment) - _seconds("", environment)


def _seconds(code: str, environment: dict[str, str]) -> float:
    before = os.times()
    _run(code, [], environment)
    return os.times().elapsed - before.elapsed


def _run(code: str, arguments: list[str], environment: dict[str, str]) -> str:
    command = [sys.executable, "-c", code, *arguments]
    found = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    if found.returncode:
        raise RuntimeError(f"a process of the benchmark failed: {found.stderr.strip().splitlines()[-1]}")
    return found.stdout


def import_seconds(rounds: int = 5) -> list[float]:
    """Return the seconds of `import minihash`."""
    return [seconds(IMPORT) for _ in range(rounds)]


def first_step_seconds(rounds: int = 3) -> tuple[list[float], list[float]]:
    """Return the seconds of a first training step, everything imported: cold (compiled), and warm."""
    cold, warm = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(seconds(FIRST_STEP, NUMBA_CACHE_DIR=cache))
            warm.append(seconds(FIRST_STEP, NUMBA_CACHE_DIR=cache))
    return cold, warm


def step_bytes(arguments: dict[str, Any], num_threads: int = 2, rounds: int = 3) -> list[float]:
    """Return the bytes that a step of a 4096 x 4096 layer adds at its peak, but for inputs and outputs."""
    given = json.dumps(arguments, allow_nan=False)
    threads = {name: str(num_threads) for name in ("MINIHASH_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    return [float(_run(MEMORY, [given], threads)) for _ in range(rounds)]
