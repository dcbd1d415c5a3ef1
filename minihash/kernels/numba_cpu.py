"""The kernels compiled for the CPU.

Same kernels, same arguments and same order as numpy_cpu.py. They release the GIL, so that blocks
run in Python threads. Hashing a row first and indexing with it in a second loop lets the compiler
vectorise the hash; in one loop it does not, and takes several times as long. The same goes for the
signs: negated in a loop of their own they cost next to nothing.
"""

from __future__ import annotations

import numba
import numpy as np

from minihash import hashing
from minihash.kernels import Kernels
from minihash.kernels.compiling import kernel
from minihash.kernels.shared_numba import arrange, arrange_back, gather, scatter, transpose  # noqa: F401

SIGN = np.uint32(1 << 31)  # of a slot; the other bits are the bucket
BUCKET = np.uint32(SIGN - 1)
EVERY = np.uint32(2**32 - 1)
TILE = 4096  # slots that the kernels without panels hold
CACHED = 2**13  # weights that fit the L1 cache beside a row of inputs
BINS = 256  # of windows, by where they start

_inline = numba.njit(inline="always")


# A dot product is vectorised only where its terms may be summed in another order.
dot = kernel(fastmath={"reassoc", "contract", "nsz"})

absorb = _inline(hashing.absorb)
avalanche = _inline(hashing.avalanche)
scale_to_range = _inline(hashing.scale_to_range)


@_inline
def _start_hash(i, seed):  # type: ignore[no-untyped-def]
    return absorb(np.uint32(np.uint32(seed) + hashing.START), np.uint32(np.uint32(i) * hashing.PRIME3))


@_inline
def _slot(hashed, num_buckets, shift):  # type: ignore[no-untyped-def]
    """Return bucket and sign of a hash; shift is 1 for a signed map, whose highest bit is the sign."""
    bucket = scale_to_range(np.uint32(hashed << shift), num_buckets)
    return np.uint32(bucket | np.uint32(hashed & np.uint32(shift << np.uint32(31))))


@_inline
def _products(column, count):  # type: ignore[no-untyped-def]
    """Return what all rows share of the hashes of some columns."""
    products = np.empty(count, np.uint32)
    for c in range(count):
        products[c] = np.uint32(np.uint32(column + c) * hashing.PRIME3)
    return products


@_inline
def _locate(key, row, column, slots):  # type: ignore[no-untyped-def]
    seed, num_buckets, shift = key[0], np.uint64(key[1]), np.uint32(key[2])
    products = _products(column, slots.shape[1])
    for r in range(slots.shape[0]):
        h = _start_hash(row + r, seed)
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
        flat[place] = _slot(flat[place], num_buckets, shift)


