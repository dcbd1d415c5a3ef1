"""The kernels compiled for the CPU.

Same kernels, same arguments and same order as numpy_cpu.py. They release the GIL, so that blocks
run in Python threads. Hashing a row first and indexing with it in a second loop lets the compiler
vectorise the hash; in one loop it does not, and takes several times as long. The same goes for the
signs: negated in a loop of their own they cost next to nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numba
import numpy as np

from minihash import hashing
from minihash.hashing import SIGN, TILE
from minihash.kernels import Kernels, complete
from minihash.kernels.compiling import inline, kernel, with_callees
from minihash.kernels.shared_numba import (  # noqa: F401
    arrange,
    arrange_back,
    gather,
    multiply_row,
    scatter,
    transpose,
)

SLOTS = 4096  # that the kernels without panels hold


# A dot product is vectorised only where its terms may be summed in another order.
dot = kernel(fastmath={"reassoc", "contract", "nsz"})

slot = with_callees(hashing.slot, inline)
signed_slot = with_callees(hashing.signed_slot, inline)
absorb_row = with_callees(hashing.absorb_row, inline)
absorb = inline(hashing.absorb)
avalanche = inline(hashing.avalanche)


@inline
def _products(column, count):
    """Return what all rows share of the hashes of some columns."""
    products = np.empty(count, np.uint32)
    for c in range(count):
        products[c] = np.uint32(np.uint32(column + c) * hashing.PRIME3)
    return products


@inline
def _locate(key, row, column, slots):
    """Fill slots as `slot` has them, several times as fast: what rows and columns share is done once."""
    seed, num_buckets, shift = key[0], np.uint64(key[1]), np.uint32(key[2])
    products = _products(column, slots.shape[1])
    for r in range(slots.shape[0]):
        h = absorb_row(row + r, seed)
        hashed = slots[r]
        for c in range(products.size):
            hashed[c] = avalanche(absorb(h, products[c]))
    # In a second loop, and two at a time in 64 bits: the product of a half and K needs no conversion.
    flat = slots.reshape(-1)
    pairs = flat[: flat.size // 2 * 2].view(np.uint64)
    low = np.uint64(0xFFFFFFFF) >> np.uint64(shift)
    scale = num_buckets << np.uint64(shift)
    sign = np.uint64(SIGN) * np.uint64(shift)
    for place in range(pairs.size):
        pair = pairs[place]
        first = ((pair & low) * scale) >> np.uint64(32)
        second = ((pair >> np.uint64(32)) & low) * scale & np.uint64(0xFFFFFFFF00000000)
        pairs[place] = first | second | (pair & (sign | (sign << np.uint64(32))))
    for place in range(pairs.size * 2, flat.size):
        flat[place] = signed_slot(flat[place], num_buckets, shift)


@inline
def _slots(rows, columns):
    """Return room for the slots of some rows: many, because a hash costs less in company."""
    return np.empty((min(rows, max(1, SLOTS // columns)), columns), np.uint32)


@inline
def _expand_row(weight, slots, row):
    for c in range(row.size):
        row[c] = weight[slots[c] & TILE]
    for c in range(row.size):
        row[c] = -row[c] if slots[c] & SIGN else row[c]


@inline
def _aggregate_row(grad_row, slots, grad_weight):
    for c in range(grad_row.size):
        grad_row[c] = -grad_row[c] if slots[c] & SIGN else grad_row[c]
    for c in range(grad_row.size):
        grad_weight[slots[c] & TILE] += grad_row[c]


@kernel
def locate(key, origin, slots):
    """Fill the slots of the block: tile and sign of every row and segment."""
    _locate(key, origin[0], origin[1], slots)


# ------------------------------------------------------------------------ single weights: B = 1


@kernel
def expand_element(weight, slots, span, panel):
    """Fill `panel` with its block of V: eq. 7, `V[i, j] = ξ w[h(i, j)]`."""
    for r in range(panel.shape[0]):
        _expand_row(weight, slots[r], panel[r])


@kernel
def aggregate_element(grad_panel, slots, span, grad_weight):
    """Add ∂L/∂V of a block to its buckets: eq. 12, a sum over each bucket. `grad_panel` is used up."""
    for r in range(grad_panel.shape[0]):
        _aggregate_row(grad_panel[r], slots[r], grad_weight)


@dot
def multiply_element(weight, key, origin, span, inputs, outputs):
    """Add the block's part of `inputs @ Vᵀ` to `outputs`: eq. 8."""
    rows, columns = outputs.shape[1], inputs.shape[1]
    slots, row = _slots(rows, columns), np.empty(columns, weight.dtype)
    for top in range(0, rows, slots.shape[0]):
        block = slots[: rows - top]
        _locate(key, origin[0] + top, origin[1], block)
        for r in range(block.shape[0]):
            _expand_row(weight, block[r], row)
            for n in range(outputs.shape[0]):
                total = weight.dtype.type(0)
                for c in range(columns):
                    total += inputs[n, c] * row[c]
                outputs[n, top + r] += total


