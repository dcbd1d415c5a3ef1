"""`expand` and `aggregate` in plain NumPy: the text to read first, and used where Numba is missing.

Same functions, same arguments and same order as numba_cpu.py.
"""

from __future__ import annotations

import numpy as np

from minihash.hashing import hash_position, scale_to_range


def expand(table: np.ndarray, seed: np.uint32, row: int, column: int, panel: np.ndarray) -> None:
    """Fill `panel` with the block of V that starts at (row, column): eq. 7, `V[i, j] = ξ w[h(i, j)]`."""
    panel[...] = table[_slots(table.size, seed, row, column, panel.shape)]


def aggregate(
    grad_panel: np.ndarray, seed: np.uint32, row: int, column: int, grad_table: np.ndarray
) -> None:
    """Add ∂L/∂V of the block at (row, column) to its buckets: eq. 12, a sum over each bucket."""
    np.add.at(grad_table, _slots(grad_table.size, seed, row, column, grad_panel.shape), grad_panel)


def _slots(
    size: int, seed: np.uint32, row: int, column: int, shape: tuple[int, ...]
) -> np.ndarray:
    i = np.arange(row, row + shape[0], dtype=np.uint32)
    j = np.arange(column, column + shape[1], dtype=np.uint32)
    seeds = np.full(1, seed, np.uint32)  # arrays wrap around silently, scalars with a warning
    return scale_to_range(hash_position(i[:, None], j, seeds), size)
