"""Devices: whose memory a network's arrays are in, and who computes with them.

The CPU has NumPy, the kernels that `kernels.module` chooses, and threads. An NVIDIA card has CuPy, the
kernels of numba_cuda.py, and one stream. Under Numba's simulator (NUMBA_ENABLE_CUDASIM=1) the card is none:
its arrays are NumPy's, its kernels those of the card.
"""

from __future__ import annotations

import functools
import importlib
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minihash import arrays, checks, kernels
from minihash.kernels import Kernels, threads

NAMES = ("cpu", "cuda")
PACKAGES = "pip install 'minihash[cuda]'"


class Device:
    """The CPU, and what a card does otherwise.

    name : "cpu" or "cuda".
    xp : the array module.
    panels : how many times as large panels are as the CPU's.
    shards : copies of the weights' gradient that tasks sum into, at most.
    """

    name = "cpu"
    xp: Any = np
    panels = 1
    shards = 4  # enough for four threads, few enough to stay small

    def __init__(self) -> None:
        self._scratch = threading.local()

    @property
    def kernels(self) -> Any:
        """The module of kernels, or what has the same names."""
        return kernels.module()

    def kernels_of(self, map: str) -> Kernels:
        """Return the kernels of a map."""
        return kernels.get(map)

    def run(self, tasks: Iterable[Callable[[], None]]) -> None:
        """Do independent tasks."""
        threads.run(tasks)

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

    def sparse(self, values: Any, indices: Any, indptr: Any, shape: tuple[int, int]) -> Any:
        """Return a sparse matrix of compressed rows, which shares the memory of its parts."""
        from scipy.sparse import csr_array  # as late as this: networks without it need not wait

        return csr_array((values, indices, indptr), shape=shape)

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

    def __reduce__(self) -> Any:
        return get, (self.name,)  # there is one of each, in copies and pickles too


class Card(Device):
    """An NVIDIA card, the current one of CuPy; work is done in order on CuPy's default stream.

    xp : CuPy, or NumPy under the simulator.
    kernels : numba_cuda.py, or what has the same names.
    deterministic : sum gradients to the same bits every time.
    """

    name = "cuda"
    panels = 64  # 64 MiB of float32: many blocks for every multiprocessor
    shards = 1  # sums are atomic

    def __init__(self, xp: Any, kernels: Any, deterministic: bool = False) -> None:
        super().__init__()
        self.xp, self.deterministic = xp, deterministic
        self._kernels = kernels
        self._resident: dict[int, Any] = {}

    @property
    def kernels(self) -> Any:
        return self._kernels

    def kernels_of(self, map: str) -> Kernels:
        return self._kernels.KERNELS[map]

    def run(self, tasks: Iterable[Callable[[], None]]) -> None:
        for task in tasks:
            task()

    def put(self, value: Any) -> Any:
        return self.xp.asarray(arrays.as_array(value))

    def put_together(self, *values: np.ndarray) -> tuple[Any, ...]:
        ends = np.cumsum([-(-value.nbytes // ALIGNED) * ALIGNED for value in values])
        packed = np.empty(ends[-1], np.uint8)
        parts = []
        for value, start in zip(values, (0, *ends)):
            parts.append(slice(start, start + value.nbytes))
            packed[parts[-1]] = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
        moved = self.put(packed)
        return tuple(moved[part].view(value.dtype).reshape(value.shape) for value, part in zip(values, parts))

    def get(self, array: Any) -> np.ndarray:
        return array if arrays.on_host(array) else self.xp.asnumpy(array)

    def resident(self, array: np.ndarray) -> Any:
        if id(array) not in self._resident:
            self._resident[id(array)] = self.put(array)
            weakref.finalize(array, self._resident.pop, id(array), None)
        return self._resident[id(array)]

    def sparse(self, values: Any, indices: Any, indptr: Any, shape: tuple[int, int]) -> Any:
        if self.xp is np:
            return super().sparse(values, indices, indptr, shape)
        from cupyx.scipy.sparse import csr_matrix

        return csr_matrix((values, indices, indptr), shape=shape)

    def synchronize(self) -> None:
        if self.xp is not np:
            self.xp.cuda.get_current_stream().synchronize()

    def __reduce__(self) -> Any:
        return get, (self.name, self.deterministic)


ALIGNED = 16  # bytes, where an array in a pack starts
CPU = Device()


class _Kernels:
    """The kernels of numba_cuda.py with its deterministic sums."""

    def __init__(self, module: Any) -> None:
        self.KERNELS = module.DETERMINISTIC
        self.fold, self.unfold, self.drop = module.fold, module.unfold, module.drop


def get(name: str, deterministic: bool = False) -> Device:
    """Return a device.

    Parameters
    ----------
    name : "cpu" or "cuda".
    deterministic : on a card, sum gradients to the same bits every time; on the CPU they always are.

    Raises
    ------
    ValueError for a wrong argument; ImportError if a package is missing or does not fit; OSError if there is
    no card, or no driver for it.
    """
    checks.choice("device", name, NAMES)
    checks.boolean("deterministic", deterministic)
    return CPU if name == "cpu" else _card(deterministic)


def check_on_host(name: str, module: Any) -> None:
    """Refuse a layer or network whose arrays are not those of the host."""
    if module.device.xp is not np:
        raise ValueError(f"{name} is on {module.device.name}, wanted on cpu: move it with to('cpu')")


@functools.cache
def _card(deterministic: bool) -> Device:
    simulated = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
    xp = np if simulated else _import("cupy")
    if not simulated:
        _import("numba_cuda")  # without it Numba would take its own old target
        try:
            count = xp.cuda.runtime.getDeviceCount()
        except Exception as error:  # of CuPy, with another name in each of its versions
            raise OSError(f"device cuda: {error}; wanted an NVIDIA card and its driver") from None
        if not count:
            raise OSError("device cuda: no card is visible, wanted one: see CUDA_VISIBLE_DEVICES")
    module = _import("minihash.kernels.numba_cuda")
    if not simulated:
        module.LAUNCHER.empty = xp.empty  # scratch memory of CuPy's pool, as all the rest
    return Card(xp, _Kernels(module) if deterministic else module, deterministic)


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"device cuda: {error}; wanted its packages: {PACKAGES}") from None
