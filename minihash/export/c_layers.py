"""Layers with weights in C: what each stores, keeps and computes, and its functions.

A layer is computed in one of two orders, so that of two neighbours one at least need not be kept:

    input by input    every input is added to all units: the units' sums are kept, no input is
    unit by unit      a unit is made from all inputs: the inputs are kept, no unit is

Layers with an `inner` vector between inputs and units, a projected one, take inputs one by one and give units
one by one: they keep the inner vector alone.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import numpy as np

from minihash.export.c_text import Constant, fill, number
from minihash.hashing import xxhash32
from minihash.layers import (
    HashedLinear,
    Linear,
    LowRankLinear,
    QuantizedHashedLinear,
    SparseLinear,
    WeightLayer,
)

Kind = TypeVar("Kind", bound=WeightLayer)


class CLayer(Generic[Kind]):
    """One layer of the exported network.

    Parameters
    ----------
    layer : the layer.
    position : among the layers with weights; functions are called `layer<position>_…`.
    by_input : the loop order, where there is a choice.

    Attributes
    ----------
    has_inner, inner : whether there is an inner vector, and its length, or 0.
    parameters : the learned arrays, by name ("weight", "bias"), in the order in which the loops want them.
    tables : constants beside them.
    multiply_adds, hashes : of one inference.
    variables : bytes of static variables beside the vectors.
    scale : of quantised weights, as C: sums are of codes, and scaled when they are finished; or "".
    """

    template = ""
    has_inner = False
    inner = 0
    scales_hashes = False
    hashes = 0
    variables = 0

    def __init__(self, layer: Kind, position: int, by_input: bool) -> None:
        self.layer = layer
        self.position = position
        self.by_input = by_input
        self.name = f"layer{position}"
        self.parameters = dict(layer.params)
        self.scale = ""
        if isinstance(layer, QuantizedHashedLinear):
            self.scale = number(self.parameters.pop("scale")[0])
            self.parameters = {"weight": self.parameters.pop("codes"), **self.parameters}
        self.tables: list[Constant] = []
        self.multiply_adds = layer.out_features * layer.in_features

    def sections(self) -> tuple[str, ...]:
        """Return the sections of the template that predict."""
        return ("entry", "input" if self.by_input else "unit")

    def update_section(self) -> str:
        """Return the section of the template that trains."""
        return "update"

    def words(self) -> str:
        """Return what the layer is, for a comment."""
        layer = self.layer
        what = f"{type(layer).__name__}, {layer.in_features} inputs, {layer.out_features} units"
        return f"{what}: {layer.num_parameters:,} stored numbers for {layer.num_virtual:,}"

    def has_bias_vector(self) -> bool:
        """Return whether biases are stored by themselves."""
        return "bias" in self.parameters

    def is_packed(self) -> bool:
        """Return whether weights lie two in a byte."""
        return self.parameters["weight"].dtype == np.uint8

    def bias(self) -> str:
        """Return the expression that unit i's sum begins with: its bias, unless that comes in the end."""
        return f"{self.name}_bias(i)" if self.has_bias_vector() and not self.scale else "0.0f"

    def finished(self, total: str) -> str:
        """Return the expression of unit i from its sum."""
        if not self.scale:
            return total
        return f"{self.scale} * {total}" + (f" + {self.name}_bias(i)" if self.has_bias_vector() else "")

    def bias_step(self) -> str:
        """Return the statement that trains unit i's bias, if it has one."""
        return f"{self.name}_bias_step(i, delta[i]);" if self.has_bias_vector() else ""

    def fields(self) -> dict[str, Any]:
        """Return what the template's placeholders stand for."""
        layer, step = self.layer, self.bias_step()
        loop = f"    for (index_t i = 0; i < {layer.out_features}; i++)\n        {step}\n"
        return {
            "L": self.name,
            "in": layer.in_features,
            "out": layer.out_features,
            "seed": f"{layer.seed}u",
            "bias": self.bias(),
            "unit": self.finished("z"),
            "bias_loop": loop if step else "",
            "source": "inputs" if self.position else "x",
            "input": "inputs[j]" if self.position else "input(x, NULL, j)",
        }

    def code(self, training: bool) -> str:
        """Return the functions: those that predict, and those that train if wanted."""
        names = list(self.sections())
        if training:
            names += [*(["back"] if self.position else []), self.update_section()]
        return "\n".join(fill(self.template, name, **self.fields()) for name in names)

    def largest_index(self) -> int:
        """Return the largest number that the counters of the layer's loops reach."""
        return max(self.layer.in_features + 1, self.layer.out_features, self.inner)


class Element(CLayer[HashedLinear]):
    """The hashed layer with a hash for every weight."""

    template = "element.c"
    scales_hashes = True

    def __init__(self, layer: HashedLinear, position: int, by_input: bool) -> None:
        super().__init__(layer, position, by_input)
        self.hashes = layer.out_features * layer.columns

    def bias(self) -> str:
        if self.layer.bias == "hashed":
            return f"{self.name}_entry(hash_row(i, {self.layer.seed}u), {self.layer.in_features})"
        return super().bias()

    def bias_step(self) -> str:
        if self.layer.bias == "hashed":
            return f"{self.name}_move(i, {self.layer.in_features}, delta[i]);"
        return super().bias_step()

    def fields(self) -> dict[str, Any]:
        signed = self.layer.signed
        return {
            **super().fields(),
            "K": f"{self.layer.num_buckets}u",
            "bits": "hash << 1" if signed else "hash",
            "signed_weight": "hash >> 31 ? -weight : weight" if signed else "weight",
            "signed_grad": "hash >> 31 ? -grad : grad" if signed else "grad",
        }

    def largest_index(self) -> int:
        return max(super().largest_index(), self.layer.num_buckets)


class Dense(CLayer[Linear]):
    """The dense layer."""

    template = "linear.c"


class LowRank(CLayer[LowRankLinear]):
    """The low-rank layer, whose fixed factor is computed: stored it would be as large as the learned one."""

    template = "low_rank.c"
    has_inner = True

    def __init__(self, layer: LowRankLinear, position: int, by_input: bool) -> None:
        super().__init__(layer, position, by_input)
        self.inner = layer.rank
        self.hashes = layer.rank * layer.in_features
        self.multiply_adds = layer.rank * (layer.in_features + layer.out_features)

    def sections(self) -> tuple[str, ...]:
        return ("row",)

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

    def update_section(self) -> str:
        return "update_by_input" if self.by_input else "update_by_unit"

    def fields(self) -> dict[str, Any]:
        each, more = divmod(self.layer.num_weights, self.layer.out_features)
        first = f"(size_t)i * {each}" + (f" + (i < {more} ? i : {more})" if more else "")
        return {**super().fields(), "rows": self.rows, "first": first}


LAYERS: dict[type[WeightLayer], type[CLayer]] = {
    HashedLinear: Element,
    QuantizedHashedLinear: Element,
    Linear: Dense,
    LowRankLinear: LowRank,
    SparseLinear: Sparse,
}


def hash_sections(layers: list[CLayer]) -> Iterator[str]:
    """Yield the sections of hash.c that some layers need."""
    if any(layer.hashes for layer in layers):
        yield "hash"
    scaled = [layer.layer.num_buckets for layer in layers if layer.scales_hashes]
    if scaled:
        yield "scale16" if max(scaled) < 2**16 else "scale32"
    if any(isinstance(layer, LowRank) for layer in layers):
        yield "gaussian"
    if any(layer.is_packed() for layer in layers):
        yield "unpack"
