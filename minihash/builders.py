"""Builders of networks: multi-layer perceptrons of hashed, dense or any layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minihash import checks, memory
from minihash.hashing import LIMIT_BUCKETS, LIMIT_FEATURES, layer_seed, xxhash32
from minihash.layers import Dropout, HashedLinear, Layer, Linear
from minihash.layers.hashed_linear import BIASES
from minihash.layers.registry import activations
from minihash.network import Network
from minihash.schema import Schema


def mlp(
    sizes: Sequence[int],
    *others: int,
    compression: float | None = None,
    num_buckets: int | Sequence[int] | None = None,
    memory_bytes: int | None = None,
    activation: str = "relu",
    dropout: float | tuple[float, float] = 0.0,
    seed: int = 0,
    tile: int | str | Sequence[int] = 1,
    bias: str = "hashed",
    signed: bool = True,
    initializer: str = "uniform",
    input_scale: Any = 1.0,
    input_shift: Any = 0.0,
    output_scale: Any = 1.0,
    output_shift: Any = 0.0,
    class_names: Sequence[str] | None = None,
    schema: Schema | None = None,
    dtype: Any = np.float32,
) -> Network:
    """Build a multi-layer perceptron, hashed if its size is given in one of three ways, else dense.

    Parameters
    ----------
    sizes : units of each layer, inputs and outputs included, such as [784, 1000, 10]; one list, and no
        `others`.
    compression : stored / virtual weights of every layer, in (0, 1].
    num_buckets : instead, the stored weights of every layer: one number, or one a layer.
    memory_bytes : instead, the bytes of all stored numbers, at most; all layers are compressed at one rate.
    activation : "relu", "tanh" or "sigmoid", after every layer but the last.
    dropout : rate before every layer but the first, or (rate of the inputs, rate of the others).
    seed : of the network: weight layer p gets the seed `xxhash32(p, 0, seed)`.
    tile : as in `HashedLinear`, for every layer, or one a layer.
    bias, signed, initializer, dtype : as in `HashedLinear`; a dense layer has a bias unless
        bias="none".
    input_scale, input_shift, output_scale, output_shift, class_names, schema : as in `Network`.

    Returns
    -------
    Network

    Raises
    ------
    ValueError for a wrong argument, and for a network that needs more memory than is available.

    Examples
    --------
    >>> network = mlp([784, 1000, 10], compression=1 / 64)
    >>> network.num_virtual, network.num_parameters, network.nbytes
    (795010, 12422, 49688)
    >>> print(mlp([784, 100, 10], memory_bytes=5000).summary())
    layer         shape       virtual  stored  bytes  compression
    -------------------------------------------------------------
    HashedLinear  784 -> 100   78,500   1,234  4,936      1/63.61
    ReLU
    HashedLinear  100 -> 10     1,010      15     60      1/67.33
    total         784 -> 10    79,510   1,249  4,996      1/63.66
    """
    if others:
        raise ValueError(f"sizes is {sizes!r} and others follow, wanted a list: mlp({[sizes, *others]!r})")
    _check_sizes(sizes)
    checks.choice("bias", bias, BIASES)
    checks.boolean("signed", signed)
    if memory_bytes is not None:
        if compression is not None or num_buckets is not None:
            raise ValueError("memory_bytes is given and so is compression or num_buckets, wanted one of them")
        itemsize = checks.floating_dtype("dtype", dtype).itemsize
        num_buckets = _buckets_within(memory_bytes, sizes, bias, itemsize)
    buckets = _per_layer("num_buckets", num_buckets, len(sizes) - 1)
    tiles = [tile] * len(buckets) if isinstance(tile, str) else _per_layer("tile", tile, len(buckets))
    dense = compression is None and num_buckets is None
    if dense and any(length != 1 or length is True for length in tiles):
        raise ValueError(f"tile is {tile!r}, wanted 1: a dense layer has no tiles")
    weights = _count_weights(sizes, compression, buckets, bias)
    memory.check_building(sizes, weights, checks.floating_dtype("dtype", dtype).itemsize)

    rates, starts = _dropout_rates(dropout), _starts(sizes, activation, seed, initializer, dtype)
    layers: list[Layer]
    if dense:
        layers = [Linear(*shape, bias=bias != "none", **start) for shape, start in starts]
    else:
        common: dict[str, Any] = {"compression": compression, "bias": bias, "signed": signed}
        layers = [
            HashedLinear(fan_in, fan_out, num_buckets=own, tile=length, **common, **start)
            for ((fan_in, fan_out), start), own, length in zip(starts, buckets, tiles)
        ]
    layers = _put_between(layers, activation, rates, seed)
    return Network(
        layers,
        input_scale=input_scale,
        input_shift=input_shift,
        output_scale=output_scale,
        output_shift=output_shift,
        class_names=class_names,
        schema=schema,
    )


def _virtual(sizes: Sequence[int], bias: str) -> list[int]:
    """Return the virtual weights of each layer, those of hashed biases among them."""
    return [fan_out * (fan_in + (bias == "hashed")) for fan_in, fan_out in zip(sizes, sizes[1:])]


def _count_weights(sizes: Sequence[int], compression: Any, buckets: Sequence[Any], bias: str) -> list[float]:
    """Return about how many weights each layer stores."""
    rate = 1.0 if compression is None else checks.number("compression", compression, 0, 1, open_low=True)
    return [
        rate * count if own is None else checks.integer("num_buckets", own, 1, min(count + 1, LIMIT_BUCKETS))
        for count, own in zip(_virtual(sizes, bias), buckets)
    ]


def _buckets_within(memory_bytes: Any, sizes: Sequence[int], bias: str, itemsize: int) -> list[int]:
    """Return the buckets of each layer that take so many bytes with the biases, or a few less."""
    virtual = _virtual(sizes, bias)
    free = sum(sizes[1:]) if bias == "free" else 0
    least = itemsize * (free + len(virtual))
    room = checks.integer("memory_bytes", memory_bytes, least, 2**63) // itemsize - free
    buckets = [min(count, max(1, room * count // sum(virtual))) for count in virtual]
    while sum(buckets) > room:  # layers so small that one bucket is more than their share
        buckets[buckets.index(max(buckets))] -= 1
    return buckets


def stack(
    sizes: Sequence[int],
    make_layer: Callable[..., Layer],
    *,
    activation: str = "relu",
    dropout: float | tuple[float, float] = 0.0,
    seed: int = 0,
    initializer: str = "uniform",
    input_scale: Any = 1.0,
    input_shift: Any = 0.0,
    class_names: Sequence[str] | None = None,
    schema: Schema | None = None,
    dtype: Any = np.float32,
) -> Network:
    """Build a multi-layer perceptron of weight layers of any kind.

    Parameters
    ----------
    make_layer : called as `make_layer(position, in_features, out_features, initializer=…, gain=…, seed=…,
        dtype=…)` for the weight layers 0, 1, …, with a seed for each and the gain that its activation wants.
    sizes, activation, … : as in `mlp`.

    Returns
    -------
    Network

    Raises
    ------
    ValueError for a wrong argument, and for a layer that needs more memory than is available.
    """
    _check_sizes(sizes)
    rates, starts = _dropout_rates(dropout), _starts(sizes, activation, seed, initializer, dtype)
    weight_layers = [make_layer(position, *shape, **start) for position, (shape, start) in enumerate(starts)]
    layers = _put_between(weight_layers, activation, rates, seed)
    return Network(layers, input_scale=input_scale, input_shift=input_shift, class_names=class_names)


def _starts(
    sizes: Sequence[int], activation: str, seed: int, initializer: str, dtype: Any
) -> list[tuple[tuple[int, int], dict[str, Any]]]:
    """Return each weight layer's shape, and what it starts with whatever its kind."""
    shapes = list(zip(sizes, sizes[1:]))
    gains = [_activation(activation).gain_before] * (len(shapes) - 1) + [1.0]
    common = {"initializer": initializer, "dtype": dtype}
    return [
        (shape, {"gain": gain, "seed": layer_seed(position, seed), **common})
        for position, (shape, gain) in enumerate(zip(shapes, gains))
    ]


