"""A network: layers in sequence, and the builders `mlp` and `stack`."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minihash import checks, memory, text
from minihash.hashing import LIMIT_BUCKETS, LIMIT_FEATURES, layer_seed, xxhash32
from minihash.kernels import devices
from minihash.kernels.devices import Device
from minihash.layers import (
    Dropout,
    HashedLinear,
    Layer,
    Linear,
    LowRankLinear,
    ReLU,
    Sigmoid,
    SparseLinear,
    Tanh,
)
from minihash.layers.hashed_linear import BIASES, MAPS
from minihash.schema import Schema

ACTIVATIONS: dict[str, type[Layer]] = {"relu": ReLU, "tanh": Tanh, "sigmoid": Sigmoid}
HASHED = (HashedLinear, LowRankLinear, SparseLinear)  # what the seed makes is a part of what they compute
PREDICT_ROWS = 1024  # a chunk of `predict`
MANY = 2**24  # numbers of a matrix that may not fit the memory
SEEDS = 20  # of a last layer of windows, before it may have equal outputs


class Network:
    """Layers in sequence, with a fixed scaling of the inputs before the first.

    Parameters
    ----------
    layers : at least one layer; features and dtypes must fit together, and no two hashed layers (sparse
        and low-rank ones among them) may have the same seed: layers of equal shape would get the same
        buckets, edges or factor.
    input_scale, input_shift : the first layer sees `(inputs − input_shift) · input_scale`; numbers, or
        one a feature. They are saved with the network, so that it takes raw data: 1/255 for pixels.
    class_names : names of the outputs of a classifier, or None.
    schema : what it is trained for, and how its data are laid out; None where nobody knows. `fit` notes the
        task there, and `minihash train` all of it.

    Raises
    ------
    ValueError if the layers do not fit together or an argument is wrong.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        input_scale: Any = 1.0,
        input_shift: Any = 0.0,
        class_names: Sequence[str] | None = None,
        schema: Schema | None = None,
    ) -> None:
        if not isinstance(layers, Sequence):
            raise ValueError(f"layers is {layers!r}, wanted a list of layers")
        self.layers = list(layers)
        self.in_features, self.out_features = _check_layers(self.layers)
        self._widest = max([self.in_features or 0, *(layer.out_features or 0 for layer in self.layers)])
        self.dtype = self.layers[0].dtype
        self.device = self.layers[0].device
        self.input_scale = self._per_feature("input_scale", input_scale)
        self.input_shift = self._per_feature("input_shift", input_shift)
        self.class_names = None if class_names is None else tuple(map(_name, class_names))
        wanted = 2 if self.out_features == 1 else self.out_features
        if self.class_names is not None and len(self.class_names) != wanted:
            raise ValueError(f"class_names has {len(self.class_names)} names, wanted {wanted}")
        self.schema = schema

    @property
    def schema(self) -> Schema | None:
        """What the network is trained for."""
        return self._schema

    @schema.setter
    def schema(self, schema: Schema | None) -> None:
        if schema is not None:
            schema.check_features(self.in_features)
            if schema.task == "regression" and self.class_names is not None:
                raise ValueError("task is 'regression' and class_names are given, wanted one of them")
        self._schema = schema

    @property
    def task(self) -> str | None:
        """What it is trained for, of `schema.TASKS`; None if neither schema nor names of classes tell."""
        if self.schema is not None:
            return self.schema.task
        if self.class_names is None:
            return None
        return "binary" if self.out_features == 1 else "classification"

    def _per_feature(self, name: str, value: Any) -> np.ndarray:
        array = np.asarray(value)
        if array.dtype.kind not in "fiub" or array.shape not in ((), (self.in_features,)):
            wanted = f"a number or {self.in_features} of them"
            raise ValueError(f"{name} has shape {array.shape} ({array.dtype}), wanted {wanted}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} is not finite")
        array = array.astype(np.float64)
        array.setflags(write=False)  # a device may have a copy
        return array

    def to(self, device: str | Device, *, deterministic: bool = False) -> Network:
        """Move the network to a device, in place, and return it.

        Parameters, gradients, what `forward` and `backward` return and all in between live there; `predict`
        and `fit` take and give arrays of the host. An optimizer's memory does not move: give it a new one.

        Parameters
        ----------
        device : "cpu", or "cuda" for an NVIDIA card (extra `cuda`; docs/cuda.md), or what `device` of another
            network is.
        deterministic : on a card, sum hashed layers' gradients to the same bits every time; it takes longer.

        Raises
        ------
        ValueError for a wrong argument; ImportError if a package is missing or does not fit, OSError if there
        is no card.
        """
        if isinstance(device, Device) and deterministic:
            raise ValueError("deterministic is True and device is a Device, wanted its name")
        found = device if isinstance(device, Device) else devices.get(device, deterministic)
        try:
            for layer in self.layers:
                layer.to(found)
        except BaseException:
            for layer in self.layers:
                layer.to(self.device)
            raise
        self.device = found
        return self

    def astype(self, dtype: Any) -> Network:
        """Return the network in another dtype: the same hashes, scaling and names, parameters rounded.

        Parameters
        ----------
        dtype : float32 or float64.

        Returns
        -------
        Network : another one, on the same device, even where it has the dtype already.

        Raises
        ------
        ValueError for another dtype, and if a parameter is too large for it.

        Examples
        --------
        >>> network = mlp([4, 3], num_buckets=5, dtype="float64")
        >>> network.nbytes, network.astype("float32").nbytes
        (40, 20)
        """
        dtype = checks.floating_dtype("dtype", dtype)
        for name, one in (("dtype", dtype), ("network.dtype", self.dtype)):
            checks.choice(name, one.name, ("float32", "float64"))
        with np.errstate(over="ignore"):  # told below
            made = self.with_layers([layer.copy(dtype=dtype.name) for layer in self.layers])
        for name, array in self.params.items():
            size = float(np.abs(self.device.get(array)).max(initial=0.0))
            if float(np.finfo(dtype).max) < size < np.inf:
                raise ValueError(f"{name} has a number of size {size:.4g}, wanted what {dtype} can hold")
        return made if self.device is devices.CPU else made.to(self.device)

    def with_layers(self, layers: Sequence[Layer]) -> Network:
        """Return a network of other layers, with all else that this one has."""
        return Network(
            layers,
            input_scale=self.input_scale,
            input_shift=self.input_shift,
            class_names=self.class_names,
            schema=self.schema,
        )

    def forward(self, inputs: Any, training: bool = False) -> np.ndarray:
        """Return the outputs (batch, out_features) for raw `inputs` (batch, in_features)."""
        given = self.device.put(checks.array("inputs", inputs))
        dtype = self.dtype_of_shift(given.dtype)
        outputs = self.scale(checks.matrix("inputs", given, self.in_features, dtype))
        for layer in self.layers:
            outputs = layer.forward(outputs, training)
        return outputs

    def backward(self, grad_outputs: Any, need_grad_inputs: bool = True) -> np.ndarray | None:
        """Fill all gradients for ∂L/∂outputs and return ∂L/∂inputs (raw), or None if not needed."""
        # Nobody needs what lies below the first layer with parameters.
        lowest = 0 if need_grad_inputs else self._first_with_params()
        grad = grad_outputs
        for position in range(len(self.layers) - 1, lowest - 1, -1):
            grad = self.layers[position].backward(grad, need_grad_inputs or position > lowest)
        return grad * self._constant(self.input_scale, self.dtype) if need_grad_inputs else None

    def _first_with_params(self) -> int:
        with_params = (position for position, layer in enumerate(self.layers) if layer.params)
        return next(with_params, len(self.layers))

    def predict(self, inputs: Any) -> np.ndarray:
        """Return the outputs for any number of rows, computed in chunks of bounded memory.

        Raises
        ------
        ValueError if `inputs` has the wrong shape or contains NaN or infinity, or there is too little memory.
        """
        inputs = checks.data("inputs", inputs, self.in_features, self.dtype)
        rows = min(len(inputs), PREDICT_ROWS)
        if rows * self._widest > MANY:
            memory.check_predicting(self.layers, rows)
        # One pass even without rows: its outputs have the right shape and dtype.
        chunks = range(0, max(1, len(inputs)), PREDICT_ROWS)
        forward, get = self.forward, self.device.get
        return np.concatenate([get(forward(inputs[row : row + PREDICT_ROWS])) for row in chunks])

    def scale(self, inputs: np.ndarray) -> np.ndarray:
        """Return `(inputs − input_shift) · input_scale`, what the first layer sees.

        What float32 cannot hold (float64, int64) is shifted in float64, and rounded to the network's dtype
        only then: of a time stamp in seconds, 1.7e9, float32 knows two minutes.
        """
        # np.any takes longer than a small layer: plain numbers are compared as such.
        if self.input_shift.ndim or self.input_shift != 0:
            inputs = inputs - self._constant(self.input_shift, np.result_type(inputs.dtype, self.dtype))
        if inputs.dtype != self.dtype:
            with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite
                inputs = inputs.astype(self.dtype)
        if self.input_scale.ndim or self.input_scale != 1:
            inputs = inputs * self._constant(self.input_scale, self.dtype)
        return inputs

    def dtype_of_shift(self, dtype: np.dtype) -> np.dtype:
        """Return the dtype in which inputs of a dtype are shifted, the network's own if there is no shift."""
        if dtype == self.dtype or dtype.kind not in "fiub" or not self.input_shift.any():
            return self.dtype
        return np.result_type(dtype, self.dtype)

    def _constant(self, values: np.ndarray, dtype: np.dtype) -> Any:
        """Return a number, or one a feature, for arithmetic with arrays on the device."""
        return self.device.resident(values).astype(dtype) if values.ndim else dtype.type(values)

    @property
    def params(self) -> dict[str, np.ndarray]:
        """All parameters, by layer and name: "0.weight"."""
        return {
            f"{position}.{name}": array
            for position, layer in enumerate(self.layers)
            for name, array in layer.params.items()
        }

    @property
    def grads(self) -> dict[str, np.ndarray]:
        """All gradients, by the names of the parameters."""
        return {
            f"{position}.{name}": array
            for position, layer in enumerate(self.layers)
            for name, array in layer.grads.items()
        }

    @property
    def num_parameters(self) -> int:
        """Stored numbers."""
        return sum(layer.num_parameters for layer in self.layers)

    @property
    def num_virtual(self) -> int:
        """Numbers that the dense network of these layers stores."""
        return sum(layer.num_virtual for layer in self.layers)

    @property
    def nbytes(self) -> int:
        """Bytes of the stored parameters."""
        return sum(array.nbytes for array in self.params.values())

    def __repr__(self) -> str:
        return f"Network([{', '.join(map(repr, self.layers))}])"

    def summary(self) -> str:
        """Return a table of the layers: virtual weights, stored ones, bytes and compression."""
        rows = [_summary_row(layer, layer.params) for layer in self.layers]
        rows.append(_summary_row(self, self.params))
        return text.table(SUMMARY_HEADER, rows, left=2)


