"""What every layer with weights has in C: what it stores, keeps and computes, and its functions.

A layer is computed in one of two orders, so that of two neighbours one at least need not be kept:

    input by input    every input is added to all units: the units' sums are kept, no input is
    unit by unit      a unit is made from all inputs: the inputs are kept, no unit is

Layers with an `inner` vector between inputs and units, such as one of products, take inputs one by one and
give units one by one: they keep the inner vector alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minihash.export.c.text import Constant, fill, number
from minihash.integers import Stage
from minihash.layers import QuantizedHashedLinear


class CLayer:
    """One layer of the exported network. A form of a kind is a subclass, with a template or a `code`.

    Parameters
    ----------
    layer : the layer.
    position : among the layers with weights; functions are called `layer<position>_…`.
    by_input : the loop order, where there is a choice.

    Attributes
    ----------
    template : text of C in sections, with placeholders that `fields` fills.
    inner : the length of an inner vector, or 0.
    parameters : the learned arrays, by name ("weight", "bias"), in the order in which the loops want them.
    tables : constants beside them.
    multiply_adds, additions, hashes : of one inference; additions beside those of multiply-adds.
    draws_from : the number that hashes are scaled to, or 0.
    in_order : whether inputs that come one by one come in their order.
    variables : bytes of static variables beside the vectors, without `indices`, the number of index_t.
    free_bias : of unit i, as C, where biases are stored by themselves; or "".
    stage : of a network in whole numbers; None in one of floats.
    scale : of quantised weights, as C: sums are of codes, and scaled when they are finished; or "".
    """

    template = ""
    inner = 0
    draws_from = 0
    in_order = True
    additions = 0
    hashes = 0
    variables = 0
    indices = 0

    def __init__(self, layer: Any, position: int, by_input: bool) -> None:
        self.layer = layer
        self.position = position
        self.by_input = by_input
        self.name = f"layer{position}"
        self.parameters = dict(layer.params)
        self.free_bias = f"{self.name}_bias(i)" if "bias" in layer.params else ""
        self.scale = ""
        if isinstance(layer, QuantizedHashedLinear):
            self.scale = number(self.parameters.pop("scale")[0])
            self.parameters = {"weight": self.parameters.pop("codes"), **self.parameters}
        self.stage: Stage | None = None
        self.tables: list[Constant] = []
        self.multiply_adds = layer.out_features * layer.in_features

    def in_whole_numbers(self, stage: Stage) -> None:
        """Compute the stage's sums: codes are multiplied as they are, and biases are whole numbers too."""
        self.stage, self.scale = stage, ""
        if self.free_bias:
            self.parameters["bias"] = stage.bias.astype(np.int32)

    def sections(self) -> tuple[str, ...]:
        """Return the sections of the template that predict."""
        return ("entry", "input" if self.by_input else "unit")

    def training_sections(self) -> tuple[str, ...]:
        """Return the sections of the template that train."""
        return (*(["back"] if self.position else []), "update")

    def take(self, target: str, value: Callable[[str], str]) -> list[str]:
        """Return the statements that add all inputs to `target`; `value(j)` is the expression of input j."""
        return [
            f"{self.name}_begin({target});",
            f"for (index_t j = 0; j < {self.layer.in_features}; j++)",
            f"    {self.name}_add({target}, j, {value('j')});",
        ]

    def backward(self, source: str, before: str) -> list[str]:
        """Return the statements that hand the gradient to the array `before`, and then move the weights.

        source : the array of the inputs.
        before : the array of the gradient of the inputs, "" where there is none.
        """
        delta = f"{self.name}_delta"
        back = [f"{self.name}_back({delta}, {before});"] if before else []
        return [*back, f"{self.name}_update({source}, {delta});"]

    def words(self) -> str:
        """Return what the layer is, for a comment."""
        layer = self.layer
        what = f"{type(layer).__name__}, {layer.in_features} inputs, {layer.out_features} units"
        return f"{what}: {layer.num_parameters:,} stored numbers for {layer.num_virtual:,}"

    def is_packed(self) -> bool:
        """Return whether weights lie two in a byte."""
        return any(array.dtype == np.uint8 for array in self.parameters.values())

    def bias(self) -> str:
        """Return the expression that unit i's sum begins with: its bias, unless that comes in the end."""
        return self.free_bias if self.free_bias and not self.scale else "0"

    def finished(self, total: str) -> str:
        """Return the expression of unit i from its sum."""
        if not self.scale:
            return total
        return f"{self.scale} * {total}" + (f" + {self.free_bias}" if self.free_bias else "")

    def bias_step(self) -> str:
        """Return the statement that trains unit i's bias, if it has one."""
        return f"{self.name}_bias_step(i, delta[i]);" if self.free_bias else ""

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
        names = [*self.sections(), *(self.training_sections() if training else ())]
        return "\n".join(fill(self.template, name, **self.fields()) for name in names)

    def largest_index(self) -> int:
        """Return the largest number that the counters of the layer's loops reach."""
        return max(self.layer.in_features + 1, self.layer.out_features, self.inner)


def index_bytes(layers: Iterable[CLayer]) -> int:
    """Return the bytes of what counts units and weights."""
    return 4 if max(layer.largest_index() for layer in layers) >= 2**16 else 2
