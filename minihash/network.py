"""A network: layers in sequence."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from minihash import checks, frames, integers, memory, summary
from minihash.encoding import encode_frame
from minihash.kernels import devices
from minihash.kernels.devices import Device
from minihash.layers import Layer
from minihash.layers.sequence import check_sequence
from minihash.predictions import Predictions
from minihash.schema import Schema

PREDICT_ROWS = 1024  # a chunk of `predict`
MANY = 2**24  # numbers of a matrix that may not fit the memory


class Network(Predictions):
    """Layers in sequence, with a fixed scaling of the inputs before the first and of what `predict` returns.

    Parameters
    ----------
    layers : at least one layer; features and dtypes must fit together, and no two hashed layers
        (`Layer.hashed`) may have the same seed: layers of equal shape would get the same buckets.
    input_scale, input_shift : the first layer sees `(inputs − input_shift) · input_scale`; numbers, or
        one a feature. They are saved with the network, so that it takes raw data: 1/255 for pixels.
    output_scale, output_shift : of a regression, such as spread and mean of its targets: `predict` returns
        `outputs · output_scale + output_shift`, in the targets' units. `forward`, `backward` and the loss are
        of standardised targets, which `fit` and `evaluate` make. Numbers, or one an output, and scales > 0.
    class_names : names of the outputs of a classifier, or None.
    schema : what it is trained for, and how its data are laid out; None where nobody knows. `fit` notes the
        task there, and `minihash train` all of it.

    Raises
    ------
    ValueError if the layers do not fit together or an argument is wrong.
    """

    # Of networks that were pickled before there were any:
    _schema: Schema | None = None
    output_scale, output_shift = np.ones(()), np.zeros(())

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        input_scale: Any = 1.0,
        input_shift: Any = 0.0,
        output_scale: Any = 1.0,
        output_shift: Any = 0.0,
        class_names: Sequence[str] | None = None,
        schema: Schema | None = None,
    ) -> None:
        if not isinstance(layers, Sequence):
            raise ValueError(f"layers is {layers!r}, wanted a list of layers")
        self.layers = list(layers)
        self.in_features, self.out_features = check_sequence(self.layers)
        self.dtype = self.layers[0].dtype
        self.device = self.layers[0].device
        self.input_scale = checks.one_or_each("input_scale", input_scale, self.in_features)
        self.input_shift = checks.one_or_each("input_shift", input_shift, self.in_features)
        self.output_scale = checks.one_or_each("output_scale", output_scale, self.out_features)
        self.output_shift = checks.one_or_each("output_shift", output_shift, self.out_features)
        if not (self.output_scale > 0).all():
            raise ValueError(f"output_scale is {self.output_scale.min():g}, wanted a number > 0")
        self.class_names = None if class_names is None else tuple(map(_name, class_names))
        wanted = 2 if self.out_features == 1 else self.out_features
        if self.class_names is not None and len(self.class_names) != wanted:
            raise ValueError(f"class_names has {len(self.class_names)} names, wanted {wanted}")
        if self.class_names is not None and self.scales_outputs:
            raise ValueError("class_names are given and outputs are scaled, wanted one of them")
        self.schema = schema

    @functools.cached_property
    def _widest(self) -> int:
        return max([self.in_features or 0, *(layer.out_features or 0 for layer in self.layers)])

    @property
    def schema(self) -> Schema | None:
        """What the network is trained for."""
        return self._schema

    @schema.setter
    def schema(self, schema: Schema | None) -> None:
        if schema is not None:
            schema.check_features(self.in_features)
            schema.check_outputs(self.out_features)
            if schema.task == "regression" and self.class_names is not None:
                raise ValueError("task is 'regression' and class_names are given, wanted one of them")
            if schema.task != "regression" and self.scales_outputs:
                raise ValueError(f"task is {schema.task!r} and outputs are scaled, wanted 'regression'")
        self._schema = schema

    @property
    def task(self) -> str | None:
        """What it is trained for, of `tasks.LOSS_OF_TASK`; None if neither schema nor class names tell."""
        if self.schema is not None:
            return self.schema.task
        if self.class_names is None:
            return None
        return "binary" if self.out_features == 1 else "classification"

    @property
    def scales_outputs(self) -> bool:
        """Whether `predict` returns other numbers than `forward`."""
        return bool((self.output_scale != 1).any() or self.output_shift.any())

    def to(self, device: str | Device, *, deterministic: bool = False) -> Network:
        """Move the network to a device, in place, and return it.

        Parameters, gradients, what `forward` and `backward` return and all in between live there; `predict`
        and `fit` take and give arrays of the host. An optimizer's memory does not move: give it a new one.

        Parameters
        ----------
        device : "cpu", or "cuda" for an NVIDIA GPU (extra `cuda`; docs/cuda.md), or what `device` of another
            network is.
        deterministic : on a GPU, sum hashed layers' gradients to the same bits every time; it takes longer.

        Raises
        ------
        ValueError for a wrong argument; ImportError if a package is missing or does not fit, OSError if there
        is no GPU.
        """
        if isinstance(device, Device) and deterministic:
            raise ValueError("deterministic is True and device is a Device, wanted its name")
        target = device if isinstance(device, Device) else devices.get(device, deterministic)
        try:
            for layer in self.layers:
                layer.to(target)
        except BaseException:
            for layer in self.layers:
                layer.to(self.device)
            raise
        self.device = target
        return self

    def astype(self, dtype: Any) -> Network:
        """Return the network in another dtype: the same hashes, scaling and names, parameters rounded.

        It is another network, on the same device, even where it has the dtype already.

        Parameters
        ----------
        dtype : float32 or float64.

        Raises
        ------
        ValueError for another dtype, and if a parameter is too large for it.

        Examples
        --------
        >>> from minihash import mlp
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
            output_scale=self.output_scale,
            output_shift=self.output_shift,
            class_names=self.class_names,
            schema=self.schema,
        )

    def forward(self, inputs: Any, training: bool = False) -> np.ndarray:
        """Return the outputs (batch, out_features) for raw `inputs` (batch, in_features)."""
        given = self.device.put(checks.array("inputs", self._in_order("inputs", inputs)))
        dtype = self.dtype_of_shift(given.dtype)
        outputs = self.scale(checks.matrix("inputs", given, self.in_features, dtype))
        for layer in self.layers:
            outputs = layer.forward(outputs, training)
        return outputs

    def backward(self, grad_outputs: Any, need_grad_inputs: bool = True) -> np.ndarray | None:
        """Fill all gradients for ∂L/∂outputs and return ∂L/∂inputs (raw), or None if not needed."""
        # Nobody needs what lies below the first layer with parameters.
        with_params = (position for position, layer in enumerate(self.layers) if layer.params)
        lowest = 0 if need_grad_inputs else next(with_params, len(self.layers))
        grad = grad_outputs
        for position in range(len(self.layers) - 1, lowest - 1, -1):
            grad = self.layers[position].backward(grad, need_grad_inputs or position > lowest)
        return grad * self._constant(self.input_scale, self.dtype) if need_grad_inputs else None

    def predict(self, inputs: Any) -> np.ndarray:
        """Return the outputs for any number of rows, computed in chunks of bounded memory.

        Scaled outputs are in float64, which has digits left beside 1.7e9; others in the network's dtype.

        Parameters
        ----------
        inputs : (rows, in_features), raw: an array, or a DataFrame, whose columns may be in another order
            than the schema names. Of a network that was trained on a table with words it is such a table.

        Raises
        ------
        ValueError if `inputs` has the wrong shape or columns, or contains NaN or infinity, or there is too
        little memory.
        """
        return self.to_units(self.forward_rows(inputs))

    def forward_rows(self, inputs: Any) -> np.ndarray:
        """Return what `forward` does, for any number of rows, as `predict` does it."""
        inputs = self.checked("inputs", inputs)
        rows = min(len(inputs), PREDICT_ROWS)
        if rows * self._widest > MANY:
            memory.check_predicting(self.layers, rows)
        # One pass even without rows: its outputs have the right shape and dtype.
        chunks = range(0, max(1, len(inputs)), PREDICT_ROWS)
        forward, get = self._forward_of_predictions(), self.device.get
        return np.concatenate([get(forward(inputs[row : row + PREDICT_ROWS])) for row in chunks])

    def _forward_of_predictions(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return `forward`, or what computes in whole numbers where the layers are such (integers.py)."""
        if not integers.is_whole(self.layers):
            return self.forward
        whole = integers.integers_of(self.layers)
        shift, scale = self.input_shift, self.input_scale
        return lambda inputs: whole.outputs((inputs - shift) * scale).astype(self.dtype)

    def to_units(self, outputs: np.ndarray) -> np.ndarray:
        """Return `outputs · output_scale + output_shift` in float64, or if that does nothing the outputs."""
        if not self.scales_outputs:
            return outputs
        return outputs.astype(np.float64) * self.output_scale + self.output_shift

    def standardize(self, targets: np.ndarray) -> np.ndarray:
        """Return `(targets − output_shift) / output_scale` in float64, or if that does nothing the targets.

        Targets are (rows, out_features), or of one output (rows,); ValueError for others.
        """
        if not self.scales_outputs:
            return targets
        if targets.shape[1:] != (self.out_features,) and (targets.ndim, self.out_features) != (1, 1):
            raise ValueError(f"targets has shape {targets.shape}, wanted (rows, {self.out_features})")
        return (targets.astype(np.float64) - self.output_shift) / self.output_scale

    def checked(self, name: str, inputs: Any) -> np.ndarray:
        """Return raw inputs, arrays or DataFrames, as an array of finite numbers; ValueError for others."""
        return checks.data(name, self._in_order(name, inputs), self.in_features, self.dtype)

    def _in_order(self, name: str, inputs: Any) -> Any:
        """Return what a DataFrame's columns become by the schema, in its order, and all else as it is."""
        if self.schema is None:
            return inputs
        columns, features = self.schema.encoding, self.schema.feature_names
        if columns and frames.labels_of(inputs) and frames.names_of(inputs) != features:
            return encode_frame(name, inputs, columns)
        return frames.in_order(name, inputs, features)

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
        return _by_place(layer.params for layer in self.layers)

    @property
    def grads(self) -> dict[str, np.ndarray]:
        """All gradients, by the names of the parameters."""
        return _by_place(layer.grads for layer in self.layers)

    @property
    def num_parameters(self) -> int:
        """Stored numbers."""
        return sum(layer.num_parameters for layer in self.layers)

    @property
    def num_virtual(self) -> int:
        """Numbers that the dense network of these layers stores."""
        return sum(layer.num_virtual for layer in self.layers)

    @property
    def multiplications(self) -> int:
        """Multiplications with weights that a row of inputs takes; biases are not counted."""
        return sum(layer.multiplications for layer in self.layers)

    @property
    def nbytes(self) -> int:
        """Bytes of the stored parameters."""
        return sum(array.nbytes for array in self.params.values())

    def __repr__(self) -> str:
        return f"Network([{', '.join(map(repr, self.layers))}])"

    def summary(self) -> str:
        """Return a table of the layers: virtual weights, stored ones, bytes and compression."""
        owners = [(type(layer).__name__, layer) for layer in self.layers]
        return summary.table_of([*owners, ("total", self)])


def _by_place(arrays: Iterable[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {f"{place}.{name}": array for place, own in enumerate(arrays) for name, array in own.items()}


def _name(label: Any) -> str:
    """Return a class's name as text; of a float64 without np.set_printoptions."""
    return float.__repr__(label) if isinstance(label, np.float64) else str(label)