def _put_between(
    weight_layers: Sequence[Layer], activation: str, rates: tuple[float, float], seed: int
) -> list[Layer]:
    """Return the layers with dropout before each, and an activation after each but the last."""
    kind, (input_rate, hidden_rate) = _activation(activation), rates
    layers: list[Layer] = []
    for position, layer in enumerate(weight_layers):
        if position:
            layers.append(kind(layer.dtype))
        if rate := hidden_rate if position else input_rate:
            layers.append(Dropout(rate, seed=int(xxhash32(position, 1, seed)), dtype=layer.dtype))
        layers.append(layer)
    return layers


def _activation(name: str) -> type[Layer]:
    kinds = activations()
    return kinds[checks.choice("activation", name, tuple(kinds))]


def _check_sizes(sizes: Any) -> None:
    if not isinstance(sizes, Sequence) or len(sizes) < 2:
        raise ValueError(f"sizes is {sizes!r}, wanted a list of at least inputs and outputs, as [784, 10]")
    for position, units in enumerate(sizes):
        checks.integer(f"sizes[{position}]", units, 1, LIMIT_FEATURES)


def _dropout_rates(dropout: float | tuple[float, float]) -> tuple[float, float]:
    """Return the rates of the inputs and of the other layers."""
    rates = dropout if isinstance(dropout, (tuple, list)) else (0.0, dropout)
    if len(rates) != 2:
        raise ValueError(f"dropout is {dropout!r}, wanted one rate or a pair of them")
    first, rest = (checks.number("dropout", rate, 0, 1) for rate in rates)
    return first, rest


def _per_layer(name: str, value: Any, count: int) -> list[Any]:
    """Return one value a layer from one for all or a sequence."""
    if not isinstance(value, (Sequence, np.ndarray)):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{name} has {len(value)} values, wanted {count}: one a layer")
    return list(value)
