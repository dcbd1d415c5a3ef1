"""What every layer offers: forward, backward, parameters and their gradients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minihash import checks
from minihash.hashing import LIMIT_FEATURES, LIMIT_SEED
from minihash.initializers import INITIALIZERS
from minihash.kernels.devices import CPU, Device
from minihash.machine import check_memory


class Layer:
    """A function from inputs (batch, in_features) to outputs (batch, out_features), with its gradients.

    Attributes
    ----------
    params : dict of name -> array, the learned parameters; arrays may be changed in place at any time.
    grads : dict of the same names, ∂L/∂parameter, overwritten in place by each `backward`.
    in_features, out_features : int, or None where the layer takes any number and keeps it.
    device : that params and grads are on, and that `forward` and `backward` move their arguments to; what
        they return stays there.

    A subclass writes `_forward` and `_backward`; the base class checks shapes and keeps what `backward`
    needs of the last training forward.
    """

    in_features: int | None = None
    out_features: int | None = None
    #: Whether what its seed draws is a part of what it computes: then no other of a network has that seed.
    hashed = False
    seed = 0
    #: Of the next row to draw for in training, None where nothing is drawn: all that a checkpoint must keep.
    row: int | None = None
    #: Whether its products are in minihash's own threads, and BLAS may be held to one.
    own_threads = False
    #: Its name for `mlp(activation=)`, and the gain of the weights before it; "" if it is none.
    activation = ""
    gain_before = 1.0

    def __init__(self, dtype: Any = np.float32) -> None:
        self.dtype = checks.floating_dtype("dtype", dtype)
        self.params: dict[str, np.ndarray] = {}
        self.grads: dict[str, np.ndarray] = {}
        self.device: Device = CPU
        self._saved: Any = None
        self._shape: tuple[int, int] | None = None  # of the outputs of the last training forward

    def to(self, device: Device) -> None:
        """Move parameters and gradients to a device, and forget the last forward; see `Network.to`."""
        get = self.device.get
        params = {name: device.put(get(array)) for name, array in self.params.items()}
        grads = {name: device.put(get(array)) for name, array in self.grads.items()}
        self.params.update(params)  # all or, without memory, nothing
        self.grads.update(grads)
        self.device, self._saved, self._shape = device, None, None

    def forward(self, inputs: Any, training: bool = False) -> np.ndarray:
        """Return the outputs (batch, out_features) for `inputs` (batch, in_features).

        With `training` the layer keeps what `backward` needs, a reference to the inputs among it: do
        not change them in between.

        Raises
        ------
        ValueError if `inputs` has the wrong shape or is not made of real numbers.
        """
        given = self.device.put(checks.array("inputs", inputs))
        inputs = checks.matrix("inputs", given, self.in_features, self.dtype)
        outputs, saved = self._forward(inputs, training)
        if training:
            self._saved, self._shape = saved, (outputs.shape[0], outputs.shape[1])
        return outputs

    def backward(self, grad_outputs: Any, need_grad_inputs: bool = True) -> np.ndarray | None:
        """Fill `grads` and return ∂L/∂inputs (batch, in_features) for ∂L/∂outputs `grad_outputs`.

        It belongs to the last `forward(…, training=True)`. With `need_grad_inputs=False` the gradient
        of the inputs is not computed and None is returned.

        Raises
        ------
        RuntimeError without a training forward before; ValueError if the shape is not the outputs'.
        """
        if self._shape is None:
            name = type(self).__name__
            raise RuntimeError(f"{name}.backward needs a forward(inputs, training=True) before it")
        given = self.device.put(checks.array("grad_outputs", grad_outputs))
        grad_outputs = checks.matrix("grad_outputs", given, None, self.dtype)
        if grad_outputs.shape != self._shape:
            shape = grad_outputs.shape
            raise ValueError(f"grad_outputs has shape {shape}, wanted {self._shape} as the outputs")
        if not self.params and not need_grad_inputs:
            return None
        return self._backward(self._saved, grad_outputs, need_grad_inputs)

    def _forward(self, inputs: np.ndarray, training: bool) -> tuple[np.ndarray, Any]:
        """Return the outputs and whatever `_backward` needs."""
        raise NotImplementedError

    def _backward(self, saved: Any, grad_outputs: np.ndarray, need_grad_inputs: bool) -> np.ndarray | None:
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, as values that JSON holds."""
        return {"dtype": self.dtype.name}

    def copy(self, **changes: Any) -> Layer:
        """Return a layer on the CPU of the same configuration, but for `changes`, and the same parameters.

        Raises
        ------
        ValueError if `config` does not say all of what the layer is made of.
        """
        try:
            made = type(self)(**{**self.config(), **changes})
        except TypeError as error:
            raise ValueError(f"{type(self).__name__} has a config() that makes none: {error}") from None
        if unsettled := made.params.keys() ^ self.params.keys():
            names = ", ".join(unsettled)
            raise ValueError(f"{type(self).__name__} has a config() that does not settle {names}")
        for name, array in self.params.items():
            made.params[name][...] = self.device.get(array)
        return made

    @property
    def num_parameters(self) -> int:
        """Stored numbers."""
        return sum(array.size for array in self.params.values())

    @property
    def num_virtual(self) -> int:
        """Numbers that a dense layer of this shape stores."""
        return self.num_parameters

    @property
    def multiplications(self) -> int:
        """Multiplications with weights that a row of inputs takes; biases are not counted.

        ValueError for a kind of layer that has weights and does not say.
        """
        if self.params:
            raise ValueError(f"layer is a {type(self).__name__}, wanted one that counts its multiplications")
        return 0

    @property
    def training_bytes(self) -> int:
        """Memory that training takes beside parameters, their gradients and values of a batch."""
        return 0

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.config().items())
        return f"{type(self).__name__}({arguments})"


