"""Layers as ONNX operators: each function adds one to a graph, and returns (batch, out_features)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minihash.export.known import Forms
from minihash.export.onnx_graph import Graph, Value, product
from minihash.export.onnx_hashed import CODES, hashed_linear, quantized_weight, xxhash32
from minihash.layers import (
    Dropout,
    HashedLinear,
    Layer,
    Linear,
    LowRankLinear,
    QuantizedHashedLinear,
    ReLU,
    Sigmoid,
    SparseLinear,
    Tanh,
)


def sparse_linear(layer: SparseLinear, inputs: Value, weight: Value, bias: Value | None) -> Value:
    """Add a sparse layer; its first rows may keep an edge more than the others."""
    each, more = divmod(layer.num_weights, layer.out_features)
    blocks = ((0, more, each + 1), (more, layer.out_features, each))
    rows = [sparse_rows(layer, weight, start, stop, count) for start, stop, count in blocks if start < stop]
    return product(inputs, weight.graph.apply("Concat", *rows, axis=0), bias)


def sparse_rows(layer: SparseLinear, weight: Value, start: int, stop: int, count: int) -> Value:
    """Add rows of W that keep `count` edges each: the weights in their places among zeros."""
    graph = weight.graph
    shape = graph.number([stop - start, layer.in_features], np.int64)
    zeros = graph.apply("Expand", graph.number(0, weight.dtype), shape)
    if not count:
        return zeros
    rows = graph.range(start, stop).reshape(-1, 1)
    hashed = xxhash32(rows, graph.range(0, layer.in_features), layer.seed).cast(np.int64)
    _, kept = graph.smallest(hashed, count)
    ascending, _ = graph.smallest(kept, count)
    first, end = layer.indptr[[start, stop]].tolist()
    kept_weights = weight.gather(graph.range(first, end).cast(np.int64)).reshape(-1, count)
    return graph.apply("ScatterElements", zeros, ascending, kept_weights, axis=1)


def low_rank_linear(layer: LowRankLinear, inputs: Value, weight: Value, bias: Value | None) -> Value:
    """Add a low-rank layer. G is a constant: ONNX has no quantile function of the normal distribution."""
    factor = weight.graph.constant(f"{weight.name}.fixed_factor", layer.fixed_factor.astype(layer.dtype))
    return product(product(inputs, factor), weight, bias)


def dense_linear(layer: Layer, inputs: Value, weight: Value, bias: Value | None) -> Value:
    """Add a layer whose weight is its whole matrix."""
    return product(inputs, weight, bias)


WEIGHT_LAYERS: dict[type[Layer], Callable[..., Value]] = {
    HashedLinear: hashed_linear,
    Linear: dense_linear,
    LowRankLinear: low_rank_linear,
    QuantizedHashedLinear: hashed_linear,
    SparseLinear: sparse_linear,
}
OPERATORS: dict[type[Layer], str | None] = {ReLU: "Relu", Tanh: "Tanh", Sigmoid: "Sigmoid", Dropout: None}
FORMS = Forms("ONNX", (*WEIGHT_LAYERS, *OPERATORS), CODES)


def add_layer(graph: Graph, layer: Any, position: int, inputs: Value, dense: bool) -> Value:
    """Add the layer at a position of the network; return its outputs.

    With `dense`, hashed and sparse layers are written as their whole matrix.
    """
    kind = type(layer)
    if kind in OPERATORS:
        operator = OPERATORS[kind]
        return inputs if operator is None else graph.apply(operator, inputs)
    params, add = dict(layer.params), WEIGHT_LAYERS[kind]
    if dense and isinstance(layer, (HashedLinear, SparseLinear)):
        add, params = dense_linear, {"weight": layer.virtual_weight_matrix()}
        if isinstance(layer, SparseLinear):
            params["bias"] = layer.params["bias"]
        elif layer.bias != "none":
            params["bias"] = layer.virtual_bias()
    values = {name: graph.constant(f"{position}.{name}", array) for name, array in params.items()}
    if "codes" in values:
        values["weight"] = quantized_weight(layer, values["codes"], values["scale"])
    return add(layer, inputs, values["weight"], values.get("bias"))
