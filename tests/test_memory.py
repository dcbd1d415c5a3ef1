"""A training step of a large hashed layer, measured in a process of its own: V is never allocated."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow  # measures processes of its own

VIRTUAL = 4096 * 4096 * 4  # bytes of V in float32
BOUND = VIRTUAL // 2

CODE = """
import sys, tracemalloc
from minihash import HashedLinear, optimizers
import numpy as np

def build_and_step(features):
    tile = sys.argv[2] if sys.argv[2] == "auto" else int(sys.argv[2])
    layer = HashedLinear(features, features, compression=1 / 64, seed=features, tile=tile)
    optimizer = optimizers.SGD(0.01, momentum=0.9)
    inputs = np.ones((128, features), np.float32)
    outputs = layer.forward(inputs, training=True)
    layer.backward(outputs)
    optimizer.step(layer.params, layer.grads)
    assert layer.num_buckets == round(features * (features + 1) / 64) and layer.weight.any()

def resident(field):
    with open("/proc/self/status") as status:
        return 1024 * int(status.read().split(field + ":")[1].split()[0])

build_and_step(1024)  # compiles the kernels, starts the threads, fills the buffers of BLAS
if sys.argv[1] == "resident":
    with open("/proc/self/clear_refs", "w") as refs:
        refs.write("5")  # the peak falls to what is resident now
    before = resident("VmRSS")
    build_and_step(4096)
    print(resident("VmHWM") - before)
else:
    tracemalloc.start()
    build_and_step(4096)
    print(tracemalloc.get_traced_memory()[1])
"""


@pytest.mark.parametrize("kernels", ["numba", "numpy"])
@pytest.mark.parametrize("measure", ["traced", "resident"])
@pytest.mark.parametrize("tile", ["1", "auto"])
def test_a_step_allocates_nothing_as_large_as_the_matrix(measure: str, tile: str, kernels: str) -> None:
    if measure == "resident" and not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("needs Linux, to see the peak of the resident memory")
    threads = {"MINIHASH_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    run = subprocess.run(
        [sys.executable, "-c", CODE, measure, tile],
        env={**os.environ, **threads, "MINIHASH_KERNELS": kernels},
        capture_output=True,
        text=True,
    )
    assert run.stderr == ""
    # The state alone, weight, gradient and velocity, is 3 MB: less would be no measurement.
    assert 3e6 < int(run.stdout) < BOUND, f"{int(run.stdout) / 2**20:.1f} MiB, V has {VIRTUAL / 2**20:.0f}"
