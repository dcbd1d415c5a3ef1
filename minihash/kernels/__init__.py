"""The kernels that hold all the hashing maths, and the choice of a twin.

`numba_cpu` is used wherever Numba can be imported, else `numpy_cpu`; the environment variable
MINIHASH_KERNELS (numba or numpy) forces one. Numba is imported at the first use, not before.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from minihash import checks, hashing

NAMES = ("numba", "numpy")

Array = np.ndarray  # or one on a device
Key = tuple[int, ...]  # what a map's slots are hashed with
Origin = tuple[int, int]  # row and segment of V where a block starts
Span = tuple[int, int]  # length of a tile, and the offset in it of the block's first column


class Kernels(NamedTuple):
    """The kernels of a map, each for one block of V.

    `slots` (rows, segments) say which tile a row has in a segment, and in the highest bit its sign; where
    a tile is one weight, segments are columns. `multiply` and `gradients` make no panel: they are for
    batches so small that a panel is not worth its while. Quantised
    weights are int8.
    """

    locate: Callable[..., None]  # (key, origin, slots): fill slots
    expand: Callable[..., None]  # (weight, slots, span, panel): fill panel, eq. 7
    aggregate: Callable[..., None]  # (grad_panel, slots, span, grad_weight): add to grad_weight, eq. 12
    multiply: Callable[..., None]  # (weight, key, origin, span, inputs, outputs): add to outputs, eq. 8
    gradients: Callable[..., None]
    # (weight, key, origin, span, inputs, grad_outputs, grad_inputs, grad_weight): add to the last two; no
    # grad_inputs if it has no rows


def get(map: Any) -> Kernels:
    """Return the kernels of a map; raises as `module`, and as `of_map`."""
    return of_map(module(), map)


def of_map(module: Any, map: Any, table: str = "KERNELS") -> Kernels:
    """Return a module's kernels of a map: of tiles or of single weights, or made of the map's own `slot`.

    Raises
    ------
    ValueError for a map that it has none of.
    """
    name = "tiles" if map.tile > 1 else "element"
    if map.slot is not hashing.slot:
        name = type(map).__name__
        if hasattr(module, "of_slot"):
            return module.of_slot(map.slot)
    known = getattr(module, table)
    return known[checks.choice("map", name, tuple(known))]


def complete(locate: Callable, expand: Callable, aggregate: Callable) -> Kernels:
    """Return all kernels of a map: those that are its own, and products of a block by its panel."""

    def panel_of(weight: Array, slots: Array, span: Span, columns: int) -> Array:
        panel = np.empty((len(slots), columns), weight.dtype)
        expand(weight, slots, span, panel)
        return panel

    def slots_of(key: Key, origin: Origin, span: Span, rows: int, columns: int) -> Array:
        slots = np.empty((rows, -(-(span[1] + columns) // span[0])), np.uint32)
        locate(key, origin, slots)
        return slots

    def multiply(weight: Array, key: Key, origin: Origin, span: Span, inputs: Array, outputs: Array) -> None:
        slots = slots_of(key, origin, span, outputs.shape[1], inputs.shape[1])
        outputs += inputs @ panel_of(weight, slots, span, inputs.shape[1]).T

    def gradients(
        weight: Array,
        key: Key,
        origin: Origin,
        span: Span,
        inputs: Array,
        grad_outputs: Array,
        grad_inputs: Array,
        grad_weight: Array,
    ) -> None:
        slots = slots_of(key, origin, span, grad_outputs.shape[1], inputs.shape[1])
        if grad_inputs.shape[0]:
            grad_inputs += grad_outputs @ panel_of(weight, slots, span, inputs.shape[1])
        aggregate(grad_outputs.T @ inputs, slots, span, grad_weight)

    return Kernels(locate, expand, aggregate, multiply, gradients)


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


def compilations(begin: Callable[[], object], end: Callable[[], object] = lambda: None) -> Any:
    """Return what counts, while it is entered, the `seconds` that this process compiles for the CPU.

    It calls `begin` before the first compilation, and `end` after each. What the cache has is not compiled.
    """
    if module().__name__ == "minihash.kernels.numpy_cpu":
        return contextlib.nullcontext(SimpleNamespace(seconds=0.0))
    compiling = importlib.import_module("minihash.kernels.compiling")
    return compiling.event.install_listener("numba:compile", compiling.Compilations(begin, end))


def cache_directories() -> list[Path]:
    """Return where the machine code that this process uses is kept; nothing if some of it is not."""
    if module().__name__ == "minihash.kernels.numpy_cpu":
        return []
    return importlib.import_module("minihash.kernels.compiling").used_directories()
