"""Kernels of shared products on a GPU: the same as in shared_numpy.py, which explains them.

Nothing is summed by two threads: `scatter` sorts the rows by what they drew, and a thread sums a product's
gradient. So its bits are always the same.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from minihash.hashing import SIGN, TILE
from minihash.kernels.cuda_launching import LAUNCHER, Array, launched


@cuda.jit(device=True, inline="always")
def _split(place, tile):
    """Return the segment of a place, and the offset in it."""
    segment = place // np.uint32(tile)
    return segment, place - segment * np.uint32(tile)


def arrange(inputs: Array, places: Array, signs: Array, tile: int, arranged: Array) -> None:
    """Fill `arranged` (B, G · batch): `a'[u, g, n] = ξ₂(j) a[n, j]`, zeros where no column is."""
    if arranged.size > places.size * len(inputs):
        arranged[...] = 0
    _arrange(places, inputs, signs, tile, arranged)


@launched(over="places", plan="columns")
def _arrange(places: Array, inputs: Array, signs: Array, tile: int, arranged: Array) -> None:
    """Copy a column of the inputs to its place, with its sign; a bias is fed by 1."""
    j, n = cuda.grid(1), cuda.blockIdx.y
    if j < places.size:
        batch, features = inputs.shape
        segment, offset = _split(places[j], tile)
        one = inputs.dtype.type(1)
        while n < batch:
            value = inputs[n, j] if j < features else one
            arranged[offset, segment * batch + n] = -value if signs[j] < 0 else value
            n += cuda.gridDim.y


@launched(over="grad_inputs")
def arrange_back(grad_arranged: Array, places: Array, signs: Array, tile: int, grad_inputs: Array) -> None:
    """Fill `grad_inputs` (batch, features) from the gradient of the arranged: the transpose of `arrange`."""
    j, n = cuda.grid(1), cuda.blockIdx.y
    if j < grad_inputs.shape[1]:
        batch = grad_inputs.shape[0]
        segment, offset = _split(places[j], tile)
        while n < batch:
            value = grad_arranged[offset, segment * batch + n]
            grad_inputs[n, j] = -value if signs[j] < 0 else value
            n += cuda.gridDim.y


def transpose(source: Array, target: Array) -> None:
    """Fill `target` with the transpose of `source`."""
    target[...] = source.T


@launched(over="outputs")
def gather(products: Array, slots: Array, outputs: Array) -> None:
    """Fill `outputs` (rows, batch): `z[i, n] = Σ_g ξ₁(i, g) · P[τ(i, g), g, n]`."""
    n, r = cuda.grid(1), cuda.blockIdx.y
    if n < outputs.shape[1]:
        while r < outputs.shape[0]:
            total = outputs.dtype.type(0)
            for g in range(slots.shape[1]):
                product = products[slots[r, g] & TILE, g, n]
                total += -product if slots[r, g] & SIGN else product
            outputs[r, n] = total
            r += cuda.gridDim.y


def scatter(grad_outputs: Array, slots: Array, grad_products: Array) -> None:
    """Fill `grad_products` (T, G, batch), `Q[τ, g, n] = Σ_{i: τ(i, g) = τ} ξ₁(i, g) · δ[i, n]`."""
    tiles, segments, batch = grad_products.shape
    keys = LAUNCHER.empty(slots.size, np.uint64)
    starts = LAUNCHER.empty(tiles * segments + 1, np.uint32)
    _make_keys(slots, keys)
    LAUNCHER.sort(keys)
    _find_starts(keys, starts)
    _sum_rows(grad_outputs, keys, starts, grad_products.reshape(tiles * segments, batch))


@launched(over="slots")
def _make_keys(slots: Array, keys: Array) -> None:
    """Fill `keys` with numbers that sort rows by tile and segment, and then by sign and row.

    The upper 32 bits are τG + g, the lower ones the sign and the row.
    """
    g, r = cuda.grid(1), cuda.blockIdx.y
    rows, segments = slots.shape
    if g < segments:
        while r < rows:
            place = np.uint64(slots[r, g] & TILE) * np.uint64(segments) + np.uint64(g)
            keys[r * segments + g] = place << np.uint64(32) | np.uint64(slots[r, g] & SIGN) | np.uint64(r)
            r += cuda.gridDim.y


@launched(over="keys")
def _find_starts(keys: Array, starts: Array) -> None:
    """Fill `starts` with where the rows of every tile and segment begin among the keys."""
    k = cuda.grid(1)
    if k < keys.size:
        place = np.int64(keys[k] >> np.uint64(32))
        first = np.int64(keys[k - 1] >> np.uint64(32)) + 1 if k else 0
        while first <= place:  # places that nobody drew begin where the next does
            starts[first] = k
            first += 1
        if k == keys.size - 1:
            while first < starts.size:
                starts[first] = keys.size
                first += 1


@launched(over="grad_products")
def _sum_rows(grad_outputs: Array, keys: Array, starts: Array, grad_products: Array) -> None:
    """Fill `grad_products` (T · G, batch): a thread sums the rows that drew a tile in a segment."""
    n, q = cuda.grid(1), cuda.blockIdx.y
    if n < grad_products.shape[1]:
        while q < grad_products.shape[0]:
            total = grad_products.dtype.type(0)
            for k in range(starts[q], starts[q + 1]):
                row = np.uint32(keys[k])
                grad = grad_outputs[row & TILE, n]
                total += -grad if row & SIGN else grad
            grad_products[q, n] = total
            q += cuda.gridDim.y
