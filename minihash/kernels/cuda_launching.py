"""Starting kernels on a GPU: grids, threads, shared memory, one stream."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda

Array = Any  # on the device; Numba does not read annotations

WARP = 32  # threads that march in step: a block is made of whole ones
SIMULATED = getattr(getattr(cuda, "devicearray", None), "FakeCUDAArray", None)


class Launcher:
    """Starts kernels, in order on one stream, and knows how much of the device each is given.

    stream : of Numba, or 0, the default one (CuPy's too).
    threads : of a block at most, a multiple of WARP.
    rows : that a thread does of its column.
    blocks : of a grid where each has costs of its own: some for every multiprocessor of the largest chips.
    shared : bytes of shared memory that a block gets without asking.
    down : blocks of a grid along its second dimension, at most.
    """

    def __init__(self) -> None:
        self.stream: Any = 0
        self.threads, self.rows, self.blocks, self.shared = 256, 8, 256, 48 * 1024
        self.down = 2**16 - 1

    def elements(self, block: Array, *_: Any) -> tuple[tuple[int, int], int, int]:
        """Return grid, threads and bytes of shared memory for a thread an element, or some in a column."""
        return self._grid(*(1, *block.shape)[-2:])

    def columns(self, places: Array, inputs: Array, *_: Any) -> tuple[tuple[int, int], int, int]:
        """Return the same for a thread a column of V, each with some rows of the inputs."""
        return self._grid(len(inputs), places.size)

    def sums(self, block: Array, *arguments: Any) -> tuple[tuple[int, int], int, int]:
        """Return the same for sums of elements into buckets, the last argument.

        Sums in shared memory pay if there is room for all buckets, and if handing them over, all buckets
        by every block, is at most half the additions to global memory that it saves.
        """
        grid, threads, _ = self.elements(block)
        buckets, across = arguments[-1], grid[0]
        fewer = across, max(1, min(grid[1], self.blocks // across))
        fits = buckets.nbytes <= self.shared
        if fits and 2 * fewer[0] * fewer[1] * buckets.size <= block.size:
            return fewer, threads, buckets.nbytes
        return grid, threads, 0

    def dots(self, outputs: Array, *arguments: Any) -> tuple[tuple[int, int], int, int]:
        """Return the same for a block an output, with room for a number of each thread."""
        batch, rows = outputs.shape
        threads = self.threads
        return (rows, min(batch, self.down)), threads, threads * outputs.dtype.itemsize

    def empty(self, shape: Any, dtype: Any) -> Array:
        """Return scratch memory, undefined, to be freed with the last that holds it."""
        return cuda.device_array(shape, dtype, stream=self.stream)

    def sort(self, keys: Array) -> None:
        """Sort whole numbers in place."""
        keys.sort()

    def _grid(self, rows: int, columns: int) -> tuple[tuple[int, int], int, int]:
        threads = min(self.threads, -(-columns // WARP) * WARP)
        return (-(-columns // threads), max(1, min(-(-rows // self.rows), self.down))), threads, 0


LAUNCHER = Launcher()


class Kernel:
    """A kernel that is called with its arguments alone; `over` names the one that the grid covers."""

    def __init__(self, body: Callable[..., None], over: str, plan: str) -> None:
        self.body, self.plan = body, plan
        self.over = list(inspect.signature(body).parameters).index(over)
        self.compiled = cuda.jit(body)
        functools.update_wrapper(self, body)

    def __call__(self, *arguments: Any) -> None:
        covered = arguments[self.over]
        if covered.size:
            grid, threads, shared = getattr(LAUNCHER, self.plan)(covered, *arguments)
            self.compiled[grid, threads, LAUNCHER.stream, shared](*map(_lent, arguments))


def _lent(value: Any) -> Any:
    """Return an argument as a kernel takes it: the simulator would copy arrays, and refuses parts of one."""
    return SIMULATED(value) if SIMULATED and isinstance(value, np.ndarray) else value


def launched(over: str, plan: str = "elements", made: type[Kernel] = Kernel) -> Callable[..., Any]:
    """Decorate a kernel: its grid covers the argument `over`, as a method of `Launcher` plans it."""
    return lambda body: made(body, over, plan)
