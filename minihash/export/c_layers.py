"""Layers with weights in C, by their kind."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minihash.export.c_hashed import hashed
from minihash.export.c_layer import CLayer
from minihash.export.c_text import Constant, number
from minihash.hashing import xxhash32
from minihash.layers import (
    HashedLinear,
    Linear,
    LowRankLinear,
    QuantizedHashedLinear,
    SparseLinear,
    WeightLayer,
)


class Dense(CLayer[Linear]):
    """The dense layer."""

    template = "linear.c"


class LowRank(CLayer[LowRankLinear]):
    """The low-rank layer, whose fixed factor is computed: stored it would be as large as the learned one."""

    template = "low_rank.c"

    def __init__(self, layer: LowRankLinear, position: int, by_input: bool) -> None:
        super().__init__(layer, position, by_input)
        self.inner = layer.rank
        self.hashes = layer.rank * layer.in_features
        self.multiply_adds = layer.rank * (layer.in_features + layer.out_features)

    def sections(self) -> tuple[str, ...]:
        return ("row",)

    def backward(self, source: str, before: str) -> list[str]:
        return super().backward(f"{self.name}_inner", before)

    def fields(self) -> dict[str, Any]:
        spread = number(self.layer.in_features**-0.5)
        return {**super().fields(), "rank": self.inner, "spread": spread}


class Sparse(CLayer[SparseLinear]):
    """The sparse layer: the largest hash that a row keeps is stored, instead of where its weights are."""

    template = "sparse.c"

    def __init__(self, layer: SparseLinear, position: int, by_input: bool) -> None:
        super().__init__(layer, position, by_input)
        self.hashes = layer.out_features * layer.in_features
        self.multiply_adds = layer.num_weights
        self.variables = 4 if by_input else 0
        ends = layer.indptr[1:]
        self.rows = int(np.count_nonzero(np.diff(layer.indptr)))  # those that keep any; the others come last
        hashes = np.asarray(xxhash32(self._edge_rows, layer.indices, layer.seed))
        last = np.maximum.reduceat(hashes, ends[: self.rows] - np.diff(layer.indptr)[: self.rows])
        self.tables = [Constant(f"{self.name}_last", last.astype(np.uint32))]
        if by_input:
            order = np.lexsort((self._edge_rows, layer.indices))  # columns first
            self.parameters["weight"] = layer.weight[order]

    @functools.cached_property
    def _edge_rows(self) -> np.ndarray:
        """The row of every weight."""
        return np.repeat(np.arange(self.layer.out_features), np.diff(self.layer.indptr))

    def sections(self) -> tuple[str, ...]:
        return ("entry", "input") if self.by_input else ("entry", "first", "unit")

    def training_sections(self) -> tuple[str, ...]:
        *back, _ = super().training_sections()
        return (*back, "update_by_input" if self.by_input else "update_by_unit")

    def fields(self) -> dict[str, Any]:
        each, more = divmod(self.layer.num_weights, self.layer.out_features)
        first = f"(size_t)i * {each}" + (f" + (i < {more} ? i : {more})" if more else "")
        return {**super().fields(), "rows": self.rows, "first": first}


LAYERS: dict[type[WeightLayer], Callable[[Any, int, bool], CLayer]] = {
    HashedLinear: hashed,
    QuantizedHashedLinear: hashed,
    Linear: Dense,
    LowRankLinear: LowRank,
    SparseLinear: Sparse,
}


def hash_sections(layers: list[CLayer]) -> Iterator[str]:
    """Yield the sections of hash.c that some layers need."""
    if any(layer.hashes for layer in layers):
        yield "hash"
    largest = max(layer.draws_from for layer in layers)
    if largest:
        yield "scale16" if largest < 2**16 else "scale32"
    if any(isinstance(layer, LowRank) for layer in layers):
        yield "gaussian"
    if any(layer.is_packed() for layer in layers):
        yield "unpack"
