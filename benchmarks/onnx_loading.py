"""What ONNX Runtime makes of an exported network: load time and memory by level of graph optimisation.

    python -m benchmarks.onnx_loading [--sizes 784,1000,10] [--compression 1/64] [--rounds 5]

Every round loads the file in a process of its own, one thread, and predicts single rows. Memory is beyond
what the process had after its imports: resident (after the rows), and the highest it has been. Medians, MB
of 10⁶ bytes. Linux.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from statistics import median

import minihash
from minihash import text
from minihash.export import to_onnx

# The level of graph optimisation, and optimizers that are left out of it.
SETTINGS = {
    "off": ("ORT_DISABLE_ALL", []),
    "basic": ("ORT_ENABLE_BASIC", []),
    "all (default)": ("ORT_ENABLE_ALL", []),
    "all, no folding": ("ORT_ENABLE_ALL", ["ConstantFolding"]),
}
LOAD = """
import json, sys, time
import numpy as np
import onnxruntime

def resident(field):
    with open("/proc/self/status") as status:
        return 1024 * int(status.read().split(field + ":")[1].split()[0])

path, level, disabled = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
options = onnxruntime.SessionOptions()
options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
options.intra_op_num_threads = 1
before, start = resident("VmRSS"), time.perf_counter()
session = onnxruntime.InferenceSession(
    path, options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled
)
loading = time.perf_counter() - start
row = np.ones((1, session.get_inputs()[0].shape[1]), np.float32)
times = []
for _ in range(30):
    start = time.perf_counter()
    session.run(None, {"inputs": row})
    times.append(time.perf_counter() - start)
times.sort()
memory = resident("VmRSS") - before, resident("VmHWM") - before
print(json.dumps([1e3 * loading, 1e3 * times[15], memory[0] / 1e6, memory[1] / 1e6]))
"""


def measure(path: Path, level: str, disabled: list[str]) -> list[float]:
    """Return the milliseconds of loading and of a row, and the megabytes resident and at the peak."""
    command = [sys.executable, "-c", LOAD, str(path), level, json.dumps(disabled)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="784,1000,10")
    parser.add_argument("--compression", default="1/64")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    compression = float(Fraction(arguments.compression))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind, tile in (("element", 1), ("tiles", "auto"), ("dense", 1)):
            path = Path(folder, f"{kind}.onnx")
            to_onnx(minihash.mlp(sizes, compression=compression, tile=tile), path, dense=kind == "dense")
            for name, (level, disabled) in SETTINGS.items():
                rounds = [measure(path, level, disabled) for _ in range(arguments.rounds)]
                load, row, resident, peak = map(median, zip(*rounds))
                figures = f"{load:.1f}", f"{row:.3f}", f"{resident:.1f}", f"{peak:.1f}"
                rows.append((kind, f"{path.stat().st_size:,}", name, *figures))
    header = ("weights", "file (bytes)", "optimisation", "load (ms)", "row (ms)", "resident MB", "peak MB")
    print(text.table(header, rows, left=3))


if __name__ == "__main__":
    main()
