"""Quantisation: buckets in eight or four bits, and whole networks in integers, perhaps with a fine-tune."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihash import checks
from minihash.calibration import least_error_scale, some_inputs, with_roundings
from minihash.callbacks import KeepLastGood, put_back, weights_of
from minihash.kernels.devices import check_on_host
from minihash.layers import HashedLinear, Layer, QuantizedHashedLinear
from minihash.layers.quantized_hashed_linear import largest_code, packing
from minihash.network import Network
from minihash.optimizers import Adam, Arrays, Optimizer, check_optimizer, chosen
from minihash.training import Data, History, fit
from minihash.training.tasks import loss_for


def choose_scale(weight: np.ndarray, bits: int) -> float:
    """Return the scale s with the least squared error of `s · code` against the weights.

    `code = clip(round(w / s), ±(2^(bits − 1) − 1))`: a smaller scale rounds finer and clips more.
    """
    return least_error_scale(weight, -largest_code(bits), largest_code(bits))


def codes_of(weight: np.ndarray, scale: float, bits: int) -> np.ndarray:
    """Return the codes (num_buckets,) int8 of weights at a scale."""
    largest = largest_code(bits)
    return np.clip(np.rint(weight / scale), -largest, largest).astype(np.int8)


def quantized(weight: np.ndarray, scale: float, bits: int) -> np.ndarray:
    """Return the weights that the codes stand for, in the weights' dtype."""
    return codes_of(weight, scale, bits) * weight.dtype.type(scale)


def quantize(
    network: Network, bits: int = 8, scales: dict[str, float] | None = None, *, rows: Any = None
) -> Network:
    """Return a copy of a network whose hashed layers have their buckets in eight or four bits.

    Other layers are copied as they are. With `rows` the network is one of integers: it rounds its inputs and
    activations to eight bits, and predicts in whole numbers alone (integers.py).

    Parameters
    ----------
    network : with a hashed layer at least.
    bits : 8 or 4.
    scales : of weights by their names ("0.weight"); of the others the best, `choose_scale`.
    rows : (rows, in_features), raw, a few thousand of those that it was trained on: the scales of inputs and
        activations are those with the least squared error over them.

    Returns
    -------
    Network : it predicts, and does not train.

    Raises
    ------
    ValueError for a wrong argument, for a network without hashed layers, and with `rows` for layers that
    integers have no form of.

    Examples
    --------
    >>> from minihash import mlp
    >>> network = mlp([784, 100, 10], compression=1 / 8)
    >>> network.nbytes, quantize(network, bits=4).nbytes
    (39752, 4977)
    """
    names = _check(network, bits)
    scales = dict(scales or {})
    for name, scale in scales.items():
        checks.choice("scales", name, tuple(names))
        limit = float(np.finfo(network.dtype).max)
        scales[name] = checks.number(f"scales[{name!r}]", scale, 0, limit, open_low=True)
    places = {id(layer): place for place, layer in enumerate(network.layers)}
    rounded = network if rows is None else with_roundings(network, network.checked("rows", rows))
    layers = [
        _quantize_layer(layer, bits, scales.get(f"{places.get(id(layer))}.weight"))
        for layer in rounded.layers
    ]
    return network.with_layers(layers)


def _quantize_layer(layer: Layer, bits: int, scale: float | None) -> Layer:
    if type(layer) is not HashedLinear:
        return layer.copy()
    made = QuantizedHashedLinear(**layer.config(), bits=bits)
    if made.bucket_map != layer.bucket_map:
        found = f"layer has a map {type(layer.bucket_map).__name__}"
        raise ValueError(f"{found}, wanted one of its config()")
    scale = choose_scale(layer.weight, bits) if scale is None else scale
    made.set_codes(codes_of(layer.weight, scale, bits), scale)
    if layer.bias == "free":
        made.params["bias"][...] = layer.params["bias"]
    return made


def _check(network: Any, bits: Any) -> list[str]:
    """Return the names of the weights to quantise."""
    if not isinstance(network, Network):
        raise ValueError(f"network is {network!r}, wanted a Network")
    check_on_host("network", network)
    packing(bits)
    if network.dtype.kind != "f":
        raise ValueError(f"network has dtype {network.dtype}, wanted float32 or float64")
    names = [f"{place}.weight" for place, layer in enumerate(network.layers) if type(layer) is HashedLinear]
    if not names:
        raise ValueError("network has no hashed layer of floats, wanted one at least")
    for name in names:
        if not np.isfinite(network.params[name]).all():
            raise ValueError(f"{name} has NaN or infinity, wanted finite weights")
    return names


