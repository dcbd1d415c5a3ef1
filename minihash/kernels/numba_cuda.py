"""The kernels compiled for a GPU.

Same kernels, same arguments and same order as numba_cpu.py; arrays are on the device (of Numba or CuPy). A
thread has a column of the block and some of its rows, so that neighbours read and write neighbours in
memory. Every step of the hash is cast to 32 bits, as hashing.py explains; loops are written with `while`
because a `range` with a step costs a 64-bit division.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda

from minihash import hashing
from minihash.kernels import Kernels, Key, Origin

Array = Any  # on the device; Numba does not read annotations

SIGN = np.uint32(1 << 31)  # of a slot; the other bits are the bucket
BUCKET = np.uint32(SIGN - 1)
EVERY = np.uint32(2**32 - 1)
WARP = 32  # threads that march in step: a block is made of whole ones
SIMULATED = getattr(getattr(cuda, "devicearray", None), "FakeCUDAArray", None)
LIMIT_GRID = 2**16 - 1  # blocks of a grid along its second dimension

_device = cuda.jit(device=True, inline="always")

absorb = _device(hashing.absorb)
avalanche = _device(hashing.avalanche)
scale_to_range = _device(hashing.scale_to_range)


# ------------------------------------------------------------------------------------ launching


class Launcher:
    """Starts kernels, in order on one stream, and knows how much of the device each is given.

    stream : of Numba, or 0, the default one (CuPy's too).
    threads : of a block at most, a multiple of WARP.
    rows : that a thread does of its column.
    blocks : of a grid where each has costs of its own: some for every multiprocessor of the largest chips.
    shared : bytes of shared memory that a block gets without asking.
    """

    def __init__(self) -> None:
        self.stream: Any = 0
        self.threads, self.rows, self.blocks, self.shared = 256, 8, 256, 48 * 1024

    def elements(self, block: Array, *_: Any) -> tuple[tuple[int, int], int, int]:
        """Return grid, threads and bytes of shared memory for a thread an element, or some in a column."""
        rows, columns = (1, *block.shape)[-2:]
        threads = self._threads(columns)
        return (-(-columns // threads), min(-(-rows // self.rows), LIMIT_GRID)), threads, 0

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
        return (rows, min(batch, LIMIT_GRID)), threads, threads * outputs.dtype.itemsize

    def empty(self, shape: Any, dtype: Any) -> Array:
        """Return scratch memory, undefined, to be freed with the last that holds it."""
        return cuda.device_array(shape, dtype, stream=self.stream)

    def _threads(self, columns: int) -> int:
        return min(self.threads, -(-columns // WARP) * WARP)


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


class Aggregate(Kernel):
    """A kernel that sums into buckets; with `deterministic` to the same bits, whichever thread comes first.

    The order of atomic additions is nobody's, and floats remember it. Whole numbers do not: the panel is
    scaled, in place, to integers of its largest number's exponent, the same kernel sums those, and
    the sums are scaled back. A float32 is kept to 2⁻³⁰ of the panel's largest, a float64 of n numbers
    to n · 2⁻⁶¹ of it. Where one number of the panel is not finite, every sum becomes NaN.
    """

    def __call__(self, *arguments: Array, deterministic: bool = False) -> None:
        grad_panel, slots, grad_weight = arguments
        if not deterministic or not grad_panel.size:
            super().__call__(grad_panel, slots, grad_weight)
            return
        point = _binary_point(grad_panel)
        integers = grad_panel.view(f"i{grad_panel.dtype.itemsize}")
        work = LAUNCHER.empty(grad_weight.size + 1, np.int64)
        totals, peak = work[: grad_weight.size], work[grad_weight.size :]
        _set_zero(work)
        _find_peak(integers, point, peak)
        _to_integers(grad_panel, point, peak, integers)
        super().__call__(integers, slots, totals)
        _add_integers(totals, point, peak, grad_weight)


def _lent(value: Any) -> Any:
    """Return an argument as a kernel takes it: the simulator would copy arrays, and refuses parts of one."""
    return SIMULATED(value) if SIMULATED and isinstance(value, np.ndarray) else value


def _kernel(over: str, plan: str = "elements", made: type[Kernel] = Kernel) -> Callable[..., Any]:
    return lambda body: made(body, over, plan)


# --------------------------------------------------------------------------------- inside a block


@_device
def _start_hash(i, seed):  # type: ignore[no-untyped-def]
    return absorb(np.uint32(np.uint32(seed) + hashing.START), np.uint32(np.uint32(i) * hashing.PRIME3))


@_device
def _slot(hashed, num_buckets, shift):  # type: ignore[no-untyped-def]
    """Return bucket and sign of a hash; shift is 1 for a signed map, whose highest bit is the sign."""
    bucket = scale_to_range(np.uint32(hashed << shift), num_buckets)
    return np.uint32(bucket | np.uint32(hashed & np.uint32(shift << np.uint32(31))))


@_device
def _locate(key, i, j):  # type: ignore[no-untyped-def]
    h = absorb(_start_hash(i, key[0]), np.uint32(np.uint32(j) * hashing.PRIME3))
    return _slot(avalanche(h), key[1], np.uint32(key[2]))


@_device
def _start(key, i, column):  # type: ignore[no-untyped-def]
    """Return where the row's window, cut to start at `column`, starts, and its sign, as a slot."""
    slot = _locate(key, i, EVERY)
    return _along(slot, column, key[1])


@_device
def _along(slot, c, num_buckets):  # type: ignore[no-untyped-def]
    """Return the slot at place c of a window that starts at `slot`; no place is beyond the weights."""
    bucket = np.uint32(np.uint32(slot & BUCKET) + np.uint32(c))  # below 2K
    if bucket >= np.uint32(num_buckets):
        bucket = np.uint32(bucket - np.uint32(num_buckets))
    return np.uint32(bucket | np.uint32(slot & SIGN))


@_device
def _look_up(weight, slot):  # type: ignore[no-untyped-def]
    value = weight[slot & BUCKET]
    return -value if slot & SIGN else value


@_device
def _set_partial(partial):  # type: ignore[no-untyped-def]
    """Set the block's own sums to zero; there are none if they do not pay."""
    k = cuda.threadIdx.x
    while k < partial.size:
        partial[k] = 0
        k += cuda.blockDim.x
    cuda.syncthreads()


@_device
def _add(partial, grad_weight, slot, grad):  # type: ignore[no-untyped-def]
    value = -grad if slot & SIGN else grad
    if partial.size:
        cuda.atomic.add(partial, slot & BUCKET, value)
    else:
        cuda.atomic.add(grad_weight, slot & BUCKET, value)


@_device
def _add_partial(partial, grad_weight):  # type: ignore[no-untyped-def]
    """Add the block's own sums to all blocks'."""
    cuda.syncthreads()
    k = cuda.threadIdx.x
    while k < partial.size:
        if partial[k] != 0:
            cuda.atomic.add(grad_weight, k, partial[k])
        k += cuda.blockDim.x


@_device
def _sum_block(terms):  # type: ignore[no-untyped-def]
    """Sum a term of each thread into the first's, the same pairs every time; the others are free again."""
    t, count = cuda.threadIdx.x, terms.size
    cuda.syncthreads()
    while count > 1:
        half = (count + 1) >> 1
        if t < count - half:
            terms[t] += terms[t + half]
        cuda.syncthreads()
        count = half


# ---------------------------------------------------------------------------------- element map


@_kernel(over="slots")
def locate_element(key: Key, origin: Origin, slots: Array) -> None:
    """Hash every position of the block into its slot."""
    c, r = cuda.grid(1), cuda.blockIdx.y
    if c < slots.shape[1]:
        while r < slots.shape[0]:
            slots[r, c] = _locate(key, origin[0] + r, origin[1] + c)
            r += cuda.gridDim.y


@_kernel(over="panel")
def expand_element(weight: Array, slots: Array, panel: Array) -> None:
    """Fill `panel` with its block of V: eq. 7, `V[i, j] = ξ w[h(i, j)]`."""
    c, r = cuda.grid(1), cuda.blockIdx.y
    if c < panel.shape[1]:
        while r < panel.shape[0]:
            panel[r, c] = _look_up(weight, slots[r, c])
            r += cuda.gridDim.y


@_kernel(over="grad_panel", plan="sums", made=Aggregate)
def aggregate_element(grad_panel: Array, slots: Array, grad_weight: Array) -> None:
    """Add ∂L/∂V of a block to its buckets: eq. 12, a sum over each bucket. `grad_panel` is used up."""
    partial = cuda.shared.array(0, grad_weight.dtype)
    _set_partial(partial)
    c, r = cuda.grid(1), cuda.blockIdx.y
    if c < grad_panel.shape[1]:
        while r < grad_panel.shape[0]:
            _add(partial, grad_weight, slots[r, c], grad_panel[r, c])
            r += cuda.gridDim.y
    _add_partial(partial, grad_weight)


@_kernel(over="outputs", plan="dots")
def multiply_element(weight: Array, key: Key, origin: Origin, inputs: Array, outputs: Array) -> None:
    """Add the block's part of `inputs @ Vᵀ` to `outputs`: eq. 8; V is never in memory."""
    terms = cuda.shared.array(0, weight.dtype)
    r, n = cuda.blockIdx.x, cuda.blockIdx.y
    while n < outputs.shape[0]:
        total, c = weight.dtype.type(0), cuda.threadIdx.x
        while c < inputs.shape[1]:
            total += inputs[n, c] * _look_up(weight, _locate(key, origin[0] + r, origin[1] + c))
            c += cuda.blockDim.x
        terms[cuda.threadIdx.x] = total
        _sum_block(terms)
        if cuda.threadIdx.x == 0:
            outputs[n, r] += terms[0]
        n += cuda.gridDim.y


# ----------------------------------------------------------------------------------- window map


@_kernel(over="slots")
def locate_window(key: Key, origin: Origin, slots: Array) -> None:
    """Hash every row of the block into its slot."""
    c, r = cuda.grid(1), cuda.blockIdx.y
    if c < 1:
        while r < slots.shape[0]:
            slots[r, 0] = _start(key, origin[0] + r, origin[1])
            r += cuda.gridDim.y


@_kernel(over="panel")
def expand_window(weight: Array, slots: Array, panel: Array) -> None:
    """Fill `panel` with its block of V: every row a copy of a window of the weights."""
    c, r = cuda.grid(1), cuda.blockIdx.y
    if c < panel.shape[1]:
        while r < panel.shape[0]:
            panel[r, c] = _look_up(weight, _along(slots[r, 0], c, weight.size))
            r += cuda.gridDim.y


@_kernel(over="grad_panel", plan="sums", made=Aggregate)
def aggregate_window(grad_panel: Array, slots: Array, grad_weight: Array) -> None:
    """Add ∂L/∂V of a block to the weights: every row to its window. `grad_panel` is used up."""
    partial = cuda.shared.array(0, grad_weight.dtype)
    _set_partial(partial)
    c, r = cuda.grid(1), cuda.blockIdx.y
    if c < grad_panel.shape[1]:
        while r < grad_panel.shape[0]:
            _add(partial, grad_weight, _along(slots[r, 0], c, grad_weight.size), grad_panel[r, c])
            r += cuda.gridDim.y
    _add_partial(partial, grad_weight)


@_kernel(over="outputs", plan="dots")
def multiply_window(weight: Array, key: Key, origin: Origin, inputs: Array, outputs: Array) -> None:
    """Add the block's part of `inputs @ Vᵀ` to `outputs`: dot products straight over the weights."""
    terms = cuda.shared.array(0, weight.dtype)
    r, n = cuda.blockIdx.x, cuda.blockIdx.y
    start = _start(key, origin[0] + r, origin[1])
    while n < outputs.shape[0]:
        total, c = weight.dtype.type(0), cuda.threadIdx.x
        while c < inputs.shape[1]:
            total += inputs[n, c] * _look_up(weight, _along(start, c, weight.size))
            c += cuda.blockDim.x
        terms[cuda.threadIdx.x] = total
        _sum_block(terms)
        if cuda.threadIdx.x == 0:
            outputs[n, r] += terms[0]
        n += cuda.gridDim.y


# --------------------------------------------------------------------------- folds of the window


@_kernel(over="folded")
def fold(inputs: Array, signs: Array, places: Array, folded: Array) -> None:
    """Add the inputs to their places of the window: `a'[t(j)] += ξ₂(j) a[j]`; the bias's input is 1.

    A thread has a place, and looks for its columns: no atomics, and sums in the CPU's order.
    """
    t, features = cuda.grid(1), inputs.shape[1]
    if t < folded.shape[1]:
        for j in range(signs.size):
            if places[j] == t:
                sign = folded.dtype.type(signs[j])
                n = cuda.blockIdx.y
                while n < folded.shape[0]:
                    folded[n, t] += sign * inputs[n, j] if j < features else sign
                    n += cuda.gridDim.y


@_kernel(over="grad_inputs")
def unfold(grad_folded: Array, signs: Array, places: Array, grad_inputs: Array) -> None:
    """Fill `grad_inputs` from the gradient of the folded: the transpose of `fold`."""
    j, n = cuda.grid(1), cuda.blockIdx.y
    if j < grad_inputs.shape[1]:
        while n < grad_inputs.shape[0]:
            grad_inputs[n, j] = grad_inputs.dtype.type(signs[j]) * grad_folded[n, places[j]]
            n += cuda.gridDim.y


# -------------------------------------------------------------------------------------- dropout


@_kernel(over="outputs")
def drop(inputs: Array, key: tuple[int, int, int], scale: Any, outputs: Array) -> None:
    """Fill `outputs` with `inputs · scale`, and with 0 where the hash of a place is below a threshold."""
    j, n = cuda.grid(1), cuda.blockIdx.y
    product = np.uint32(np.uint32(j) * hashing.PRIME3)
    if j < outputs.shape[1]:
        while n < outputs.shape[0]:
            h = absorb(_start_hash((key[1] + n) & 0xFFFFFFFF, key[0]), product)
            kept = avalanche(h) >= np.uint32(key[2])
            outputs[n, j] = inputs[n, j] * scale if kept else outputs.dtype.type(0)
            n += cuda.gridDim.y


# --------------------------------------------------------------------------- deterministic sums


def _binary_point(panel: Array) -> tuple[int, int, int, int]:
    """Return how floats become integers: bits of the mantissa and of the magnitude, exponents (biased)."""
    info = np.finfo(panel.dtype)
    # int32 is summed in int64, with room for any panel; int64 leaves room for the sum of all.
    digits = {"float32": 30, "float64": 62 - panel.size.bit_length()}[panel.dtype.name]
    bias = info.maxexp - 1
    return info.nmant, 2 ** (info.bits - 1) - 1, digits + bias, bias


@_device
def _shift(point, peak):  # type: ignore[no-untyped-def]
    """Return the power of two that numbers are scaled by; it and its inverse are not denormal."""
    return min(point[2] - (peak[0] >> point[0]), point[3] - 1)


@_device
def _is_finite(point, peak):  # type: ignore[no-untyped-def]
    return (peak[0] >> point[0]) <= 2 * point[3]


@_kernel(over="work")
def _set_zero(work: Array) -> None:
    k = cuda.grid(1)
    if k < work.size:
        work[k] = 0


@_kernel(over="integers")
def _find_peak(integers: Array, point: Any, peak: Array) -> None:
    """Raise `peak` to the bits of the panel's largest magnitude: they are ordered like the numbers."""
    largest = cuda.shared.array(1, np.int64)
    if cuda.threadIdx.x == 0:
        largest[0] = 0
    cuda.syncthreads()
    c, r, own = cuda.grid(1), cuda.blockIdx.y, np.int64(0)
    if c < integers.shape[1]:
        while r < integers.shape[0]:
            own = max(own, np.int64(np.int64(integers[r, c]) & point[1]))
            r += cuda.gridDim.y
    cuda.atomic.max(largest, 0, own)
    cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        cuda.atomic.max(peak, 0, largest[0])


@_kernel(over="panel")
def _to_integers(panel: Array, point: Any, peak: Array, integers: Array) -> None:
    """Scale the panel to integers, which lie in the same memory."""
    scale = panel.dtype.type(math.ldexp(panel.dtype.type(1), int(_shift(point, peak))))
    c, r = cuda.grid(1), cuda.blockIdx.y
    if c < panel.shape[1]:
        while r < panel.shape[0]:
            integers[r, c] = panel[r, c] * scale if _is_finite(point, peak) else panel.dtype.type(0)
            r += cuda.gridDim.y


@_kernel(over="totals")
def _add_integers(totals: Array, point: Any, peak: Array, grad_weight: Array) -> None:
    """Add the sums to the buckets, scaled back."""
    dtype = grad_weight.dtype
    k = cuda.grid(1)
    if k < totals.size:
        scale = dtype.type(math.ldexp(dtype.type(1), -int(_shift(point, peak))))
        grad_weight[k] += dtype.type(totals[k]) * scale if _is_finite(point, peak) else dtype.type(np.nan)


# -------------------------------------------------------------------------------- without panels


@_kernel(over="panel")
def _outer(grad_outputs: Array, inputs: Array, panel: Array) -> None:
    """Fill `panel` with `grad_outputsᵀ @ inputs`."""
    c, r = cuda.grid(1), cuda.blockIdx.y
    if c < panel.shape[1]:
        while r < panel.shape[0]:
            total = panel.dtype.type(0)
            for n in range(inputs.shape[0]):
                total += grad_outputs[n, r] * inputs[n, c]
            panel[r, c] = total
            r += cuda.gridDim.y


@_kernel(over="grad_inputs")
def _add_product(grad_outputs: Array, panel: Array, grad_inputs: Array) -> None:
    """Add `grad_outputs @ panel` to `grad_inputs`."""
    c, n = cuda.grid(1), cuda.blockIdx.y
    if c < panel.shape[1]:
        while n < grad_inputs.shape[0]:
            total = panel.dtype.type(0)
            for r in range(panel.shape[0]):
                total += grad_outputs[n, r] * panel[r, c]
            grad_inputs[n, c] += total
            n += cuda.gridDim.y


def _complete(
    locate: Kernel,
    expand: Kernel,
    aggregate: Callable[..., None],
    multiply: Kernel,
    one_slot_a_row: bool,
) -> Kernels:
    """Return all kernels of a map: those that are its own, and `gradients` made of them.

    It is for small products only, so its panel and slots are small.
    """

    def gradients(
        weight: Array,
        key: Key,
        origin: Origin,
        inputs: Array,
        grad_outputs: Array,
        grad_inputs: Array,
        grad_weight: Array,
    ) -> None:
        """Add the block's part of `grad_outputs @ V` to `grad_inputs`, and of eq. 12 to `grad_weight`."""
        rows, columns = grad_outputs.shape[1], inputs.shape[1]
        slots = LAUNCHER.empty((rows, 1 if one_slot_a_row else columns), np.uint32)
        panel = LAUNCHER.empty((rows, columns), weight.dtype)
        locate(key, origin, slots)
        _outer(grad_outputs, inputs, panel)
        aggregate(panel, slots, grad_weight)
        if grad_inputs.shape[0]:
            expand(weight, slots, panel)
            _add_product(grad_outputs, panel, grad_inputs)

    return Kernels(locate, expand, None, aggregate, multiply, gradients, one_slot_a_row)


def _maps(**options: bool) -> dict[str, Kernels]:
    return {
        "element": _complete(
            *(locate_element, expand_element, functools.partial(aggregate_element, **options)),
            *(multiply_element, False),
        ),
        "window": _complete(
            *(locate_window, expand_window, functools.partial(aggregate_window, **options)),
            *(multiply_window, True),
        ),
    }


KERNELS = _maps()
DETERMINISTIC = _maps(deterministic=True)  # the same results bit for bit, every time
