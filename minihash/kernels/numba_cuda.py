"""The kernels compiled for a GPU.

Same kernels, same arguments and same order as numba_cpu.py; arrays are on the device (of Numba or CuPy). A
thread has a column of the block and some of its rows, so that neighbours read and write neighbours in
memory. Every step of the hash is cast to 32 bits, as hashing.py explains; loops are written with `while`
because a `range` with a step costs a 64-bit division.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda

from minihash import hashing
from minihash.hashing import SIGN, TILE
from minihash.kernels import Kernels, Key, Origin, Span
from minihash.kernels.compiling import with_callees
from minihash.kernels.cuda_launching import LAUNCHER, Array, Kernel, launched
from minihash.kernels.shared_cuda import arrange, arrange_back, gather, scatter, transpose  # noqa: F401

_device = cuda.jit(device=True, inline="always")

slot = with_callees(hashing.slot, _device)
hash_position = with_callees(hashing.hash_position, _device)


# --------------------------------------------------------------------------------- inside a block


@_device
def _place(c, span):
    """Return in which segment a column of the block is, and where there; single weights need no division."""
    at = np.uint32(span[1] + c)
    segment = at if span[0] == 1 else at // np.uint32(span[0])
    return segment, at - segment * np.uint32(span[0])


@_device
def _bucket(slot, offset, span, num_buckets):
    """Return where a weight is stored: `offset` places behind the start of the tile that a slot names."""
    return min((slot & TILE) * np.uint32(span[0]), np.uint32(num_buckets - span[0])) + offset


@_device
def _look_up(weight, slot, offset, span):
    value = weight[_bucket(slot, offset, span, weight.size)]
    return -value if slot & SIGN else value


@_device
def _set_partial(partial):
    """Set the block's own sums to zero; there are none if they do not pay."""
    k = cuda.threadIdx.x
    while k < partial.size:
        partial[k] = 0
        k += cuda.blockDim.x
    cuda.syncthreads()


@_device
def _add(partial, grad_weight, k, value):
    if partial.size:
        cuda.atomic.add(partial, k, value)
    else:
        cuda.atomic.add(grad_weight, k, value)


@_device
def _add_partial(partial, grad_weight):
    """Add the block's own sums to all blocks'."""
    cuda.syncthreads()
    k = cuda.threadIdx.x
    while k < partial.size:
        if partial[k] != 0:
            cuda.atomic.add(grad_weight, k, partial[k])
        k += cuda.blockDim.x


@_device
def _sum_block(terms):
    """Sum a term of each thread into the first's, the same pairs every time; the others are free again."""
    t, count = cuda.threadIdx.x, terms.size
    cuda.syncthreads()
    while count > 1:
        half = (count + 1) >> 1
        if t < count - half:
            terms[t] += terms[t + half]
        cuda.syncthreads()
        count = half


@launched(over="slots")
def locate(key: Key, origin: Origin, slots: Array) -> None:
    """Fill the slots of the block: tile and sign of every row and segment."""
    c, r = cuda.grid(1), cuda.blockIdx.y
    if c < slots.shape[1]:
        while r < slots.shape[0]:
            slots[r, c] = slot(key, origin[0] + r, origin[1] + c)
            r += cuda.gridDim.y


@launched(over="panel")
def expand(weight: Array, slots: Array, span: Span, panel: Array) -> None:
    """Fill `panel` with its block of V: eq. 7, `V[i, j] = ξ w[h(i, j)]`."""
    c, r = cuda.grid(1), cuda.blockIdx.y
    if c < panel.shape[1]:
        segment, offset = _place(c, span)
        while r < panel.shape[0]:
            panel[r, c] = _look_up(weight, slots[r, segment], offset, span)
            r += cuda.gridDim.y


class Aggregate(Kernel):
    """A kernel that sums into buckets; with `deterministic` to the same bits, whichever thread comes first.

    The order of atomic additions is nobody's, and floats remember it. Whole numbers do not: the panel is
    scaled, in place, to integers of its largest number's exponent, the same kernel sums those, and
    the sums are scaled back. A float32 is kept to 2⁻³⁰ of the panel's largest, a float64 of n numbers
    to n · 2⁻⁶¹ of it. Where one number of the panel is not finite, every sum becomes NaN.
    """

    def __call__(self, *arguments: Any, deterministic: bool = False) -> None:
        grad_panel, slots, span, grad_weight = arguments
        if not deterministic or not grad_panel.size:
            super().__call__(grad_panel, slots, span, grad_weight)
            return
        point = _binary_point(grad_panel)
        integers = grad_panel.view(f"i{grad_panel.dtype.itemsize}")
        work = LAUNCHER.empty(grad_weight.size + 1, np.int64)
        totals, peak = work[: grad_weight.size], work[grad_weight.size :]
        _set_zero(work)
        _find_peak(integers, point, peak)
        _to_integers(grad_panel, point, peak, integers)
        super().__call__(integers, slots, span, totals)
        _add_integers(totals, point, peak, grad_weight)


