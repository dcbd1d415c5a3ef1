"""Kernels of shared products in plain NumPy: the text to read first.

Where a layer has fewer tiles than rows, what a tile contributes to a segment of the inputs is the same for
every row that drew it, up to its sign. It is computed once, P = tiles @ a', and added up:

    arrange        a'[u, g, n] = ξ₂(j) a[n, j]                      for the column j with p(j) = gB + u
    gather         z[i, n] = Σ_g ξ₁(i, g) · P[τ(i, g), g, n]        G signed additions an output
    scatter        Q[τ, g, n] = Σ_{i: τ(i, g) = τ} ξ₁(i, g) · δ[i, n]     its transpose
    arrange_back   ∂L/∂a[n, j] = ξ₂(j) ∂L/∂a'[u, g, n]              the transpose of arrange
    multiply_row   arrange, P = tiles @ a', gather: of one row of inputs, in one call

A slot is the tile τ(i, g), and in its highest bit the sign. The batch is innermost.
"""

from __future__ import annotations

import numpy as np

from minihash.hashing import SIGN, TILE
from minihash.kernels import Array


def arrange(inputs: Array, places: Array, signs: Array, tile: int, arranged: Array) -> None:
    """Fill `arranged` (B, G · batch): `a'[u, g, n] = ξ₂(j) a[n, j]`, zeros where no column is."""
    batch, features = inputs.shape
    if not batch:
        return
    blocks = arranged.reshape(tile, -1, batch)
    blocks[...] = 0
    segments, offsets = np.divmod(places, tile)
    of_inputs, of_bias = slice(features), slice(features, None)
    blocks[offsets[of_inputs], segments[of_inputs]] = inputs.T * signs[of_inputs, None]
    blocks[offsets[of_bias], segments[of_bias]] = signs[of_bias, None]


def arrange_back(grad_arranged: Array, places: Array, signs: Array, tile: int, grad_inputs: Array) -> None:
    """Fill `grad_inputs` (batch, features) from the gradient of the arranged: the transpose of `arrange`."""
    batch, features = grad_inputs.shape
    if not batch:
        return
    segments, offsets = np.divmod(places[:features], tile)
    blocks = grad_arranged.reshape(tile, -1, batch)
    grad_inputs[...] = (blocks[offsets, segments] * signs[:features, None]).T


def transpose(source: Array, target: Array) -> None:
    """Fill `target` with the transpose of `source`."""
    target[...] = source.T


def gather(products: Array, slots: Array, outputs: Array) -> None:
    """Fill `outputs` (rows, batch): `z[i, n] = Σ_g ξ₁(i, g) · P[τ(i, g), g, n]`."""
    outputs[...] = 0
    for g, column in enumerate(slots.T):
        outputs += products[column & TILE, g] * _signs(column, outputs.dtype)


def multiply_row(
    inputs: Array, places: Array, signs: Array, tiles: Array, slots: Array, arranged: Array, outputs: Array
) -> None:
    """Fill `arranged` (G, B) and `outputs` (rows,) from one row of inputs (features,)."""
    column = np.empty((tiles.shape[1], len(arranged)), inputs.dtype)
    arrange(inputs[None], places, signs, tiles.shape[1], column)
    arranged[...] = column.T
    gather((tiles @ column)[..., None], slots, outputs[:, None])


def scatter(grad_outputs: Array, slots: Array, grad_products: Array) -> None:
    """Fill `grad_products` (T, G, batch), `Q[τ, g, n] = Σ_{i: τ(i, g) = τ} ξ₁(i, g) · δ[i, n]`."""
    grad_products[...] = 0
    for g, column in enumerate(slots.T):
        signed = grad_outputs * _signs(column, grad_outputs.dtype)
        np.add.at(grad_products[:, g], column & TILE, signed)


def _signs(slots: Array, dtype: np.dtype) -> Array:
    return np.where(slots & SIGN, dtype.type(-1), dtype.type(1))[:, None]