def _name(label: Any) -> str:
    """Return a class's name as text; of a float64 without np.set_printoptions."""
    return float.__repr__(label) if isinstance(label, np.float64) else str(label)


SUMMARY_HEADER = ("layer", "shape", "virtual", "stored", "bytes", "compression")


def _summary_row(owner: Layer | Network, params: dict[str, np.ndarray]) -> tuple[str, ...]:
    name = "total" if isinstance(owner, Network) else type(owner).__name__
    if not params:
        return (name, "", "", "", "", "")
    ratio = owner.num_virtual / owner.num_parameters
    return (
        name,
        f"{owner.in_features} -> {owner.out_features}",
        f"{owner.num_virtual:,}",
        f"{owner.num_parameters:,}",
        f"{sum(array.nbytes for array in params.values()):,}",
        f"1/{ratio:.4g}" if ratio > 1 else "1",
    )


def _check_layers(layers: list[Layer]) -> tuple[int | None, int | None]:
    """Return the first in_features and the last out_features; refuse layers that do not fit together."""
    if not layers:
        raise ValueError("layers is empty, wanted at least one layer")
    first: int | None = None
    width: int | None = None
    seeds: dict[int, int] = {}
    for position, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise ValueError(f"layers[{position}] is {layer!r}, wanted a Layer")
        if any(layer is other for other in layers[:position]):
            raise ValueError(f"layers[{position}] is there twice, wanted each layer once")
        if layer.dtype != layers[0].dtype:
            raise ValueError(
                f"layers[{position}] has dtype {layer.dtype}, wanted {layers[0].dtype} as layers[0]"
            )
        if layer.device is not layers[0].device:
            raise ValueError(
                f"layers[{position}] is on {layer.device}, wanted {layers[0].device} as layers[0]"
            )
        if None not in (width, layer.in_features) and layer.in_features != width:
            raise ValueError(
                f"layers[{position}] has in_features {layer.in_features}, "
                f"wanted {width}, the outputs of the layer before it"
            )
        if isinstance(layer, HASHED):
            if layer.seed in seeds:
                raise ValueError(
                    f"layers[{position}] has seed {layer.seed}, as layers[{seeds[layer.seed]}]: "
                    "wanted a seed of its own for each hashed layer"
                )
            seeds[layer.seed] = position
        first = layer.in_features if first is None else first
        width = layer.out_features if layer.out_features is not None else width
    return first, width


