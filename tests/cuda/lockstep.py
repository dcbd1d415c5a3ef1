"""A machine for CUDA kernels that sees what a real one only suffers.

`Machine` stands in for `numba.cuda` while a module of kernels is loaded. It runs a block's threads one
after another, each from barrier to barrier, in a chosen order, and watches every element that they
touch. It raises a Fault for

- a Race: two threads touch an element, one of them writes, both are not atomic, and no barrier is between
  (between blocks there never is one);
- a Divergence: not all threads of a block come to the same barrier;
- Uninitialised: shared memory is read before it is written;
- OutOfBounds: an index that is negative or too large, which NumPy would forgive and a GPU would obey.

What it cannot see: the widths of integers (numba.cuda's are its own; see Scalars).
"""

from __future__ import annotations

import itertools
import random
import sys
import types
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import greenlet
import numba
import numpy as np

import minihash
from minihash import hashing

KERNELS = Path(minihash.__file__).parent / "kernels"
SOURCE, LAUNCHING, SHARED = map(KERNELS.joinpath, ("numba_cuda.py", "cuda_launching.py", "shared_cuda.py"))
HASHING = Path(hashing.__file__)
ORDERS = ("forward", "reversed", "shuffled")
POISON = 0xA5  # every byte of memory from `device_array`


class Fault(AssertionError):
    """What a GPU would not report."""


class Race(Fault):
    pass


class Divergence(Fault):
    pass


class Uninitialised(Fault):
    pass


class OutOfBounds(Fault):
    pass


class Dim3(NamedTuple):
    x: int
    y: int = 1
    z: int = 1


class Place(NamedTuple):
    """Who touches: what comes after what is known only within a block, by its barriers."""

    block: Dim3
    phase: int
    thread: int

    def may_meet(self, other):
        if self.block == other.block:
            return self.phase == other.phase and self.thread != other.thread
        return True


class Ledger:
    """Who touched which address, and how."""

    CLASHES = {"read": ("write", "atomic"), "atomic": ("read", "write"), "write": ("read", "write", "atomic")}

    def __init__(self):
        self.touched = {}

    def touch(self, address, kind, place, name):
        record = self.touched.setdefault(address, {"read": set(), "write": set(), "atomic": set()})
        for other in self.CLASHES[kind]:
            for where in record[other]:
                if place.may_meet(where):
                    raise Race(f"{name}: {kind} by {place}, {other} by {where}")
        record[kind].add(place)


class Watched:
    """An array as a kernel sees it: one element at a time."""

    def __init__(self, array, machine, ledger, name, is_written=None):
        self._array, self._machine, self._ledger, self._name = array, machine, ledger, name
        self._is_written = is_written  # of every element, or None where the host wrote it
        self.shape, self.size, self.dtype = array.shape, array.size, array.dtype

    def touch(self, index, kind):
        index = tuple(map(int, index if isinstance(index, tuple) else (index,)))
        if len(index) != self._array.ndim or not all(0 <= i < n for i, n in zip(index, self.shape)):
            raise OutOfBounds(f"{self._name}{list(index)} of shape {self.shape}")
        if self._is_written is not None:
            if kind != "write" and not self._is_written[index]:
                raise Uninitialised(f"{self._name}{list(index)}")
            self._is_written[index] = True
        offset = sum(i * stride for i, stride in zip(index, self._array.strides))
        address = self._array.__array_interface__["data"][0] + offset
        self._ledger.touch(address, kind, self._machine.place, self._name)
        return index

    def __getitem__(self, index):
        return self._array[self.touch(index, "read")]

    def __setitem__(self, index, value):
        self._array[self.touch(index, "write")] = value

    def update(self, index, operation, value):
        index = self.touch(index, "atomic")
        before = self._array[index]
        self._array[index] = operation(before, self.dtype.type(value))
        return before


class Thread:
    """One thread of a block: a greenlet, and the barrier where it waits."""

    def __init__(self, number, body, arguments):
        self.index, self.number = Dim3(number, 0, 0), number
        self.greenlet = greenlet.greenlet(lambda: body(*arguments))
        self.barrier = None

    def run(self):
        self.barrier = self.greenlet.switch() if not self.greenlet.dead else None
        if self.greenlet.dead:
            self.barrier = "the end"


