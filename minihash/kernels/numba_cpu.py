"""`expand` and `aggregate` compiled for the CPU.

Same functions, same arguments and same order as numpy_cpu.py. They release the GIL, so that panels
run in Python threads. Hashing a row into a buffer first and indexing with it in a second loop lets
the compiler vectorise the hash; in one loop it does not, and takes several times as long.
"""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np

from minihash import hashing

_inline = numba.njit(inline="always")


def _kernel(function: Callable) -> Callable:
    """Compile at the first call; keep the machine code on disk where there is a place to write to."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # "no locator available": a read-only installation without a home
        return numba.njit(nogil=True)(function)


hash_position = _inline(hashing.hash_position)
scale_to_range = _inline(hashing.scale_to_range)


@_kernel
def expand(table, seed, row, column, panel):  # type: ignore[no-untyped-def]
    """Fill `panel` with the block of V that starts at (row, column): eq. 7, `V[i, j] = ξ w[h(i, j)]`."""
    rows, columns = panel.shape
    size = np.uint64(table.size)
    slots = np.empty(columns, np.uint32)
    for r in range(rows):
        for c in range(columns):
            slots[c] = scale_to_range(hash_position(row + r, column + c, seed), size)
        for c in range(columns):
            panel[r, c] = table[slots[c]]


@_kernel
def aggregate(grad_panel, seed, row, column, grad_table):  # type: ignore[no-untyped-def]
    """Add ∂L/∂V of the block at (row, column) to its buckets: eq. 12, a sum over each bucket."""
    rows, columns = grad_panel.shape
    size = np.uint64(grad_table.size)
    slots = np.empty(columns, np.uint32)
    for r in range(rows):
        for c in range(columns):
            slots[c] = scale_to_range(hash_position(row + r, column + c, seed), size)
        for c in range(columns):
            grad_table[slots[c]] += grad_panel[r, c]
