"""Devices: whose memory a network's arrays are in, and who computes with them.

The CPU has NumPy, the kernels that `kernels.module` chooses, and threads. An NVIDIA GPU has CuPy, the
kernels of numba_cuda.py, and one stream. Numba's simulator of one (NUMBA_ENABLE_CUDASIM=1) has NumPy's arrays
and the same kernels.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import itertools
import os
import re
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from minihash import arrays, checks, kernels
from minihash.kernels import Kernels, threads

PACKAGES = "pip install '.[cuda]' in the checkout"
#: From which version on, and before which, as in setup.cfg.
VERSIONS = {"numba-cuda": ((0, 30), (0, 31)), "cupy-cuda12x": ((14, 0), (15, 0)), "numpy": ((1, 26), (2, 5))}
ALIGNED = 16  # bytes, where an array in a pack starts


class Device:
    """The CPU, and what a GPU may do differently.

    name : "cpu" or "cuda".
    xp : the array module.
    panels : how many times as large panels are as the CPU's.
    shards : copies of the weights' gradient that tasks sum into, at most.
    small_blocks : whether large layers go backward without panels too, where the batch is small.
    """

    name = "cpu"
    xp: Any = np
    panels = 1
    shards = 4  # enough for four threads, few enough to stay small
    small_blocks = True

    def __init__(self) -> None:
        self._scratch = threading.local()

    @property
    def kernels(self) -> Any:
        """The module of kernels."""
        return kernels.module()

    def kernels_of(self, map: Any) -> Kernels:
        """Return the kernels of a map."""
        return kernels.get(map)

    def num_tasks(self) -> int:
        """Return how many tasks are done at a time."""
        return threads.num_threads()

    def run(self, tasks: Iterable[Callable[[], None]]) -> None:
        """Do independent tasks."""
        threads.run(tasks)

    def run_shards(self, task: Callable, blocks: Sequence[Any], copies: Sequence[Any]) -> None:
        """Call `task(blocks, copy)` with each copy and its share of the blocks; add all up in the first.

        Shares and their order do not depend on threads: they change no bit.
        """
        cuts = itertools.pairwise(len(blocks) * n // len(copies) for n in range(len(copies) + 1))
        self.run(
            functools.partial(task, blocks[start:stop], copy) for (start, stop), copy in zip(cuts, copies)
        )
        total = copies[0]
        for copy in copies[1:]:
            total += copy

    def put(self, value: Any) -> Any:
        """Return `value` as an array on the device; one that is there as it is."""
        return np.asarray(value)

    def put_together(self, *values: np.ndarray) -> tuple[Any, ...]:
        """Return arrays of the host as arrays on the device, moved at once."""
        return values

    def get(self, array: Any) -> np.ndarray:
        """Return an array on the device as one of the host."""
        return array

    def resident(self, array: np.ndarray) -> Any:
        """Return the copy on the device of an array of the host that never changes; it is moved once."""
        return array

    def buffer(self, name: str, shape: tuple[int, int], dtype: np.dtype) -> Any:
        """Return this thread's scratch array of that name, contiguous; its contents are undefined."""
        size = shape[0] * shape[1] * dtype.itemsize
        memory = getattr(self._scratch, name, None)
        if memory is None or memory.size < size:
            setattr(self._scratch, name, None)  # free the old one first
            memory = self.xp.empty(size, np.uint8)
            setattr(self._scratch, name, memory)
        return memory[:size].view(dtype).reshape(shape)

    def synchronize(self) -> None:
        """Wait for what has been started."""

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> Any:
        return get, (self.name,)  # there is one of each, in copies and pickles too


