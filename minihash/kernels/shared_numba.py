"""Kernels of shared products, compiled for the CPU: the same as in shared_numpy.py, which explains them.

The batch is innermost: a row of products, or of outputs, is contiguous, and its loops are vectorised. What
goes between that order and (batch, features) is copied eight rows of a batch at a time: so many cache lines
with a stride of a power of two fit a set of the L1 cache, and LLVM writes eight numbers at once.
"""

from __future__ import annotations

import numpy as np

from minihash.hashing import SIGN, TILE
from minihash.kernels import Array
from minihash.kernels.compiling import inline, kernel

_add = kernel(fastmath={"contract", "nsz"})


@inline
def _starts(places, tile, width, batch):
    """Return where each column starts in the arranged: a division takes as long as the copies of a column."""
    starts = np.empty(places.size, np.int64)
    for j in range(places.size):
        segment = np.uint32(places[j] // np.uint32(tile))
        starts[j] = np.int64(places[j] - segment * np.uint32(tile)) * width + np.int64(segment) * batch
    return starts


@kernel
def arrange(inputs: Array, places: Array, signs: Array, tile: int, arranged: Array) -> None:
    """Fill `arranged` (B, G · batch): `a'[u, g, n] = ξ₂(j) a[n, j]`, zeros where no column is."""
    batch, features = inputs.shape
    flat, one = arranged.reshape(-1), inputs.dtype.type(1)
    starts = _starts(places, tile, arranged.shape[1], batch)
    if arranged.size > places.size * batch:
        flat[:] = 0
    for top in range(0, batch - 7, 8):
        r0, r1, r2, r3 = inputs[top], inputs[top + 1], inputs[top + 2], inputs[top + 3]
        r4, r5, r6, r7 = inputs[top + 4], inputs[top + 5], inputs[top + 6], inputs[top + 7]
        for j in range(features):
            into, sign = flat[starts[j] + top : starts[j] + top + 8], one * signs[j]
            into[0], into[1], into[2], into[3] = sign * r0[j], sign * r1[j], sign * r2[j], sign * r3[j]
            into[4], into[5], into[6], into[7] = sign * r4[j], sign * r5[j], sign * r6[j], sign * r7[j]
    for n in range(batch // 8 * 8, batch):
        for j in range(features):
            flat[starts[j] + n] = signs[j] * inputs[n, j]
    for j in range(features, places.size):  # the bias
        flat[starts[j] : starts[j] + batch] = one * signs[j]


@kernel
def arrange_back(grad_arranged: Array, places: Array, signs: Array, tile: int, grad_inputs: Array) -> None:
    """Fill `grad_inputs` (batch, features) from the gradient of the arranged: the transpose of `arrange`."""
    batch, features = grad_inputs.shape
    flat, one = grad_arranged.reshape(-1), grad_inputs.dtype.type(1)
    starts = _starts(places, tile, grad_arranged.shape[1], batch)
    for top in range(0, batch - 7, 8):
        r0, r1 = grad_inputs[top], grad_inputs[top + 1]
        r2, r3 = grad_inputs[top + 2], grad_inputs[top + 3]
        r4, r5 = grad_inputs[top + 4], grad_inputs[top + 5]
        r6, r7 = grad_inputs[top + 6], grad_inputs[top + 7]
        for j in range(features):
            of, sign = flat[starts[j] + top : starts[j] + top + 8], one * signs[j]
            r0[j], r1[j], r2[j], r3[j] = sign * of[0], sign * of[1], sign * of[2], sign * of[3]
            r4[j], r5[j], r6[j], r7[j] = sign * of[4], sign * of[5], sign * of[6], sign * of[7]
    for n in range(batch // 8 * 8, batch):
        for j in range(features):
            grad_inputs[n, j] = signs[j] * flat[starts[j] + n]


@kernel
def transpose(source: Array, target: Array) -> None:
    """Fill `target` with the transpose of `source`."""
    rows, columns = source.shape
    for top in range(0, rows - 7, 8):
        r0, r1, r2, r3 = source[top], source[top + 1], source[top + 2], source[top + 3]
        r4, r5, r6, r7 = source[top + 4], source[top + 5], source[top + 6], source[top + 7]
        for c in range(columns):
            into = target[c, top : top + 8]
            into[0], into[1], into[2], into[3] = r0[c], r1[c], r2[c], r3[c]
            into[4], into[5], into[6], into[7] = r4[c], r5[c], r6[c], r7[c]
    for r in range(rows // 8 * 8, rows):
        for c in range(columns):
            target[c, r] = source[r, c]


@_add
def gather(products: Array, slots: Array, outputs: Array) -> None:
    """Fill `outputs` (rows, batch): `z[i, n] = Σ_g ξ₁(i, g) · P[τ(i, g), g, n]`."""
    segments, batch, one = slots.shape[1], outputs.shape[1], outputs.dtype.type(1)
    for r in range(outputs.shape[0]):
        row, into = slots[r], outputs[r]
        into[:] = 0
        for g in range(0, segments - 3, 4):  # four at once: the sums are read and written a quarter as often
            s0, p0 = -one if row[g] & SIGN else one, products[row[g] & TILE, g]
            s1, p1 = -one if row[g + 1] & SIGN else one, products[row[g + 1] & TILE, g + 1]
            s2, p2 = -one if row[g + 2] & SIGN else one, products[row[g + 2] & TILE, g + 2]
            s3, p3 = -one if row[g + 3] & SIGN else one, products[row[g + 3] & TILE, g + 3]
            for n in range(batch):
                into[n] += s0 * p0[n] + s1 * p1[n] + s2 * p2[n] + s3 * p3[n]
        for g in range(segments // 4 * 4, segments):
            sign, product = -one if row[g] & SIGN else one, products[row[g] & TILE, g]
            for n in range(batch):
                into[n] += sign * product[n]


@kernel(fastmath={"contract", "nsz", "reassoc"})
def multiply_row(
    inputs: Array, places: Array, signs: Array, tiles: Array, slots: Array, arranged: Array, outputs: Array
) -> None:
    """Fill `arranged` (G, B) and `outputs` (rows,) from one row of inputs (features,)."""
    flat, one = arranged.reshape(-1), inputs.dtype.type(1)
    flat[:] = 0
    for j in range(places.size):
        flat[places[j]] = signs[j] * (inputs[j] if j < inputs.size else one)  # a bias is fed by 1
    products = np.empty((tiles.shape[0], arranged.shape[0]), outputs.dtype)
    for t in range(tiles.shape[0]):
        for g in range(arranged.shape[0]):
            tile, segment, product = tiles[t], arranged[g], outputs.dtype.type(0)
            for u in range(tile.size):
                product += tile[u] * segment[u]
            products[t, g] = product
    for r in range(outputs.size):
        total = outputs.dtype.type(0)
        for g in range(slots.shape[1]):
            product = products[slots[r, g] & TILE, g]
            total += -product if slots[r, g] & SIGN else product
        outputs[r] = total


@_add
def scatter(grad_outputs: Array, slots: Array, grad_products: Array) -> None:
    """Fill `grad_products` (T, G, batch), `Q[τ, g, n] = Σ_{i: τ(i, g) = τ} ξ₁(i, g) · δ[i, n]`."""
    batch, one = grad_outputs.shape[1], grad_outputs.dtype.type(1)
    grad_products[:] = 0
    for r in range(grad_outputs.shape[0]):
        grad = grad_outputs[r]
        for g in range(slots.shape[1]):
            sign, into = -one if slots[r, g] & SIGN else one, grad_products[slots[r, g] & TILE, g]
            for n in range(batch):
                into[n] += sign * grad[n]
