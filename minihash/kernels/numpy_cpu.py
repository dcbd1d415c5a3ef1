"""The kernels in plain NumPy: the text to read first, and used where Numba is missing.

Same kernels, same arguments and same order as numba_cpu.py. What that file writes out for single weights
and for tiles to be fast is here one function for both.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from minihash import hashing
from minihash.kernels import Array, Kernels, Key, Origin, Span, complete
from minihash.kernels.shared_numpy import (  # noqa: F401
    arrange,
    arrange_back,
    gather,
    multiply_row,
    scatter,
    transpose,
)


def locate(key: Key, origin: Origin, slots: Array, slot: Callable = hashing.slot) -> None:
    """Fill the slots of the block: tile and sign of every row and segment."""
    i, g = (_indices(start, length) for start, length in zip(origin, slots.shape))
    with np.errstate(over="ignore"):
        slots[...] = slot(key, i[:, None], g)


def expand(weight: Array, slots: Array, span: Span, panel: Array) -> None:
    """Fill `panel` with its block of V: eq. 7, `V[i, j] = ξ w[h(i, j)]`."""
    buckets, signs = _spread(slots, span, weight.size, panel)
    panel[...] = weight[buckets] * signs


def aggregate(grad_panel: Array, slots: Array, span: Span, grad_weight: Array) -> None:
    """Add ∂L/∂V of a block to its buckets: eq. 12, a sum over each bucket. `grad_panel` is used up."""
    buckets, signs = _spread(slots, span, grad_weight.size, grad_panel)
    np.add.at(grad_weight, buckets, grad_panel * signs)


def _spread(slots: Array, span: Span, num_buckets: int, panel: Array) -> tuple[Array, Array]:
    """Return bucket and sign of every column of a block, as far as they go on in its tiles."""
    tile, offset = span
    segments, offsets = np.divmod(offset + np.arange(panel.shape[1]), tile)
    tiles, signs = hashing.split(slots)
    starts = np.minimum(tiles * tile, num_buckets - tile)  # the last may overlap the one before
    return starts[:, segments] + offsets, signs[:, segments].astype(panel.dtype)


def _indices(start: int, length: int) -> Array:
    return np.arange(start, start + length, dtype=np.uint32)


# -------------------------------------------------------------------------------------- dropout


def drop(inputs: Array, key: tuple[int, int, int], scale: Any, outputs: Array) -> None:
    """Fill `outputs` with `inputs · scale`, and with 0 where the hash of a place is below a threshold."""
    seed, row, threshold = key
    i = (np.arange(row, row + len(inputs)) & hashing.LARGEST).astype(np.uint32)
    with np.errstate(over="ignore"):
        hashed = hashing.hash_position(i[:, None], _indices(0, inputs.shape[1]), seed)
    outputs[...] = np.where(hashed >= np.uint32(threshold), inputs * scale, 0)


@functools.cache
def of_slot(slot: Callable) -> Kernels:
    """Return the kernels of a map with a slot of its own."""
    return complete(functools.partial(locate, slot=slot), expand, aggregate)


KERNELS = dict.fromkeys(("element", "tiles"), complete(locate, expand, aggregate))
