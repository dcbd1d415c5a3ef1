"""Layers as ONNX operators: each function adds one to a graph, and returns (batch, out_features)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minihash.export.known import Forms
from minihash.export.onnx_graph import Graph, Value, product
from minihash.export.onnx_hashed import CODES, hashed_linear, quantized_weight
from minihash.layers import (
    Dropout,
    HashedLinear,
    Layer,
    Linear,
    QuantizedHashedLinear,
    ReLU,
    Sigmoid,
    Tanh,
)


def dense_linear(layer: Layer, inputs: Value, weight: Value, bias: Value | None) -> Value:
    """Add a layer whose weight is its whole matrix."""
    return product(inputs, weight, bias)


WEIGHT_LAYERS: dict[type[Layer], Callable[..., Value]] = {
    HashedLinear: hashed_linear,
    Linear: dense_linear,
    QuantizedHashedLinear: hashed_linear,
}
OPERATORS: dict[type[Layer], str | None] = {ReLU: "Relu", Tanh: "Tanh", Sigmoid: "Sigmoid", Dropout: None}
FORMS = Forms("ONNX", (*WEIGHT_LAYERS, *OPERATORS), CODES)


def add_layer(graph: Graph, layer: Any, position: int, inputs: Value, dense: bool) -> Value:
    """Add the layer at a position of the network; return its outputs.

    With `dense`, hashed layers are written as their whole matrix.
    """
    kind = type(layer)
    if kind in OPERATORS:
        operator = OPERATORS[kind]
        return inputs if operator is None else graph.apply(operator, inputs)
    params, add = dict(layer.params), WEIGHT_LAYERS[kind]
    if dense and isinstance(layer, HashedLinear):
        add, params = dense_linear, {"weight": layer.virtual_weight_matrix()}
        if layer.bias != "none":
            params["bias"] = layer.virtual_bias()
    values = {name: graph.constant(f"{position}.{name}", array) for name, array in params.items()}
    if "codes" in values:
        values["weight"] = quantized_weight(layer, values["codes"], values["scale"])
    return add(layer, inputs, values["weight"], values.get("bias"))
