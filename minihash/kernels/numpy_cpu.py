"""The kernels in plain NumPy: the text to read first, and used where Numba is missing.

Same kernels, same arguments and same order as numba_cpu.py. What that file writes out for each map to be
fast, the products without panels, is here one function for both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minihash.hashing import hash_position, scale_to_range
from minihash.kernels import Kernels, Key, Origin
from minihash.kernels.shared_numpy import arrange, arrange_back, gather, scatter, transpose  # noqa: F401

SIGN = np.uint32(1 << 31)  # of a slot; the other bits are the bucket
BUCKET = np.uint32(SIGN - 1)
EVERY = np.uint32(2**32 - 1)


def _hash_slots(key: Key, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Return bucket and sign of positions; the highest bit of a signed map's hash is the sign."""
    seed, num_buckets, signed = key
    seeds = np.full(1, seed, np.uint32)  # arrays wrap around silently, scalars with a warning
    hashed = hash_position(i, j, seeds)
    if not signed:
        return scale_to_range(hashed, num_buckets)
    return scale_to_range(hashed << np.uint32(1), num_buckets) | (hashed & SIGN)


def _indices(start: int, length: int) -> np.ndarray:
    return np.arange(start, start + length, dtype=np.uint32)


def _signs(slots: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.where(slots & SIGN, dtype.type(-1), dtype.type(1))


def _unpack(packed: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Return weights of those that lie two in a byte."""
    return ((packed[k >> 1] >> (4 * (k & 1)).astype(np.uint8)) & 15).astype(np.int8) - np.int8(8)


# ---------------------------------------------------------------------------------- element map


def locate_element(key: Key, origin: Origin, slots: np.ndarray) -> None:
    """Hash every position of the block into its slot."""
    i, j = (_indices(start, length) for start, length in zip(origin, slots.shape))
    slots[...] = _hash_slots(key, i[:, None], j)


def expand_element(weight: np.ndarray, slots: np.ndarray, panel: np.ndarray) -> None:
    """Fill `panel` with its block of V: eq. 7, `V[i, j] = ξ w[h(i, j)]`."""
    panel[...] = weight[slots & BUCKET] * _signs(slots, panel.dtype)


def expand_packed_element(
    packed: np.ndarray, num_buckets: int, slots: np.ndarray, panel: np.ndarray
) -> None:
    """Fill `panel` with its block of V from weights of four bits."""
    panel[...] = _unpack(packed, slots & BUCKET) * _signs(slots, panel.dtype)


def aggregate_element(grad_panel: np.ndarray, slots: np.ndarray, grad_weight: np.ndarray) -> None:
    """Add ∂L/∂V of a block to its buckets: eq. 12, a sum over each bucket."""
    np.add.at(grad_weight, slots & BUCKET, grad_panel * _signs(slots, grad_panel.dtype))


# ----------------------------------------------------------------------------------- window map


def locate_window(key: Key, origin: Origin, slots: np.ndarray) -> None:
    """Hash every row of the block into its slot."""
    hashed = _hash_slots(key, _indices(origin[0], slots.shape[0]), np.full(1, EVERY))
    starts = ((hashed & BUCKET).astype(np.uint64) + np.uint64(origin[1])) % np.uint64(key[1])
    slots[:, 0] = starts.astype(np.uint32) | (hashed & SIGN)


def _windows(slots: np.ndarray, length: int, num_buckets: int) -> np.ndarray:
    """Return the bucket of every place of every row's window."""
    return ((slots & BUCKET).astype(np.int64) + np.arange(length)) % num_buckets


def expand_window(weight: np.ndarray, slots: np.ndarray, panel: np.ndarray) -> None:
    """Fill `panel` with its block of V: every row a copy of a window of the weights."""
    windows = _windows(slots, panel.shape[1], weight.size)
    panel[...] = _signs(slots, panel.dtype) * weight[windows]


def expand_packed_window(
    packed: np.ndarray, num_buckets: int, slots: np.ndarray, panel: np.ndarray
) -> None:
    """Fill `panel` with its block of V from weights of four bits."""
    panel[...] = _signs(slots, panel.dtype) * _unpack(packed, _windows(slots, panel.shape[1], num_buckets))


def aggregate_window(grad_panel: np.ndarray, slots: np.ndarray, grad_weight: np.ndarray) -> None:
    """Add ∂L/∂V of a block to the weights: every row to its window."""
    windows = _windows(slots, grad_panel.shape[1], grad_weight.size)
    np.add.at(grad_weight, windows, _signs(slots, grad_panel.dtype) * grad_panel)


# -------------------------------------------------------------------------------------- tile map


def locate_tile(key: Key, origin: Origin, slots: np.ndarray) -> None:
    """Fill the slots of the block: a hash for every row and segment, consecutive buckets within."""
    seed, num_buckets, signed, tile = key
    i, columns = (_indices(start, length) for start, length in zip(origin, slots.shape))
    segments, offsets = np.divmod(columns, np.uint32(tile))
    tiles = _hash_slots((seed, -(-num_buckets // tile), signed), i[:, None], segments)
    starts = np.minimum((tiles & BUCKET).astype(np.int64) * tile, num_buckets - tile)
    slots[...] = (starts + offsets).astype(np.uint32) | (tiles & SIGN)


# --------------------------------------------------------------------------- folds of the window


def fold(inputs: np.ndarray, signs: np.ndarray, places: np.ndarray, folded: np.ndarray) -> None:
    """Add the inputs to their places of the window: `a'[t(j)] += ξ₂(j) a[j]`; the bias's input is 1."""
    features = inputs.shape[1]
    np.add.at(folded.T, places[:features], (inputs * signs[:features].astype(inputs.dtype)).T)
    np.add.at(folded.T, places[features:], signs[features:, None].astype(inputs.dtype))


def unfold(
    grad_folded: np.ndarray, signs: np.ndarray, places: np.ndarray, grad_inputs: np.ndarray
) -> None:
    """Fill `grad_inputs` from the gradient of the folded: the transpose of `fold`."""
    features = grad_inputs.shape[1]
    grad_inputs[...] = grad_folded[:, places[:features]] * signs[:features].astype(grad_inputs.dtype)


# -------------------------------------------------------------------------------------- dropout


def drop(inputs: np.ndarray, key: tuple[int, int, int], scale: Any, outputs: np.ndarray) -> None:
    """Fill `outputs` with `inputs · scale`, and with 0 where the hash of a place is below a threshold."""
    seed, row, threshold = key
    i = (np.arange(row, row + len(inputs)) & EVERY).astype(np.uint32)
    hashed = hash_position(i[:, None], _indices(0, inputs.shape[1]), np.full(1, seed, np.uint32))
    outputs[...] = np.where(hashed >= np.uint32(threshold), inputs * scale, 0)


# -------------------------------------------------------------------------------- without panels


def _complete(
    locate: Callable, expand: Callable, expand_packed: Callable, aggregate: Callable, one_slot_a_row: bool
) -> Kernels:
    """Return all kernels of a map: those that are its own, and the products of a block."""

    def place(key: Key, origin: Origin, shape: tuple[int, int]) -> np.ndarray:
        slots = np.empty((shape[0], 1 if one_slot_a_row else shape[1]), np.uint32)
        locate(key, origin, slots)
        return slots

    def multiply(
        weight: np.ndarray, key: Key, origin: Origin, inputs: np.ndarray, outputs: np.ndarray
    ) -> None:
        """Add the block's part of `inputs @ Vᵀ` to `outputs`: eq. 8."""
        panel = np.empty((outputs.shape[1], inputs.shape[1]), weight.dtype)
        expand(weight, place(key, origin, panel.shape), panel)
        outputs += inputs @ panel.T

    def gradients(
        weight: np.ndarray,
        key: Key,
        origin: Origin,
        inputs: np.ndarray,
        grad_outputs: np.ndarray,
        grad_inputs: np.ndarray,
        grad_weight: np.ndarray,
    ) -> None:
        """Add the block's part of `grad_outputs @ V` to `grad_inputs`, and of eq. 12 to `grad_weight`."""
        panel = grad_outputs.T @ inputs
        slots = place(key, origin, panel.shape)
        aggregate(panel, slots, grad_weight)
        if grad_inputs.shape[0]:
            expand(weight, slots, panel)
            grad_inputs += grad_outputs @ panel

    return Kernels(locate, expand, expand_packed, aggregate, multiply, gradients, one_slot_a_row)


KERNELS = {
    "element": _complete(
        *(locate_element, expand_element, expand_packed_element, aggregate_element), one_slot_a_row=False
    ),
    "window": _complete(
        *(locate_window, expand_window, expand_packed_window, aggregate_window), one_slot_a_row=True
    ),
    "tile": _complete(
        *(locate_tile, expand_element, expand_packed_element, aggregate_element), one_slot_a_row=False
    ),
}
