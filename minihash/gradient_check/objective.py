"""What is differentiated: a scalar function of named arrays, with the gradient that claims to be its own."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minihash import losses
from minihash.layers import Layer
from minihash.network import Network

Arrays = dict[str, np.ndarray]
INPUTS = "inputs"


class Objective:
    """A scalar of `variables`: `value(variables, dtype)`, and its claimed `gradients(variables, dtype)`.

    `variables` holds the point of the check in float64; `dtype` says in which precision to compute.
    """

    variables: Arrays
    dtype: np.dtype  # of the thing itself

    def value(self, variables: Arrays, dtype: Any) -> Any:
        raise NotImplementedError

    def gradients(self, variables: Arrays, dtype: Any) -> Arrays:
        raise NotImplementedError

    def problems(self) -> list[str]:
        """Return what is wrong with the gradients beyond their values."""
        return []

    @contextmanager
    def jittered(self, rng: np.random.Generator, size: float) -> Iterator[None]:
        """Inside, whatever is not in `variables` has relative errors of about `size` too."""
        yield


class FunctionObjective(Objective):
    """A function of one array that returns `(value, gradient)`, such as a loss."""

    def __init__(self, function: Callable[[np.ndarray], tuple[Any, Any]], inputs: Any) -> None:
        inputs = np.asarray(inputs)
        self.function = function
        self.dtype = inputs.dtype if inputs.dtype.kind == "f" else np.dtype(np.float64)
        self.variables = {INPUTS: inputs.astype(np.float64)}

    def value(self, variables: Arrays, dtype: Any) -> Any:
        return self.function(variables[INPUTS].astype(dtype))[0]

    def gradients(self, variables: Arrays, dtype: Any) -> Arrays:
        gradient = np.asarray(self.function(variables[INPUTS].astype(dtype))[1])
        if gradient.shape != self.variables[INPUTS].shape:
            raise ValueError(
                f"function returned a gradient of shape {gradient.shape}, "
                f"wanted {self.variables[INPUTS].shape} as inputs"
            )
        return {INPUTS: gradient}


class ModuleObjective(Objective):
    """A layer or a network under a loss, or under `Σ R ∘ outputs` with a fixed random R.

    Copies of the module in other precisions (*twins*) do the work, so the module is left as it was.
    Random generators that its layers hold are rewound before every forward pass: dropout keeps one mask.
    """

    def __init__(
        self,
        module: Layer | Network,
        inputs: Any,
        loss: str | Callable | None,
        targets: Any,
        rng: np.random.Generator,
    ) -> None:
        self.module = module
        self.dtype = module.dtype
        self.loss = None if loss is None else losses.get(loss)
        self.targets = targets
        # In the module's own precision first, so that all twins see the very same numbers.
        own = {INPUTS: np.asarray(inputs).astype(self.dtype), **module.params}
        self.variables = {name: array.astype(np.float64) for name, array in own.items()}
        self._twins: dict[np.dtype, Layer | Network] = {}
        outputs = self._forward(self.variables, self.dtype)
        self.cotangent = rng.uniform(0.5, 1.5, outputs.shape) * rng.choice([-1.0, 1.0], outputs.shape)

    def twin(self, dtype: Any) -> Layer | Network:
        """Return the module's copy in `dtype`."""
        dtype = np.dtype(dtype)
        if dtype not in self._twins:
            self._twins[dtype] = _cast(copy.deepcopy(self.module), dtype)
        return self._twins[dtype]

    def value(self, variables: Arrays, dtype: Any) -> Any:
        outputs = self._forward(variables, dtype)
        return self._loss(outputs)[0]

    def gradients(self, variables: Arrays, dtype: Any) -> Arrays:
        outputs = self._forward(variables, dtype)
        twin = self.twin(dtype)
        grad_inputs = twin.backward(self._loss(outputs)[1].astype(dtype))
        return {INPUTS: np.asarray(grad_inputs).copy()} | {
            name: array.copy() for name, array in twin.grads.items()
        }

    def named_layers(self) -> list[tuple[str, Layer]]:
        """Return the float64 layers, each with the prefix of its parameters' names."""
        twin = self.twin(np.float64)
        whole = isinstance(twin, Network)
        return [(f"{place}." if whole else "", layer) for place, layer in enumerate(layers_of(twin))]

    def layer_io(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the inputs and grad_outputs (float64) of one layer, at the point of the check."""
        outputs = self._forward(self.variables, np.float64)
        grad = self._loss(outputs)[1].astype(np.float64)
        twin = self.twin(np.float64)
        for layer in reversed(layers_of(twin)[position + 1 :]):
            grad = np.asarray(layer.backward(grad))
        inputs = self.variables[INPUTS]
        inputs = twin.scale(inputs) if isinstance(twin, Network) else inputs
        for layer, original in list(zip(layers_of(twin), layers_of(self.module)))[:position]:
            rewind(layer, original)
            inputs = layer.forward(inputs, training=True)
        return inputs, grad

    @contextmanager
    def jittered(self, rng: np.random.Generator, size: float) -> Iterator[None]:
        cotangent = self.cotangent
        self.cotangent = cotangent * (1 + size * rng.uniform(-1, 1, cotangent.shape))
        try:
            yield
        finally:
            self.cotangent = cotangent

    def problems(self) -> list[str]:
        """Look for arrays that share memory or are changed, and for gradients that accumulate."""
        found = []
        twin = self.twin(np.float64)
        inputs = self.variables[INPUTS].copy()
        outputs = self._forward({**self.variables, INPUTS: inputs}, np.float64)
        grad_outputs = self._loss(outputs)[1].astype(np.float64)
        before = {"inputs": inputs.copy(), "grad_outputs": grad_outputs.copy()}
        grad_inputs = np.asarray(twin.backward(grad_outputs))
        first = {name: array.copy() for name, array in twin.grads.items()}
        for name, array in (("inputs", inputs), ("grad_outputs", grad_outputs)):
            if not np.array_equal(array, before[name]):
                found.append(f"forward and backward change {name}")

        gradients = {f"the gradient of {INPUTS}": grad_inputs} | {
            f"the gradient of {name}": array for name, array in twin.grads.items()
        }
        others = {INPUTS: inputs} | {f"the array {name}": array for name, array in twin.params.items()}
        for (name, array), (other, another) in _pairs(gradients, others):
            if np.shares_memory(array, another):
                found.append(f"{name} and {other} share memory: writing one changes the other")

        self._forward(self.variables, np.float64)
        twin.backward(grad_outputs)
        for name, array in twin.grads.items():
            if not np.array_equal(array, first[name]):
                found.append(f"the gradient of {name} is another the second time: does it accumulate?")
        return found

    def _forward(self, variables: Arrays, dtype: Any) -> np.ndarray:
        twin = self.twin(dtype)
        for name, array in twin.params.items():
            array[...] = variables[name]
        for layer, original in zip(layers_of(twin), layers_of(self.module)):
            rewind(layer, original)
        return twin.forward(variables[INPUTS].astype(dtype), training=True)

    def _loss(self, outputs: np.ndarray) -> tuple[Any, np.ndarray]:
        if self.loss is not None:
            return self.loss(outputs, self.targets)
        return (self.cotangent * outputs).sum(), self.cotangent


def layers_of(module: Layer | Network) -> list[Layer]:
    """Return the layers of a network, or the layer itself in a list."""
    return list(module.layers) if isinstance(module, Network) else [module]


def rewind(layer: Layer, original: Layer) -> None:
    """Set every random generator that `layer` holds to the state of the original's."""
    for name, value in vars(original).items():
        if isinstance(value, np.random.Generator):
            getattr(layer, name).bit_generator.state = value.bit_generator.state


def _cast(module: Layer | Network, dtype: np.dtype) -> Layer | Network:
    """Change a module's precision in place."""
    module.dtype = dtype
    for layer in layers_of(module):
        layer.dtype = dtype
        for arrays in (layer.params, layer.grads):
            for name in arrays:
                arrays[name] = arrays[name].astype(dtype)
    return module


def _pairs(gradients: Arrays, others: Arrays) -> Iterator[tuple[Any, Any]]:
    """Yield every pair of two gradients, and every pair of a gradient and another array."""
    yield from itertools.combinations(gradients.items(), 2)
    yield from itertools.product(gradients.items(), others.items())
