"""The hashed layer in C: a hash for every weight, or tiles, in two forms by what costs less.

    Products    fewer tiles than units: an input is multiplied by the T tiles, in its segment, once for all
                units; a unit adds up a product for each of its segments
    Segments    else: a hash finds the tile of a unit for a segment of inputs, and what follows are products

Both forms of tiles take a hash for each unit and segment; Segments one for each AHEAD inputs at least.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minihash.export.c.layer import CLayer
from minihash.export.c.text import Constant, c_type, template
from minihash.integers import Stage
from minihash.layers import HashedLinear

AHEAD, AHEAD_OF_WHOLE = 24, 32  # inputs that wait for each other, to share hashes


class Element(CLayer):
    """The hashed layer with a hash for every weight."""

    template = template("element.c")

    def __init__(self, layer: HashedLinear, position: int, by_input: bool) -> None:
        super().__init__(layer, position, by_input)
        self.draws_from = layer.num_buckets
        self.hashes = layer.out_features * layer.columns

    def bias(self) -> str:
        if self.layer.bias != "hashed":
            return super().bias()
        code = f"{self.name}_entry(hash_row(i, {self.layer.seed}u), {self.layer.in_features})"
        return f"bias_of({code}, {self.stage.one})" if self.stage else code

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
            "signed_weight": "(weight_t)(hash >> 31 ? -weight : weight)" if signed else "weight",
            "signed_grad": "hash >> 31 ? -grad : grad" if signed else "grad",
        }

    def largest_index(self) -> int:
        return max(super().largest_index(), self.layer.num_buckets)


class Tiles(CLayer):
    """What both forms have in common: tiles of the weights, and where each column lies in the segments."""

    template = template("tiles.c")

    def __init__(self, layer: HashedLinear, position: int, by_input: bool) -> None:
        super().__init__(layer, position, by_input)
        self.map = layer.bucket_map
        self.draws_from = self.map.tiles
        self.hashes = layer.out_features * self.map.segments
        entries = self._entries()
        kind = np.min_scalar_type(2 * self.map.columns)
        self.tables = [Constant(f"{self.name}_entries", entries.astype(kind))]

    def _entries(self) -> np.ndarray:
        """Return 2 · place + (1 where the sign is −1) of each column."""
        return 2 * self.map.places.astype(np.int64) + (self.map.signs < 0)

    def sections(self) -> tuple[str, ...]:
        return ("slot", "bias") if self.stage and self.layer.bias == "hashed" else ("slot",)

    def bias(self) -> str:
        if self.stage and self.layer.bias == "hashed":
            return f"{self.name}_bias(hash_row(i, {self.layer.seed}u))"
        return super().bias()

    def _of_bias(self) -> dict[str, Any]:
        """Return where a hashed bias has its code, in whole numbers."""
        if not self.stage or self.layer.bias != "hashed":
            return {}
        segment, offset = divmod(int(self.map.places[-1]), self.map.tile)
        sign = "-" if self.map.signs[-1] < 0 else ""
        facts = {"bias_segment": segment, "bias_offset": f"{offset}u", "bias_sign": sign}
        return {**facts, "one": self.stage.one}

    def fields(self) -> dict[str, Any]:
        map, (table,) = self.map, self.tables
        start = f"(size_t)tile * {map.tile}u"
        if map.tiles * map.tile > map.num_buckets:  # the last one overlaps the one before
            start = f"tile < {map.tiles - 1} ? {start} : {map.num_buckets - map.tile}u"
        signed, fields = self.layer.signed, super().fields()
        return {
            **fields,
            "B": f"{map.tile}u",
            "T": map.tiles,
            "G": map.segments,
            "columns": map.columns,
            "bits": "hash << 1" if signed else "hash",
            "start": start,
            "signed_product": "hash >> 31 ? -product : product" if signed else "product",
            "entry_t": c_type(table.array.dtype),
            "entry": table.read("j"),
            "fed": self._fed(fields["input"]),
            **self._of_bias(),
        }

    def _fed(self, value: str) -> str:
        """Return the expression of what column j is multiplied by: its input, or 1 for the bias."""
        if self.layer.bias == "hashed":  # in whole numbers it is added by itself
            return f"(value_t)(j < {self.layer.in_features} ? {value} : {0 if self.stage else '1.0f'})"
        return f"(value_t){value}"

    def largest_index(self) -> int:
        return max(super().largest_index(), self.map.num_buckets, self.map.segments * self.map.tile)


class Products(Tiles):
    """Inputs are added to the products (G, T) of segments and tiles, of which each unit is a signed sum."""

    def __init__(self, layer: HashedLinear, position: int, by_input: bool) -> None:
        super().__init__(layer, position, by_input)
        self.inner = self.map.tiles * self.map.segments
        self.multiply_adds = self.map.tiles * layer.in_features
        self.additions = layer.out_features * self.map.segments

    def sections(self) -> tuple[str, ...]:
        return (*super().sections(), "products")

    def training_sections(self) -> tuple[str, ...]:
        return ("products_scatter", *(["products_back"] if self.position else []), "products_update")

    def backward(self, source: str, before: str) -> list[str]:
        inner, delta = f"{self.name}_inner", f"{self.name}_delta"
        lines = [f"{self.name}_scatter({delta}, {inner});"]
        if before:
            lines.append(f"{self.name}_back({inner}, {before});")
        return [*lines, f"{self.name}_update({source}, {inner}, {delta});"]

    def fields(self) -> dict[str, Any]:
        begin = ""
        if self.layer.bias == "hashed" and not self.stage:
            begin = f"    {self.name}_add(products, {self.layer.in_features}, 1.0f);\n"
        return {**super().fields(), "products": self.inner, "begin_bias": begin}


class Segments(Tiles):
    """Columns come in the order of their places: a unit's weights of a segment lie in one tile."""

    def __init__(self, layer: HashedLinear, position: int, by_input: bool) -> None:
        super().__init__(layer, position, by_input)
        self.offset, self.ahead = np.min_scalar_type(self.map.tile - 1), 0
        self.in_order = not by_input
        if by_input:
            self._wait(AHEAD, 4)

    def _wait(self, ahead: int, nbytes: int) -> None:
        """Let so many inputs wait for each other, each of so many bytes."""
        self.ahead = ahead
        self.hashes = self.layer.out_features * self.map.segments * -(-self.map.tile // ahead)
        self.variables, self.indices = ahead * (nbytes + self.offset.itemsize) + 1, 1

    def in_whole_numbers(self, stage: Stage) -> None:
        super().in_whole_numbers(stage)
        if self.by_input:
            self._wait(AHEAD_OF_WHOLE, 2)

    def _entries(self) -> np.ndarray:
        """Return 2 · column + (1 where its sign is −1) of each place."""
        order = np.argsort(self.map.places)
        return 2 * order + (self.map.signs[order] < 0)

    def take(self, target: str, value: Callable[[str], str]) -> list[str]:
        (table,) = self.tables
        return [
            f"{self.name}_begin({target});",
            f"for (index_t place = 0; place < {self.map.columns}; place++) {{",
            f"    const index_t j = (index_t)({table.read('place')} >> 1);",
            "",
            f"    {self.name}_add({target}, place, {self._fed(value('j'))});",
            "}",
            f"{self.name}_flush({target});",
        ]

    def sections(self) -> tuple[str, ...]:
        return (*super().sections(), "segment" if self.by_input else "unit")

    def fields(self) -> dict[str, Any]:
        (table,) = self.tables
        return {
            **super().fields(),
            "at_place": table.read("place"),
            "fed_inputs": self._fed("inputs[j]"),
            "offset_t": c_type(self.offset),
            "ahead": self.ahead,
        }


def hashed(layer: HashedLinear, position: int, by_input: bool) -> CLayer:
    """Return a hashed layer in the form of its map."""
    if layer.tile == 1:
        return Element(layer, position, by_input)
    form = Products if layer.bucket_map.tiles < layer.out_features else Segments
    return form(layer, position, by_input)