class GPU(Device):
    """An NVIDIA GPU, the current one of CuPy; work is done in order on CuPy's default stream.

    xp : CuPy, or NumPy under the simulator.
    kernels : the module numba_cuda.
    deterministic : sum gradients to the same bits every time.
    """

    name = "cuda"
    panels = 64  # 64 MiB of float32: many blocks for every multiprocessor
    shards = 1  # sums are atomic
    small_blocks = False  # a block has too few outputs to fill it

    def __init__(self, xp: Any, kernels: Any, deterministic: bool = False) -> None:
        super().__init__()
        self.xp, self.deterministic = xp, deterministic
        self._kernels = kernels
        self._resident: dict[int, Any] = {}

    @property
    def kernels(self) -> Any:
        return self._kernels

    def kernels_of(self, map: Any) -> Kernels:
        return kernels.of_map(self.kernels, map, "DETERMINISTIC" if self.deterministic else "KERNELS")

    def num_tasks(self) -> int:
        return 1

    def run(self, tasks: Iterable[Callable[[], None]]) -> None:
        for task in tasks:
            task()

    def put(self, value: Any) -> Any:
        return self.xp.asarray(arrays.as_array(value))

    def put_together(self, *values: np.ndarray) -> tuple[Any, ...]:
        native = [np.ascontiguousarray(value, value.dtype.newbyteorder("=")) for value in values]
        ends = np.cumsum([-(-value.nbytes // ALIGNED) * ALIGNED for value in native])
        packed = np.empty(ends[-1], np.uint8)
        parts = [slice(start, start + value.nbytes) for value, start in zip(native, (0, *ends))]
        for value, part in zip(native, parts):
            packed[part] = value.reshape(-1).view(np.uint8)
        moved = self.put(packed)
        return tuple(moved[part].view(value.dtype).reshape(value.shape) for value, part in zip(native, parts))

    def get(self, array: Any) -> np.ndarray:
        return array if arrays.on_host(array) else self.xp.asnumpy(array)

    def resident(self, array: np.ndarray) -> Any:
        if id(array) not in self._resident:
            self._resident[id(array)] = self.put(array)
            weakref.finalize(array, self._resident.pop, id(array), None)
        return self._resident[id(array)]

    def synchronize(self) -> None:
        if self.xp is not np:
            self.xp.cuda.get_current_stream().synchronize()

    def __str__(self) -> str:
        return f"{self.name}, deterministic" if self.deterministic else self.name

    def __reduce__(self) -> Any:
        return get, (self.name, self.deterministic)


CPU = Device()


def get(name: str, deterministic: bool = False) -> Device:
    """Return a device.

    Parameters
    ----------
    name : "cpu" or "cuda".
    deterministic : on a GPU, sum gradients to the same bits every time; on the CPU they always are.

    Raises
    ------
    ValueError for a wrong argument; ImportError if a package is missing or does not fit; OSError if there is
    no GPU, or no driver for it.
    """
    checks.choice("device", name, NAMES)
    return DEVICES[name](checks.boolean("deterministic", deterministic))


def check_on_host(name: str, module: Any) -> None:
    """Refuse a layer or network whose arrays are not those of the host."""
    if module.device.xp is not np:
        raise ValueError(f"{name} is on {module.device.name}, wanted on cpu: move it with to('cpu')")


@functools.cache
def _gpu(deterministic: bool) -> Device:
    simulated = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
    xp = np if simulated else _cupy()
    module = _import("minihash.kernels.numba_cuda")
    gpu = GPU(xp, module, deterministic)
    if not simulated:
        module.LAUNCHER.empty = xp.empty  # scratch memory of CuPy's pool, as all the rest
        _try_out(gpu)
    return gpu


#: By name, what returns a device, deterministic or not.
DEVICES: dict[str, Callable[[bool], Device]] = {"cpu": lambda deterministic: CPU, "cuda": _gpu}
NAMES = tuple(DEVICES)


def _cupy() -> Any:
    """Return CuPy, if all that a GPU needs is installed in versions that fit."""
    for package, (low, high) in VERSIONS.items():
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            if package.startswith("cupy"):
                continue  # there are other builds of it
            raise ImportError(f"device cuda: {package} is missing, wanted it: {PACKAGES}") from None
        if not low <= tuple(map(int, version.split(".")[:2])) < high:
            wanted = f">={low[0]}.{low[1]},<{high[0]}.{high[1]}"
            raise ImportError(f"device cuda: {package} is {version}, wanted {wanted}: {PACKAGES}")
    # Small layers have few blocks, and nobody can help it; Numba reads this when it is imported.
    os.environ.setdefault("NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS", "0")
    load_libraries()
    cupy = _import("cupy")
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # of CuPy, with another name in each of its versions
        raise OSError(f"device cuda: {_line(error)}; wanted an NVIDIA GPU and its driver") from None
    if not count:
        raise OSError("device cuda: no GPU is visible, wanted one: see CUDA_VISIBLE_DEVICES")
    return cupy


def load_libraries() -> None:
    """Load CuPy's library from its package; where it is not, the system's may be found later."""
    pathfinder = _import("cuda.pathfinder")
    with contextlib.suppress(Exception):  # of pathfinder, which says in many words what _try_out will see
        pathfinder.load_nvidia_dynamic_lib("cublas")


def _try_out(gpu: GPU) -> None:
    """Run a kernel and a product once, so that what is missing is said here, and not in a training."""
    try:
        slots, ones = gpu.xp.empty((2, 2), np.uint32), gpu.xp.ones((2, 2), np.float32)
        gpu.kernels.KERNELS["element"].locate((0, 1, True), (0, 0), slots)
        gpu.get(gpu.xp.matmul(ones, ones))
    except Exception as error:  # of Numba, CuPy or the driver
        what = "wanted a GPU, a driver and packages that fit each other"
        raise OSError(f"device cuda: {_line(error)}; {what}: {PACKAGES}") from None


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"device cuda: {_line(error)}; wanted its packages: {PACKAGES}") from None


def _line(error: Exception) -> str:
    """Return what an error says, in a line; CuPy's fill a screen."""
    text = " ".join(re.sub(r"=+", "", str(error)).split())
    return text if len(text) <= 200 else f"{text[:200]}…"
