"""Layers with weights in C, by their kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from minihash.export.c_hashed import hashed
from minihash.export.c_layer import CLayer
from minihash.layers import HashedLinear, Linear, QuantizedHashedLinear, WeightLayer


class Dense(CLayer[Linear]):
    """The dense layer."""

    template = "linear.c"


LAYERS: dict[type[WeightLayer], Callable[[Any, int, bool], CLayer]] = {
    HashedLinear: hashed,
    QuantizedHashedLinear: hashed,
    Linear: Dense,
}


def hash_sections(layers: list[CLayer]) -> Iterator[str]:
    """Yield the sections of hash.c that some layers need."""
    if any(layer.hashes for layer in layers):
        yield "hash"
    largest = max(layer.draws_from for layer in layers)
    if largest:
        yield "scale16" if largest < 2**16 else "scale32"
    if any(layer.is_packed() for layer in layers):
        yield "unpack"
