"""Layers as ONNX operators: each function adds one to a graph and returns its outputs (batch, out_features).

Hashes are computed on uint32, which wraps around, and scaled to buckets on uint64; what is ordered or used as
an index is int64. ONNX Runtime has operators for these types from 1.21 on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minihash.export.known import Forms
from minihash.export.onnx_graph import Graph, Value
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

PRIME2, PRIME3, PRIME4, PRIME5 = 2246822519, 3266489917, 668265263, 374761393

# ----------------------------------------------------------------------------- the hash (docs/format.md)


def xxhash32(i: Value, j: Value, seed: int) -> Value:
    """Add the hash of positions, uint32; i and j are uint32 that broadcast."""
    h = _rotate(i * PRIME3 + (seed + PRIME5 + 8) % 2**32) * PRIME4
    h = _rotate(j * PRIME3 + h) * PRIME4
    h = (h ^ (h >> 15)) * PRIME2
    h = (h ^ (h >> 13)) * PRIME3
    return h ^ (h >> 16)


def _rotate(x: Value) -> Value:
    return (x << 17) ^ (x >> 15)


def scale_to_range(hashed: Value, size: int) -> Value:
    """Add `(hash · size) >> 32` in 64 bits, as int64: exact for every size below 2³²."""
    return ((hashed.cast(np.uint64) * size) >> 32).cast(np.int64)


# ------------------------------------------------------------------------------------- hashed layers


def hashed_linear(layer: HashedLinear, inputs: Value, weight: Value, bias: Value | None) -> Value:
    """Add a hashed layer; a hashed bias is V's last column, and its input a column of ones."""
    rows = weight.graph.range(0, layer.out_features).reshape(-1, 1)
    if layer.bias == "hashed":
        inputs = inputs.append_ones()
    columns = weight.graph.range(0, layer.columns)
    return product(inputs, virtual_matrix(layer, rows, columns, weight), bias)


def virtual_matrix(layer: HashedLinear, rows: Value, columns: Value, weight: Value) -> Value:
    """Add V (out_features, columns).

    Signed, `s = (hash · 2K) >> 32` is a place in the vector `[w, −w]`: one gather gives bucket and sign.
    """
    hashed = xxhash32(rows, columns, layer.seed)
    if not layer.signed:
        return weight.gather(scale_to_range(hashed, layer.num_buckets))
    table = weight.graph.apply("Concat", weight, -weight, axis=0)
    return table.gather(scale_to_range(hashed, 2 * layer.num_buckets))


def quantized_weight(layer: QuantizedHashedLinear, codes: Value, scale: Value) -> Value:
    """Add the weights (num_buckets,) of codes."""
    return CODES[layer.bits](layer, codes).cast(layer.dtype) * scale


def packed_codes(layer: QuantizedHashedLinear, codes: Value) -> Value:
    """Add the codes (num_buckets,) of four bits, of which two lie in a byte, each plus 8."""
    pairs = codes.cast(np.uint32).reshape(-1, 1)
    high = pairs >> 4
    halves = codes.graph.apply("Concat", pairs ^ (high << 4), high, axis=1).reshape(-1)
    return halves.gather(codes.graph.range(0, layer.num_buckets).cast(np.int64)).cast(layer.dtype) - 8


CODES: dict[int, Callable[..., Value]] = {8: lambda layer, codes: codes, 4: packed_codes}


# -------------------------------------------------------------------------------------- other layers


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


def product(inputs: Value, matrix: Value, bias: Value | None = None) -> Value:
    """Add `inputs · matrixᵀ + bias`."""
    operands = (inputs, matrix) if bias is None else (inputs, matrix, bias)
    return inputs.graph.apply("Gemm", *operands, transB=1)


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
