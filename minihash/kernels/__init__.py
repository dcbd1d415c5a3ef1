"""The kernels that hold all the hashing maths, and the choice of a twin.

`numba_cpu` is used wherever Numba can be imported, else `numpy_cpu`; the environment variable
MINIHASH_KERNELS (numba or numpy) forces one. Numba is imported at the first use, not before.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from minihash import checks

NAMES = ("numba", "numpy")

Key = tuple[int, ...]  # what a map's hash needs: seed, num_buckets, signed, and of tiles their length
Origin = tuple[int, int]  # row and column of V where a block starts


class Kernels(NamedTuple):
    """The kernels of one map, each for one block of V.

    `slots` say where the block's weights are, a bucket and in the highest bit a sign: one a weight for
    the element map, (rows, columns), one a row for the window map, (rows, 1). `multiply` and
    `gradients` make no panel: they are for batches so small that a panel is not worth its while.
    Quantised weights are int8, or packed, two of four bits in a byte: the even one in its low half,
    each plus 8.
    """

    locate: Callable[..., None]  # (key, origin, slots): fill slots
    expand: Callable[..., None]  # (weight, slots, panel): fill panel, eq. 7
    expand_packed: Callable[..., None] | None  # (packed, num_buckets, slots, panel): fill panel
    aggregate: Callable[..., None]  # (grad_panel, slots, grad_weight): add to grad_weight, eq. 12
    multiply: Callable[..., None]  # (weight, key, origin, inputs, outputs): add to outputs, eq. 8
    gradients: Callable[..., None]
    # (weight, key, origin, inputs, grad_outputs, grad_inputs, grad_weight): add to the last two; no
    # grad_inputs if it has no rows
    one_slot_a_row: bool


def get(map: str) -> Kernels:
    """Return the kernels of a map, "element" or "window"; raises as `module`, and as `of_map`."""
    return of_map(module(), map)


def of_map(module: Any, map: str) -> Kernels:
    """Return a module's kernels of a map; ValueError for one that it has none of."""
    return module.KERNELS[checks.choice("map", map, tuple(module.KERNELS))]


@functools.cache
def module() -> Any:
    """Return the module of kernels in use.

    Raises
    ------
    ValueError if MINIHASH_KERNELS names no kernels, ImportError if it asks for Numba and there is none.
    """
    name = os.environ.get("MINIHASH_KERNELS", "")
    if name:
        checks.choice("MINIHASH_KERNELS", name, NAMES)
        return importlib.import_module(f"minihash.kernels.{name}_cpu")
    try:
        return importlib.import_module("minihash.kernels.numba_cpu")
    except ImportError:
        return importlib.import_module("minihash.kernels.numpy_cpu")


def cache_directories() -> list[Path]:
    """Return where the machine code that this process uses is kept; nothing if some of it is not."""
    if module().__name__ == "minihash.kernels.numpy_cpu":
        return []
    return importlib.import_module("minihash.kernels.compiling").used_directories()
