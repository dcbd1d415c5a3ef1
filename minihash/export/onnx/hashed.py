"""The hashed layer as ONNX operators: with its matrix made in the graph, or with products shared by its rows.

Hashes are computed on uint32, which wraps around, and scaled to buckets on uint64; what is ordered or used as
an index is int64. ONNX Runtime has operators for these types from 1.21 on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minihash.export.onnx.graph import Value, product
from minihash.layers import HashedLinear, QuantizedHashedLinear
from minihash.maps import EVERY

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


def hashed_linear(layer: HashedLinear, inputs: Value, weight: Value, bias: Value | None = None) -> Value:
    """Add a hashed layer; a hashed bias is V's last column, and its input a column of ones."""
    map, graph = layer.bucket_map, weight.graph
    if layer.bias == "hashed":
        inputs = inputs.append_columns(1, 1)
    rows = graph.range(0, layer.out_features).reshape(-1, 1)
    slots = xxhash32(rows, graph.range(0, map.segments), layer.seed)
    slots = scale_to_range(slots, 2 * map.tiles if layer.signed else map.tiles)
    if map.tile == 1:
        return product(inputs, with_negative(layer, weight).gather(slots), bias)
    tiles, arranged = with_negative(layer, tiles_of(layer, weight)), arrange(layer, inputs)
    if map.tiles >= layer.out_features:
        return product(arranged, tiles.gather(slots).reshape(layer.out_features, -1), bias)
    outputs = shared_products(layer, arranged, tiles, slots)
    return outputs if bias is None else outputs + bias


def with_negative(layer: HashedLinear, values: Value) -> Value:
    """Add `[values, −values]` for a signed layer, where `s = (hash · 2T) >> 32` is a place."""
    return values.graph.apply("Concat", values, -values, axis=0) if layer.signed else values


def tiles_of(layer: HashedLinear, weight: Value) -> Value:
    """Add the tiles (T, B); the last may overlap the one before."""
    map, graph = layer.bucket_map, weight.graph
    starts = graph.range(0, map.tiles).cast(np.int64) * map.tile
    starts = graph.apply("Min", starts, map.num_buckets - map.tile).reshape(-1, 1)
    return weight.gather(starts + graph.range(0, map.tile).cast(np.int64))


def arrange(layer: HashedLinear, inputs: Value) -> Value:
    """Add the inputs (batch, G · B) in the order of their places, with their signs.

    Places that no column has are given the first one, times 0: so much does not depend on the inputs. Rows of
    numbers are gathered, as a runtime copies at once what lies side by side.
    """
    map, graph = layer.bucket_map, inputs.graph
    every = graph.number([EVERY], np.uint32)
    draws = xxhash32(every, graph.range(0, map.columns), layer.seed).cast(np.int64).reshape(1, -1)
    draws, columns = graph.smallest(draws, map.columns)
    signs = (draws % (2 if layer.signed else 1)) * -2 + 1
    missing = map.segments * map.tile - map.columns
    columns, signs = (values.append_columns(missing, 0).reshape(-1) for values in (columns, signs))
    return inputs.transpose().gather(columns).transpose() * signs.cast(inputs.dtype)


def shared_products(layer: HashedLinear, arranged: Value, tiles: Value, slots: Value) -> Value:
    """Add `z_i = Σ_g ξ₁(i, g) · P[g, τ(i, g)]`: no matrix is made (docs/format.md).

    P (batch, G, T), of signed layers (batch, G, 2T), is looked up at the places of all rows' slots.
    """
    map, graph = layer.bucket_map, arranged.graph
    products = graph.apply("MatMul", arranged.reshape(-1, map.segments, map.tile), tiles.transpose())
    each = (1 + layer.signed) * map.tiles
    places = slots.transpose() + graph.range(0, map.segments).cast(np.int64).reshape(-1, 1) * each
    drawn = products.reshape(-1, map.segments * each).transpose().gather(places)
    return graph.apply("ReduceSum", drawn, graph.number([0], np.int64), keepdims=0).transpose()


def quantized_hashed_linear(
    layer: QuantizedHashedLinear, inputs: Value, codes: Value, scale: Value, bias: Value | None = None
) -> Value:
    """Add a hashed layer of codes, of which weights (num_buckets,) are made first."""
    weight = CODES[layer.bits](layer, codes).cast(layer.dtype) * scale
    return hashed_linear(layer, inputs, weight, bias)


def packed_codes(layer: QuantizedHashedLinear, codes: Value) -> Value:
    """Add the codes (num_buckets,) of four bits, of which two lie in a byte, each plus 8."""
    pairs = codes.cast(np.uint32).reshape(-1, 1)
    high = pairs >> 4
    halves = codes.graph.apply("Concat", pairs ^ (high << 4), high, axis=1).reshape(-1)
    return halves.gather(codes.graph.range(0, layer.num_buckets).cast(np.int64)).cast(layer.dtype) - 8


CODES: dict[int, Callable[..., Value]] = {8: lambda layer, codes: codes, 4: packed_codes}