@_inline
def _slots(rows, columns):  # type: ignore[no-untyped-def]
    """Return room for the slots of some rows: many, because a hash costs less in company."""
    return np.empty((min(rows, max(1, TILE // columns)), columns), np.uint32)


@_inline
def _expand_row(weight, slots, row):  # type: ignore[no-untyped-def]
    for c in range(row.size):
        row[c] = weight[slots[c] & BUCKET]
    for c in range(row.size):
        row[c] = -row[c] if slots[c] & SIGN else row[c]


@_inline
def _aggregate_row(grad_row, slots, grad_weight):  # type: ignore[no-untyped-def]
    for c in range(grad_row.size):
        grad_row[c] = -grad_row[c] if slots[c] & SIGN else grad_row[c]
    for c in range(grad_row.size):
        grad_weight[slots[c] & BUCKET] += grad_row[c]


@_inline
def _unpack(packed, k):  # type: ignore[no-untyped-def]
    """Return weight k of those that lie two in a byte."""
    return np.int64((packed[k >> np.uint32(1)] >> np.uint8((k & np.uint32(1)) << np.uint32(2))) & 15) - 8


# ---------------------------------------------------------------------------------- element map


@kernel
def locate_element(key, origin, slots):  # type: ignore[no-untyped-def]
    """Hash every position of the block into its slot."""
    _locate(key, origin[0], origin[1], slots)


@kernel
def expand_element(weight, slots, panel):  # type: ignore[no-untyped-def]
    """Fill `panel` with its block of V: eq. 7, `V[i, j] = ξ w[h(i, j)]`."""
    for r in range(panel.shape[0]):
        _expand_row(weight, slots[r], panel[r])


@kernel
def expand_packed_element(packed, num_buckets, slots, panel):  # type: ignore[no-untyped-def]
    """Fill `panel` with its block of V from weights of four bits."""
    for r in range(panel.shape[0]):
        for c in range(panel.shape[1]):
            slot = slots[r, c]
            value = _unpack(packed, slot & BUCKET)
            panel[r, c] = -value if slot & SIGN else value


@kernel
def aggregate_element(grad_panel, slots, grad_weight):  # type: ignore[no-untyped-def]
    """Add ∂L/∂V of a block to its buckets: eq. 12, a sum over each bucket. `grad_panel` is used up."""
    for r in range(grad_panel.shape[0]):
        _aggregate_row(grad_panel[r], slots[r], grad_weight)


@dot
def multiply_element(weight, key, origin, inputs, outputs):  # type: ignore[no-untyped-def]
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
def gradients_element(  # type: ignore[no-untyped-def]
    weight, key, origin, inputs, grad_outputs, grad_inputs, grad_weight
):
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


# ----------------------------------------------------------------------------------- window map


@_inline
def _start(key, i, column):  # type: ignore[no-untyped-def]
    """Return where the row's window, cut to start at `column`, starts, and its sign, as a slot."""
    num_buckets = np.uint64(key[1])
    h = absorb(_start_hash(i, key[0]), np.uint32(EVERY * hashing.PRIME3))
    slot = _slot(avalanche(h), num_buckets, np.uint32(key[2]))
    start = np.uint64(slot & BUCKET) + np.uint64(column)  # below 2K: no column is beyond the window
    start -= num_buckets if start >= num_buckets else np.uint64(0)
    return np.uint32(np.uint32(start) | np.uint32(slot & SIGN))


@_inline
def _pieces(slot, length, num_buckets):  # type: ignore[no-untyped-def]
    """Return start and sign of a window, and how much of it lies before the weights' end."""
    start = np.int64(slot & BUCKET)
    return start, min(np.int64(length), np.int64(num_buckets) - start), np.int64(1) - 2 * np.int64(slot >> 31)


@_inline
def _rows_by_start(key, origin, slots):  # type: ignore[no-untyped-def]
    """Fill the rows' slots, and return the rows in about the order of their windows.

    Windows that start near each other overlap: what one reads is in the L1 cache for the next.
    """
    rows, num_buckets = slots.size, np.uint64(key[1])
    order = np.arange(rows)
    for r in range(rows):
        slots[r] = _start(key, origin[0] + r, origin[1])
    if key[1] > CACHED:
        bins, ends = np.empty(rows, np.uint32), np.zeros(BINS + 1, np.int64)
        for r in range(rows):
            bins[r] = np.uint64(slots[r] & BUCKET) * np.uint64(BINS) // num_buckets
            ends[bins[r] + 1] += 1
        for b in range(BINS):
            ends[b + 1] += ends[b]
        for r in range(rows):
            order[ends[bins[r]]] = r
            ends[bins[r]] += 1
    return order


@kernel
def locate_window(key, origin, slots):  # type: ignore[no-untyped-def]
    """Hash every row of the block into its slot."""
    for r in range(slots.shape[0]):
        slots[r, 0] = _start(key, origin[0] + r, origin[1])


@kernel
def expand_window(weight, slots, panel):  # type: ignore[no-untyped-def]
    """Fill `panel` with its block of V: every row a copy of a window of the weights."""
    for r in range(panel.shape[0]):
        row = panel[r]
        start, before, sign = _pieces(slots[r, 0], row.size, weight.size)
        sign = weight.dtype.type(sign)
        window = weight[start : start + before]
        for c in range(before):
            row[c] = sign * window[c]
        for c in range(row.size - before):
            row[before + c] = sign * weight[c]


@kernel
def expand_packed_window(packed, num_buckets, slots, panel):  # type: ignore[no-untyped-def]
    """Fill `panel` with its block of V from weights of four bits."""
    for r in range(panel.shape[0]):
        start, before, sign = _pieces(slots[r, 0], panel.shape[1], num_buckets)
        for c in range(panel.shape[1]):
            k = np.uint32(start + c if c < before else c - before)
            panel[r, c] = sign * _unpack(packed, k)


@kernel
def aggregate_window(grad_panel, slots, grad_weight):  # type: ignore[no-untyped-def]
    """Add ∂L/∂V of a block to the weights: every row to its window."""
    for r in range(grad_panel.shape[0]):
        row = grad_panel[r]
        start, before, sign = _pieces(slots[r, 0], row.size, grad_weight.size)
        sign = grad_weight.dtype.type(sign)
        window = grad_weight[start : start + before]
        for c in range(before):
            window[c] += sign * row[c]
        for c in range(row.size - before):
            grad_weight[c] += sign * row[before + c]


@dot
def multiply_window(weight, key, origin, inputs, outputs):  # type: ignore[no-untyped-def]
    """Add the block's part of `inputs @ Vᵀ` to `outputs`: dot products straight over the weights."""
    slots = np.empty(outputs.shape[1], np.uint32)
    for r in _rows_by_start(key, origin, slots):
        start, before, sign = _pieces(slots[r], inputs.shape[1], weight.size)
        window = weight[start : start + before]
        for n in range(outputs.shape[0]):
            row = inputs[n]
            total = weight.dtype.type(0)
            for c in range(before):
                total += window[c] * row[c]
            for c in range(row.size - before):
                total += weight[c] * row[before + c]
            outputs[n, r] += weight.dtype.type(sign) * total


@kernel
def gradients_window(  # type: ignore[no-untyped-def]
    weight, key, origin, inputs, grad_outputs, grad_inputs, grad_weight
):
    """Add the block's part of `grad_outputs @ V` to `grad_inputs`, and of eq. 12 to `grad_weight`."""
    for r in range(grad_outputs.shape[1]):
        slot = _start(key, origin[0] + r, origin[1])
        start, before, sign = _pieces(slot, inputs.shape[1], weight.size)
        window, grad_window = weight[start : start + before], grad_weight[start : start + before]
        for n in range(grad_outputs.shape[0]):
            grad = weight.dtype.type(sign) * grad_outputs[n, r]
            row = inputs[n]
            for c in range(before):
                grad_window[c] += grad * row[c]
            for c in range(row.size - before):
                grad_weight[c] += grad * row[before + c]
            if grad_inputs.shape[0]:
                grad_row = grad_inputs[n]
                for c in range(before):
                    grad_row[c] += grad * window[c]
                for c in range(row.size - before):
                    grad_row[before + c] += grad * weight[c]


# -------------------------------------------------------------------------------------- tile map


@_inline
def _tile(key, i, segment):  # type: ignore[no-untyped-def]
    """Return where the tile of a row and segment starts, and its sign, as a slot."""
    num_buckets, tile = np.int64(key[1]), np.int64(key[3])
    h = absorb(_start_hash(i, key[0]), np.uint32(np.uint32(segment) * hashing.PRIME3))
    slot = _slot(avalanche(h), np.uint64((num_buckets + tile - 1) // tile), np.uint32(key[2]))
    start = min(np.int64(slot & BUCKET) * tile, num_buckets - tile)  # the last may overlap the one before
    return np.uint32(np.uint32(start) | np.uint32(slot & SIGN))


@_inline
def _stretch(column, end, tile):  # type: ignore[no-untyped-def]
    """Return the segment of a column, its place in it, and how many columns of it come before `end`."""
    segment, offset = column // tile, column % tile
    return segment, offset, min(tile - offset, end - column)


@kernel
def locate_tile(key, origin, slots):  # type: ignore[no-untyped-def]
    """Fill the slots of the block: a hash for every row and segment, consecutive buckets within."""
    for r in range(slots.shape[0]):
        row, c = slots[r], 0
        while c < row.size:
            segment, offset, length = _stretch(origin[1] + c, origin[1] + row.size, key[3])
            first = np.uint32(_tile(key, origin[0] + r, segment) + np.uint32(offset))
            for u in range(length):
                row[c + u] = np.uint32(first + np.uint32(u))
            c += length


@dot
def multiply_tile(weight, key, origin, inputs, outputs):  # type: ignore[no-untyped-def]
    """Add the block's part of `inputs @ Vᵀ` to `outputs`: dot products straight over the tiles."""
    columns = inputs.shape[1]
    for r in range(outputs.shape[1]):
        c = 0
        while c < columns:
            segment, offset, length = _stretch(origin[1] + c, origin[1] + columns, key[3])
            slot = _tile(key, origin[0] + r, segment)
            start = np.int64(slot & BUCKET) + offset
            tile, sign = weight[start : start + length], weight.dtype.type(-1 if slot & SIGN else 1)
            for n in range(outputs.shape[0]):
                row, total = inputs[n, c : c + length], weight.dtype.type(0)
                for u in range(length):
                    total += tile[u] * row[u]
                outputs[n, r] += sign * total
            c += length


@kernel
def gradients_tile(  # type: ignore[no-untyped-def]
    weight, key, origin, inputs, grad_outputs, grad_inputs, grad_weight
):
    """Add the block's part of `grad_outputs @ V` to `grad_inputs`, and of eq. 12 to `grad_weight`."""
    columns = inputs.shape[1]
    for r in range(grad_outputs.shape[1]):
        c = 0
        while c < columns:
            segment, offset, length = _stretch(origin[1] + c, origin[1] + columns, key[3])
            slot = _tile(key, origin[0] + r, segment)
            start = np.int64(slot & BUCKET) + offset
            tile, grad_tile = weight[start : start + length], grad_weight[start : start + length]
            for n in range(grad_outputs.shape[0]):
                grad = weight.dtype.type(-1 if slot & SIGN else 1) * grad_outputs[n, r]
                row = inputs[n, c : c + length]
                for u in range(length):
                    grad_tile[u] += grad * row[u]
                if grad_inputs.shape[0]:
                    grad_row = grad_inputs[n, c : c + length]
                    for u in range(length):
                        grad_row[u] += grad * tile[u]
            c += length


# --------------------------------------------------------------------------- folds of the window


@kernel
def fold(inputs, signs, places, folded):  # type: ignore[no-untyped-def]
    """Add the inputs to their places of the window: `a'[t(j)] += ξ₂(j) a[j]`; the bias's input is 1."""
    features = inputs.shape[1]
    for n in range(inputs.shape[0]):
        row, into = inputs[n], folded[n]
        for j in range(features):
            into[places[j]] += signs[j] * row[j]
        for j in range(features, signs.size):
            into[places[j]] += signs[j]


@kernel
def unfold(grad_folded, signs, places, grad_inputs):  # type: ignore[no-untyped-def]
    """Fill `grad_inputs` from the gradient of the folded: the transpose of `fold`."""
    for n in range(grad_inputs.shape[0]):
        row, out_of = grad_inputs[n], grad_folded[n]
        for j in range(row.size):
            row[j] = signs[j] * out_of[places[j]]


# -------------------------------------------------------------------------------------- dropout


@kernel
def drop(inputs, key, scale, outputs):  # type: ignore[no-untyped-def]
    """Fill `outputs` with `inputs · scale`, and with 0 where the hash of a place is below a threshold."""
    seed, row, threshold = key[0], key[1], np.uint32(key[2])
    products, zero = _products(0, inputs.shape[1]), outputs.dtype.type(0)
    hashed = np.empty_like(products)
    for n in range(inputs.shape[0]):
        h, values, kept = _start_hash((row + n) & 0xFFFFFFFF, seed), inputs[n], outputs[n]
        for j in range(products.size):
            hashed[j] = avalanche(absorb(h, products[j]))
        for j in range(products.size):
            kept[j] = values[j] * scale if hashed[j] >= threshold else zero


KERNELS = {
    "element": Kernels(
        *(locate_element, expand_element, expand_packed_element),
        *(aggregate_element, multiply_element, gradients_element),
        one_slot_a_row=False,
    ),
    "window": Kernels(
        *(locate_window, expand_window, expand_packed_window),
        *(aggregate_window, multiply_window, gradients_window),
        one_slot_a_row=True,
    ),
    "tile": Kernels(
        *(locate_tile, expand_element, expand_packed_element),
        *(aggregate_element, multiply_tile, gradients_tile),
        one_slot_a_row=False,
    ),
}