class Block:
    """One block: its shared memory, and its threads in turns."""

    def __init__(self, machine, index, shared_bytes):
        self.machine, self.index, self.phase = machine, index, 0
        self.ledger, self.arrays, self.asked = Ledger(), [], {}
        self.dynamic = np.full(shared_bytes, POISON, np.uint8)
        self.thread = None

    def run(self, body, count, arguments):
        threads = [Thread(number, body, arguments) for number in range(count)]
        while True:
            for self.thread in self.machine.in_order(threads):
                self.thread.run()
            barriers = {thread.barrier for thread in threads}
            if len(barriers) > 1:
                raise Divergence(f"{self.index}: threads wait at {barriers}")
            if barriers == {"the end"}:
                return
            self.phase += 1

    def array(self, shape, dtype):
        """The thread's next shared array: the same memory for the same one of every thread."""
        number = self.asked.get(self.thread.number, 0)
        self.asked[self.thread.number] = number + 1
        if number == len(self.arrays):
            made = np.zeros(shape, dtype) if shape else self.dynamic.view(dtype)
            name, is_written = f"shared array {number}", np.zeros(made.shape, bool)
            self.arrays.append(Watched(made, self.machine, self.ledger, name, is_written))
        return self.arrays[number]


class Launchable:
    """A kernel: `kernel[grid, threads, stream, shared bytes](*arguments)`."""

    def __init__(self, machine, body):
        self.machine, self.body = machine, body

    def __getitem__(self, configuration):
        def launch(*arguments):
            self.machine.launch(self.body, configuration, arguments)

        return launch


class Machine:
    """What a kernel and its host code use of `numba.cuda`."""

    def __init__(self, order="forward", seed=0):
        self.order, self.random, self.block = order, random.Random(seed), None
        self.shared = self.atomic = self

    # ------------------------------------------------------------------ for the host

    def jit(self, body=None, device=False, **options):
        if body is None:
            return lambda body: self.jit(body, device)
        return body if device else Launchable(self, body)

    def device_array(self, shape, dtype, stream=0):
        array = np.empty(shape, dtype)
        array.view(np.uint8)[...] = POISON
        return array

    def launch(self, body, configuration, arguments):
        grid, threads, _, shared = configuration
        self.gridDim, self.blockDim, ledger = Dim3(*grid), Dim3(threads), Ledger()
        assert 0 < threads <= 1024 and 0 < self.gridDim.y < 2**16 and 0 < self.gridDim.x < 2**31
        assert shared <= 48 * 1024
        names = body.__code__.co_varnames
        watched = [
            Watched(value, self, ledger, name) if isinstance(value, np.ndarray) else value
            for name, value in zip(names, arguments, strict=False)
        ]
        for y, x in self.in_order(list(itertools.product(range(self.gridDim.y), range(self.gridDim.x)))):
            self.block = Block(self, Dim3(x, y, 0), shared)
            self.block.run(body, threads, watched)
        self.block = None

    def in_order(self, things):
        if self.order == "shuffled":
            return self.random.sample(things, len(things))
        return things[::-1] if self.order == "reversed" else things

    # ---------------------------------------------------------------- for the kernel

    @property
    def threadIdx(self):
        return self.block.thread.index

    @property
    def blockIdx(self):
        return self.block.index

    @property
    def place(self):
        return Place(self.block.index, self.block.phase, self.block.thread.number)

    def grid(self, dimensions):
        assert dimensions == 1
        return self.blockIdx.x * self.blockDim.x + self.threadIdx.x

    def syncthreads(self):
        lines, frame = [], sys._getframe(1)
        while frame is not None and frame.f_code.co_filename == str(SOURCE):
            lines.append(frame.f_lineno)
            frame = frame.f_back
        greenlet.getcurrent().parent.switch(tuple(lines))

    def array(self, shape, dtype):
        return self.block.array(shape, np.dtype(dtype))

    def add(self, array, index, value):
        return array.update(index, lambda before, value: before + value, value)

    def max(self, array, index, value):
        return array.update(index, max, value)


class Scalars(Machine):
    """Device functions compiled for the CPU: whole numbers have the types that Numba infers, on a GPU too."""

    def jit(self, body=None, device=False, **options):
        return numba.njit(body) if body and device else super().jit(body, device, **options)


def load(machine, *edits):
    """Return a new module of the kernels for a machine, with edits (old, new) of them or of the hash."""
    with (
        mock.patch.object(minihash, "hashing", _module(HASHING, edits)),
        mock.patch.object(numba, "cuda", machine, create=True),
        mock.patch.dict(sys.modules),
    ):
        for path in (LAUNCHING, SHARED):
            sys.modules[f"minihash.kernels.{path.stem}"] = _module(path, edits)
        return _module(SOURCE, edits)


def _module(path, edits):
    text = path.read_text("utf-8")
    for old, new in edits:
        sources = (SOURCE, LAUNCHING, SHARED, HASHING)
        assert any(old in source.read_text("utf-8") for source in sources), f"gone: {old!r}"
        text = text.replace(old, new)
    module = types.ModuleType(f"minihash.kernels.{path.stem}")
    exec(compile(text, str(path), "exec"), module.__dict__)
    return module
