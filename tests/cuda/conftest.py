"""Which of these tests run: they need packages, or a process, of their own (.ci/cuda, docs/cuda.md).

    simulated_*.py   under NUMBA_ENABLE_CUDASIM=1: no compiler, no card
    compiled_*.py    with the package numba-cuda, which has the compiler
    cupy_*.py        with CuPy too
    gpu_*.py         with a card too, marked `gpu`
"""

from __future__ import annotations

import importlib.util
import os

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
COMPILER = importlib.util.find_spec("numba_cuda") is not None and not SIMULATED

os.environ["NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS"] = "0"  # as devices.py does
collect_ignore_glob = []
if not SIMULATED:
    collect_ignore_glob.append("test_simulated*.py")
if not COMPILER:
    collect_ignore_glob += ["test_compiled*.py", "test_cupy*.py", "test_gpu*.py"]


def pytest_configure(config):
    config.addinivalue_line("markers", "gpu: needs a graphics card")
