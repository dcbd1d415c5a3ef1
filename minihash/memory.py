"""What a network takes of the machine's memory, estimated before it is taken.

Where there is less, it is refused: a system that is out of memory kills the process, or another one. Only
what is sure to be taken is counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from minihash.layers.base import Layer, initial_bytes
from minihash.machine import check_memory

FIRST = 1024  # numbers of a gradient that are looked at


def check_building(sizes: Sequence[int], weights: Sequence[float], itemsize: int) -> None:
    """Refuse a network to be made, by the numbers of weights of its layers, as `check_memory` does."""
    draws = initial_bytes(1, itemsize) - itemsize  # of a weight, while its layer is made
    needed = itemsize * sum(weights) + draws * max(weights)
    check_memory(f"a network {_shape(sizes)}", needed, "fewer units or more compression")


def check_predicting(layers: Sequence[Layer], rows: int) -> None:
    """Refuse to predict so many rows at once, as `check_memory` does."""
    widths = _widths(layers)
    needed = rows * max(map(sum, itertools.pairwise(widths))) * layers[0].dtype.itemsize
    check_memory(f"a network {_shape(_sizes(layers))}", needed, f"fewer units, or fewer rows than {rows}")


def check_training(layers: Sequence[Layer], batch_size: int, slots: int) -> None:
    """Refuse to train with batches of so many rows and slots of the optimizer for each weight.

    It needs, beside the parameters, their gradients and slots, the outputs of all layers and two gradients
    of outputs for a batch, and what a layer says.
    """
    widths = _widths(layers)
    values = batch_size * (sum(widths) + 2 * max(widths)) * layers[0].dtype.itemsize
    params = [array for layer in layers for array in layer.params.values()]
    # NumPy's zeros take no memory before something else is written there.
    fresh = [
        array.nbytes
        for layer in layers
        for array in layer.grads.values()
        if not array.reshape(-1)[:FIRST].any()
    ]
    own = sum(layer.training_bytes for layer in layers)
    needed = sum(fresh) + slots * sum(array.nbytes for array in params) + values + own
    what = f"training a network {_shape(_sizes(layers))} with batches of {batch_size}"
    check_memory(what, needed, "fewer units, more compression or smaller batches")


def _widths(layers: Sequence[Layer]) -> list[int]:
    """Return how many numbers of a row are between the layers, before the first and after the last."""
    widths = _sizes(layers)[:1]
    for layer in layers:
        widths.append(layer.out_features or widths[-1])
    return widths


def _sizes(layers: Sequence[Layer]) -> list[int]:
    """Return the units of the inputs, and of all layers that have a number of their own."""
    own = [(layer.in_features, layer.out_features) for layer in layers]
    outputs = [fan_out for _, fan_out in own if fan_out is not None]
    return [next((fan_in for fan_in, _ in own if fan_in is not None), 0), *outputs]


def _shape(sizes: Sequence[int]) -> str:
    return "-".join(map(str, sizes))
