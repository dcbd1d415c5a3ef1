"""Twins: copies of a layer or a network in another precision, whose random draws can be made again."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from minihash.layers import Layer
from minihash.network import Network


def twin_of(module: Layer | Network, dtype: Any) -> Layer | Network:
    """Return a deep copy that computes in `dtype`; parameters and gradients that share memory still do."""
    roots: dict[int, np.ndarray] = {}
    memo = {  # what deepcopy takes as copied, whatever names it is kept under
        id(array): _recast(array, dtype, roots)
        for part in _modules(module)
        for array in (*part.params.values(), *part.grads.values())
    }
    twin = copy.deepcopy(module, memo)
    for part in _modules(twin):
        part.dtype = np.dtype(dtype)
    return twin


def _recast(array: np.ndarray, dtype: Any, roots: dict[int, np.ndarray]) -> np.ndarray:
    """Return `array` in `dtype`; of a view, the same view of its recast `root`, of which there is one."""
    root = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    if root.dtype != array.dtype or not root.flags.c_contiguous:
        root = array
    recast = roots.setdefault(id(root), root.astype(dtype))
    if root is array:
        return recast
    start = array.__array_interface__["data"][0] - root.__array_interface__["data"][0]
    offset, *strides = (step // root.itemsize * recast.itemsize for step in (start, *array.strides))
    return np.ndarray(array.shape, recast.dtype, recast, offset, strides)


def layers_of(module: Layer | Network) -> list[Layer]:
    """Return the layers of a network, or the layer itself in a list."""
    return list(module.layers) if isinstance(module, Network) else [module]


def rewind(copied: Any, original: Any) -> None:
    """Set every random generator in a copy of a module to the state of the original's, and layers that draw.

    Layers may hold generators, and layers with generators, in attributes, lists, tuples and dicts.
    """
    if isinstance(original, Layer) and original.row is not None:
        copied.row = original.row
    if isinstance(original, np.random.Generator):
        copied.bit_generator.state = original.bit_generator.state
    elif isinstance(original, np.random.RandomState):
        copied.set_state(original.get_state())
    elif isinstance(original, random.Random):
        copied.setstate(original.getstate())
    else:
        held = _held(copied)
        for key, value in _held(original).items():
            if type(held.get(key)) is type(value):
                rewind(held[key], value)


def _held(value: Any) -> dict[Any, Any]:
    """Return what a layer, network, list, tuple or dict holds, by name or place."""
    if isinstance(value, (Layer, Network)):
        return vars(value)
    if isinstance(value, dict):
        return value
    return dict(enumerate(value)) if isinstance(value, (list, tuple)) else {}


def _modules(value: Any) -> Iterator[Layer | Network]:
    """Yield the layers and networks in a module, itself first."""
    if isinstance(value, (Layer, Network)):
        yield value
    for held in _held(value).values():
        yield from _modules(held)