@launched(over="grad_panel", plan="sums", made=Aggregate)
def aggregate(grad_panel: Array, slots: Array, span: Span, grad_weight: Array) -> None:
    """Add ∂L/∂V of a block to its buckets: eq. 12, a sum over each bucket. `grad_panel` is used up."""
    partial = cuda.shared.array(0, grad_weight.dtype)
    _set_partial(partial)
    c, r = cuda.grid(1), cuda.blockIdx.y
    if c < grad_panel.shape[1]:
        segment, offset = _place(c, span)
        while r < grad_panel.shape[0]:
            drawn, grad = slots[r, segment], grad_panel[r, c]
            k = _bucket(drawn, offset, span, grad_weight.size)
            _add(partial, grad_weight, k, -grad if drawn & SIGN else grad)
            r += cuda.gridDim.y
    _add_partial(partial, grad_weight)


@launched(over="outputs", plan="dots")
def multiply(
    weight: Array, key: Key, origin: Origin, span: Span, inputs: Array, outputs: Array
) -> None:
    """Add the block's part of `inputs @ Vᵀ` to `outputs`: eq. 8; V is never in memory."""
    terms = cuda.shared.array(0, weight.dtype)
    r, n = cuda.blockIdx.x, cuda.blockIdx.y
    while n < outputs.shape[0]:
        total, c = weight.dtype.type(0), cuda.threadIdx.x
        while c < inputs.shape[1]:
            segment, offset = _place(c, span)
            drawn = slot(key, origin[0] + r, origin[1] + segment)
            total += inputs[n, c] * _look_up(weight, drawn, offset, span)
            c += cuda.blockDim.x
        terms[cuda.threadIdx.x] = total
        _sum_block(terms)
        if cuda.threadIdx.x == 0:
            outputs[n, r] += terms[0]
        n += cuda.gridDim.y


# -------------------------------------------------------------------------------------- dropout


@launched(over="outputs")
def drop(inputs: Array, key: tuple[int, int, int], scale: Any, outputs: Array) -> None:
    """Fill `outputs` with `inputs · scale`, and with 0 where the hash of a place is below a threshold."""
    j, n = cuda.grid(1), cuda.blockIdx.y
    if j < outputs.shape[1]:
        while n < outputs.shape[0]:
            kept = hash_position((key[1] + n) & hashing.LARGEST, j, key[0]) >= np.uint32(key[2])
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
def _shift(point, peak):
    """Return the power of two that numbers are scaled by; it and its inverse are not denormal."""
    return min(point[2] - (peak[0] >> point[0]), point[3] - 1)


@_device
def _is_finite(point, peak):
    return (peak[0] >> point[0]) <= 2 * point[3]


@launched(over="work")
def _set_zero(work: Array) -> None:
    k = cuda.grid(1)
    if k < work.size:
        work[k] = 0


@launched(over="integers")
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


@launched(over="panel")
def _to_integers(panel: Array, point: Any, peak: Array, integers: Array) -> None:
    """Scale the panel to integers, which lie in the same memory."""
    scale = panel.dtype.type(math.ldexp(panel.dtype.type(1), int(_shift(point, peak))))
    c, r = cuda.grid(1), cuda.blockIdx.y
    if c < panel.shape[1]:
        while r < panel.shape[0]:
            integers[r, c] = panel[r, c] * scale if _is_finite(point, peak) else panel.dtype.type(0)
            r += cuda.gridDim.y


@launched(over="totals")
def _add_integers(totals: Array, point: Any, peak: Array, grad_weight: Array) -> None:
    """Add the sums to the buckets, scaled back."""
    dtype = grad_weight.dtype
    k = cuda.grid(1)
    if k < totals.size:
        scale = dtype.type(math.ldexp(dtype.type(1), -int(_shift(point, peak))))
        grad_weight[k] += dtype.type(totals[k]) * scale if _is_finite(point, peak) else dtype.type(np.nan)


# -------------------------------------------------------------------------------- without panels


@launched(over="panel")
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


@launched(over="grad_inputs")
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


def _gradients(aggregate, weight, key, origin, span, inputs, grad_outputs, grad_inputs, grad_weight):
    """Add the block's part of `grad_outputs @ V` to `grad_inputs`, and of eq. 12 to `grad_weight`."""
    rows, columns = grad_outputs.shape[1], inputs.shape[1]
    slots = LAUNCHER.empty((rows, -(-(span[1] + columns) // span[0])), np.uint32)
    panel = LAUNCHER.empty((rows, columns), weight.dtype)
    locate(key, origin, slots)
    _outer(grad_outputs, inputs, panel)
    aggregate(panel, slots, span, grad_weight)
    if grad_inputs.shape[0]:
        expand(weight, slots, span, panel)
        _add_product(grad_outputs, panel, grad_inputs)


def _kernels(aggregate: Callable[..., None]) -> dict[str, Kernels]:
    gradients = functools.partial(_gradients, aggregate)
    return dict.fromkeys(("element", "tiles"), Kernels(locate, expand, aggregate, multiply, gradients))


KERNELS = _kernels(aggregate)
#: The same results bit for bit, every time.
DETERMINISTIC = _kernels(functools.partial(aggregate, deterministic=True))