@kernel
def gradients_element(weight, key, origin, span, inputs, grad_outputs, grad_inputs, grad_weight):
    """Add the block's part of `grad_outputs @ V` to `grad_inputs`, and of eq. 12 to `grad_weight`."""
    rows, columns = grad_outputs.shape[1], inputs.shape[1]
    slots, row = _slots(rows, columns), np.empty(columns, weight.dtype)
    for top in range(0, rows, slots.shape[0]):
        block = slots[: rows - top]
        _locate(key, origin[0] + top, origin[1], block)
        for r in range(block.shape[0]):
            row[:] = 0
            for n in range(grad_outputs.shape[0]):
                grad = grad_outputs[n, top + r]
                for c in range(columns):
                    row[c] += grad * inputs[n, c]
            _aggregate_row(row, block[r], grad_weight)
            if grad_inputs.shape[0]:
                _expand_row(weight, block[r], row)
                for n in range(grad_outputs.shape[0]):
                    grad = grad_outputs[n, top + r]
                    for c in range(columns):
                        grad_inputs[n, c] += grad * row[c]


# -------------------------------------------------------------------------- tiles of more weights


@inline
def _stretch(slot, span, num_buckets, segment, left):
    """Return where in the weights a row goes on in a segment, for how many columns, and its sign."""
    tile, offset = span[0], span[1] if segment == 0 else 0
    start = min(np.int64(slot & TILE) * tile, num_buckets - tile)  # the last may overlap the one before
    return start + offset, min(tile - offset, left), np.int64(1) - 2 * np.int64(slot >> np.uint32(31))


@kernel
def expand_tiles(weight, slots, span, panel):
    """Fill `panel` with its block of V: eq. 7, every row copied tile by tile."""
    for r in range(panel.shape[0]):
        c = 0
        for s in range(slots.shape[1]):
            start, length, sign = _stretch(slots[r, s], span, weight.size, s, panel.shape[1] - c)
            tile, row = weight[start : start + length], panel[r, c : c + length]
            sign = weight.dtype.type(sign)
            for u in range(length):
                row[u] = sign * tile[u]
            c += length


@kernel
def aggregate_tiles(grad_panel, slots, span, grad_weight):
    """Add ∂L/∂V of a block to its buckets: eq. 12, every row tile by tile. `grad_panel` is used up."""
    for r in range(grad_panel.shape[0]):
        c = 0
        for s in range(slots.shape[1]):
            start, length, sign = _stretch(slots[r, s], span, grad_weight.size, s, grad_panel.shape[1] - c)
            row, sign = grad_panel[r, c : c + length], grad_weight.dtype.type(sign)
            grad_tile = grad_weight[start : start + length]
            for u in range(length):
                grad_tile[u] += sign * row[u]
            c += length


@dot
def multiply_tiles(weight, key, origin, span, inputs, outputs):
    """Add the block's part of `inputs @ Vᵀ` to `outputs`: dot products straight over the tiles."""
    columns = inputs.shape[1]
    for r in range(outputs.shape[1]):
        c = s = 0
        while c < columns:
            place = slot(key, origin[0] + r, origin[1] + s)
            start, length, sign = _stretch(place, span, weight.size, s, columns - c)
            tile, sign = weight[start : start + length], weight.dtype.type(sign)
            for n in range(outputs.shape[0]):
                row, total = inputs[n, c : c + length], weight.dtype.type(0)
                for u in range(length):
                    total += tile[u] * row[u]
                outputs[n, r] += sign * total
            c += length
            s += 1


@kernel
def gradients_tiles(weight, key, origin, span, inputs, grad_outputs, grad_inputs, grad_weight):
    """Add the block's part of `grad_outputs @ V` to `grad_inputs`, and of eq. 12 to `grad_weight`."""
    columns = inputs.shape[1]
    for r in range(grad_outputs.shape[1]):
        c = s = 0
        while c < columns:
            place = slot(key, origin[0] + r, origin[1] + s)
            start, length, sign = _stretch(place, span, weight.size, s, columns - c)
            tile, grad_tile = weight[start : start + length], grad_weight[start : start + length]
            for n in range(grad_outputs.shape[0]):
                grad, row = weight.dtype.type(sign) * grad_outputs[n, r], inputs[n, c : c + length]
                for u in range(length):
                    grad_tile[u] += grad * row[u]
                if grad_inputs.shape[0]:
                    grad_row = grad_inputs[n, c : c + length]
                    for u in range(length):
                        grad_row[u] += grad * tile[u]
            c += length
            s += 1


# -------------------------------------------------------------------------------------- dropout


@kernel
def drop(inputs, key, scale, outputs):
    """Fill `outputs` with `inputs · scale`, and with 0 where the hash of a place is below a threshold."""
    seed, row, threshold = key[0], key[1], np.uint32(key[2])
    products, zero = _products(0, inputs.shape[1]), outputs.dtype.type(0)
    hashed = np.empty_like(products)
    for n in range(inputs.shape[0]):
        h, values, kept = absorb_row((row + n) & hashing.LARGEST, seed), inputs[n], outputs[n]
        for j in range(products.size):
            hashed[j] = avalanche(absorb(h, products[j]))
        for j in range(products.size):
            kept[j] = values[j] * scale if hashed[j] >= threshold else zero


@functools.cache
def of_slot(own: Callable) -> Kernels:
    """Return the kernels of a map with a slot of its own, which is compiled at its first use."""
    compiled = with_callees(own, numba.njit)

    @numba.njit(nogil=True)
    def locate(key, origin, slots):
        for r in range(slots.shape[0]):
            for s in range(slots.shape[1]):
                slots[r, s] = compiled(key, origin[0] + r, origin[1] + s)

    return complete(locate, expand_tiles, aggregate_tiles)


KERNELS = {
    "element": Kernels(locate, expand_element, aggregate_element, multiply_element, gradients_element),
    "tiles": Kernels(locate, expand_tiles, aggregate_tiles, multiply_tiles, gradients_tiles),
}