class WeightLayer(Layer):
    """A layer that multiplies by some matrix, with parameters that start from a seed.

    Parameters
    ----------
    in_features, out_features : numbers of input and output units.
    initializer : "uniform" or "normal"; the weights start with variance gain² / fan-in, biases at 0.
    gain : √2 before a ReLU, 1 otherwise.
    seed : of the initial weights; 0 ≤ seed < 2³².
    dtype : float32 or float64.
    """

    in_features: int
    out_features: int

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        initializer: str = "uniform",
        gain: float = 1.0,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(dtype)
        self.in_features = checks.integer("in_features", in_features, 1, LIMIT_FEATURES)
        self.out_features = checks.integer("out_features", out_features, 1, LIMIT_FEATURES)
        self.initializer = checks.choice("initializer", initializer, tuple(INITIALIZERS))
        self.gain = checks.number("gain", gain, 0, 1e6, open_low=True)
        self.seed = checks.integer("seed", seed, 0, LIMIT_SEED)

    @classmethod
    def param_shapes(cls, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the parameters of `cls(**config)` without making them.

        The loader of model files checks a file against them before it allocates anything.
        """
        raise NotImplementedError

    @classmethod
    def param_dtypes(cls, config: dict[str, Any]) -> dict[str, np.dtype]:
        """Return the dtypes of the parameters of `cls(**config)` that are not the layer's own."""
        return {}

    def _make_params(self, fan_in: int) -> None:
        shapes = self.param_shapes(self.config())
        needed = initial_bytes(math.prod(shapes["weight"]), self.dtype.itemsize)
        layer = f"a layer {self.in_features}-{self.out_features}"
        check_memory(layer, needed, "fewer units or more compression")
        rng = np.random.default_rng(self.seed)
        for name, shape in shapes.items():
            if name == "weight":
                values = INITIALIZERS[self.initializer](rng, shape, fan_in, self.gain)
                self.params[name] = values.astype(self.dtype)
            else:
                self.params[name] = np.zeros(shape, self.dtype)
            self.grads[name] = np.zeros(shape, self.dtype)

    def config(self) -> dict[str, Any]:
        return {
            **super().config(),
            "in_features": self.in_features,
            "out_features": self.out_features,
            "initializer": self.initializer,
            "gain": self.gain,
            "seed": self.seed,
        }

    @property
    def weight(self) -> np.ndarray:
        """The learned weights; change them in place, or assign an array of the same shape."""
        return self.params["weight"]

    @weight.setter
    def weight(self, values: Any) -> None:
        values = self.device.put(values)
        if values.shape != self.weight.shape:
            raise ValueError(f"weight has shape {values.shape}, wanted {self.weight.shape}")
        self.weight[...] = values


def initial_bytes(weights: int, itemsize: int) -> int:
    """Return the memory that so many weights take while they are drawn, in float64 and with their squares."""
    return weights * max(16, 8 + itemsize)