def mlp(
    sizes: Sequence[int],
    *,
    compression: float | None = None,
    num_buckets: int | Sequence[int] | None = None,
    memory_bytes: int | None = None,
    activation: str = "relu",
    dropout: float | tuple[float, float] = 0.0,
    seed: int = 0,
    map: str = "element",
    window: Any = None,
    tile: int | str = 1,
    bias: str = "hashed",
    signed: bool = True,
    initializer: str = "uniform",
    input_scale: Any = 1.0,
    input_shift: Any = 0.0,
    class_names: Sequence[str] | None = None,
    dtype: Any = np.float32,
) -> Network:
    """Build a multi-layer perceptron, hashed if its size is given in one of three ways, else dense.

    Parameters
    ----------
    sizes : units of each layer, inputs and outputs included, such as [784, 1000, 10].
    compression : stored / virtual weights of every layer, in (0, 1].
    num_buckets : instead, the stored weights of every layer: one number, or one a layer.
    memory_bytes : instead, the bytes of all stored numbers, at most; all layers are compressed at one rate.
    activation : "relu", "tanh" or "sigmoid", after every layer but the last.
    dropout : rate before every layer but the first, or (rate of the inputs, rate of the others).
    seed : of the network: weight layer p gets the seed `xxhash32(p, 0, seed)`; a last layer of windows, if
        that gives two outputs one window and sign, which no training could tell apart, the first of
        `xxhash32(p, 2, seed)`, `xxhash32(p, 3, seed)`, … that does not (20 in all, then a warning says so).
    map, window, tile, bias, signed, initializer, dtype : as in `HashedLinear`; a dense layer has a bias
        unless bias="none".
    input_scale, input_shift, class_names : as in `Network`.

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
    _check_sizes(sizes)
    checks.choice("map", map, MAPS)
    checks.choice("bias", bias, BIASES)
    checks.boolean("signed", signed)
    if memory_bytes is not None:
        if compression is not None or num_buckets is not None:
            raise ValueError("memory_bytes is given and so is compression or num_buckets, wanted one of them")
        itemsize = checks.floating_dtype("dtype", dtype).itemsize
        num_buckets = _buckets_within(memory_bytes, sizes, bias, itemsize)
    buckets = _per_layer("num_buckets", num_buckets, len(sizes) - 1)
    dense = compression is None and num_buckets is None
    if dense and window is not None:
        raise ValueError(f"window is {window!r}, wanted None: a dense layer has no window")
    if dense and tile != 1:
        raise ValueError(f"tile is {tile!r}, wanted 1: a dense layer has no tiles")
    weights = _count_weights(sizes, compression, buckets, bias)
    memory.check_building(sizes, weights, checks.floating_dtype("dtype", dtype).itemsize)

    def make_layer(position: int, fan_in: int, fan_out: int, **common: Any) -> Layer:
        if dense:
            return Linear(fan_in, fan_out, bias=bias != "none", **common)
        size = {"compression": compression, "num_buckets": buckets[position]}
        hashed = {"map": map, "window": window, "tile": tile, "bias": bias, "signed": signed}
        layer = HashedLinear(fan_in, fan_out, **hashed, **size, **common)
        if position < len(sizes) - 2 or not _equal_outputs(layer):
            return layer
        others = (int(xxhash32(position, draw, seed)) for draw in range(2, SEEDS + 1))
        common["seed"] = next((one for one in others if not _equal_outputs(layer, one)), layer.seed)
        return HashedLinear(fan_in, fan_out, **hashed, **size, **common)

    network = stack(
        sizes,
        make_layer,
        activation=activation,
        dropout=dropout,
        seed=seed,
        initializer=initializer,
        input_scale=input_scale,
        input_shift=input_shift,
        class_names=class_names,
        dtype=dtype,
    )
    if equal := _equal_outputs(network.layers[-1]):
        found = f"map is 'window' and {equal} of {sizes[-1]} outputs are equal to others"
        warnings.warn(f"{found}, wanted map='element', or more weights in the last layer", stacklevel=2)
    return network


def _equal_outputs(layer: Layer, seed: int | None = None) -> int:
    """Return how many rows have the window and sign of another, with this seed or another.

    They are equal to it, whatever the weights.
    """
    if not isinstance(layer, HashedLinear) or layer.map != "window":
        return 0
    map = layer.bucket_map if seed is None else dataclasses.replace(layer.bucket_map, seed=seed)
    starts, signs = map(np.arange(layer.out_features), 0)
    return layer.out_features - len(np.unique(starts + layer.num_buckets * (signs < 0)))


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
    kind = ACTIVATIONS[checks.choice("activation", activation, tuple(ACTIVATIONS))]
    input_rate, hidden_rate = _dropout_rates(dropout)
    common: dict[str, Any] = {"initializer": initializer, "dtype": dtype}
    layers: list[Layer] = []
    for position, (fan_in, fan_out) in enumerate(zip(sizes, sizes[1:])):
        rate = hidden_rate if position else input_rate
        if rate:
            layers.append(Dropout(rate, seed=int(xxhash32(position, 1, seed)), dtype=dtype))
        last = position == len(sizes) - 2
        common["gain"] = math.sqrt(2) if kind is ReLU and not last else 1.0
        common["seed"] = layer_seed(position, seed)
        layers.append(make_layer(position, fan_in, fan_out, **common))
        if not last:
            layers.append(kind(dtype))
    return Network(
        layers, input_scale=input_scale, input_shift=input_shift, class_names=class_names
    )


def _check_sizes(sizes: Any) -> None:
    if not isinstance(sizes, Sequence) or len(sizes) < 2:
        raise ValueError(f"sizes is {sizes!r}, wanted a list of at least inputs and outputs")
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