class StraightThrough:
    """An optimizer for weights that are used quantised: it keeps the ones in floating point.

    The gradient at `quantized(w)` moves w ("straight through" the rounding), and the parameters become
    `quantized(w)` again.

    Parameters
    ----------
    inner : the optimizer that moves w.
    network : whose hashed layers are used quantised from now on.
    bits : 8 or 4.

    `scales` are those of the weights by their names, as `quantize` takes them; they stay.

    Source: Bengio et al., Estimating or Propagating Gradients Through Stochastic Neurons, 2013; Courbariaux
    et al., BinaryConnect, 2015.
    """

    def __init__(self, inner: Optimizer, network: Network, bits: int) -> None:
        self.inner, self.bits = check_optimizer("optimizer", inner), bits
        self.learning_rate, self.steps = inner.learning_rate, 0
        self.state: dict[str, Arrays] = {}
        self.slots = ()  # those of `inner` are its own
        self.weights = {name: network.params[name].copy() for name in _check(network, bits)}
        self.scales = {name: choose_scale(weight, bits) for name, weight in self.weights.items()}
        self._use(network.params)

    def settings(self) -> dict[str, Any]:
        of_inner = self.inner.settings()
        shown = {name: of_inner[name] for name in of_inner if name == "weight_decay"}
        return {**shown, "bits": self.bits}

    def step(self, params: Arrays, grads: Arrays) -> None:
        self.inner.learning_rate = self.learning_rate
        self.inner.step({**params, **self.weights}, grads)
        self.steps = self.inner.steps
        self._use(params)

    def _use(self, params: Arrays) -> None:
        for name, weight in self.weights.items():
            if not np.isfinite(weight).all():  # which rounding would hide
                raise FloatingPointError(f"{name} is not finite after step {self.steps}: training diverged")
            params[name][...] = quantized(weight, self.scales[name], self.bits)


def fine_tune(
    network: Network,
    train: Data,
    validation: Data | None = None,
    *,
    bits: int = 8,
    optimizer: str | Optimizer | None = None,
    epochs: int = 5,
    keep: KeepLastGood | None = None,
    integers: bool = False,
    **arguments: Any,
) -> tuple[Network, History]:
    """Train a network on with quantised weights, and return it quantised.

    Parameters
    ----------
    network : trained; its weights become those of the result, or after an error what they were, and so its
        schema.
    train, validation, epochs, arguments : as in `fit`; `loss` is by default that of the network's task.
    bits : 8 or 4.
    optimizer : as in `fit`; by default Adam at a learning rate of 3e-4, small against what trained it.
    keep : if given, Ctrl-C returns what the last finished epoch made, if there is one, and its history.
    integers : round inputs and activations too, as `quantize(rows=…)` does with scales of training rows; the
        gradient passes through both roundings.

    Returns
    -------
    (Network, History) : quantised, and what `fit` returned.

    Raises
    ------
    ValueError for a wrong argument; FloatingPointError as `fit`.
    """
    _check(network, bits)
    if arguments.get("checkpoint") is not None:  # it would not keep the weights that are rounded
        raise ValueError("checkpoint is given, and fine_tune keeps none, wanted None")
    before, schema, rounded = weights_of(network), network.schema, network
    if checks.boolean("integers", integers):
        loss = loss_for(network, arguments.get("loss"))
        rounded = with_roundings(network, some_inputs(network, train, loss))
    try:
        rate, schedule = (arguments.pop(name, None) for name in ("learning_rate", "schedule"))
        given = Adam(3e-4) if optimizer is None and rate is None else optimizer
        inner, schedule = chosen(given, rate, schedule)
        through = StraightThrough(inner, rounded, bits)
        callbacks = [*([] if keep is None else [keep]), *arguments.pop("callbacks", ())]
        history = fit(
            rounded,
            train,
            validation,
            optimizer=through,
            schedule=schedule,
            epochs=epochs,
            callbacks=callbacks,
            **arguments,
        )
        if keep is not None and keep.divergence is not None:
            raise keep.divergence
    except BaseException as error:
        if keep is not None and keep.goes_on_after(error):
            return quantize(rounded, bits, through.scales), keep.history
        put_back(network, before)
        network.schema = schema
        raise
    network.schema = rounded.schema
    return quantize(rounded, bits, through.scales), history
