"""What is differentiated: a scalar function of named arrays, with the gradient that claims to be its own."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minihash import checks, losses
from minihash.layers import Layer
from minihash.network import Network

Arrays = dict[str, np.ndarray]
INPUTS = "inputs"
GENERATORS = np.random.Generator, np.random.RandomState, random.Random


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
        """Inside, numbers that are not in `variables` have relative errors of about `size` too."""
        yield


class FunctionObjective(Objective):
    """A function of one array that returns `(value, gradient)`, such as a loss."""

    def __init__(self, function: Callable[[np.ndarray], tuple[Any, Any]], inputs: Any) -> None:
        inputs = _check_inputs(inputs)
        self.function = function
        self.dtype = inputs.dtype if inputs.dtype.kind == "f" else np.dtype(np.float64)
        self.variables = {INPUTS: inputs.astype(np.float64)}

    def value(self, variables: Arrays, dtype: Any) -> Any:
        value = self._call(variables, dtype)[0]
        if np.ndim(value) != 0:
            raise ValueError(f"function returned a value of shape {np.shape(value)}, wanted a number")
        return value

    def _call(self, variables: Arrays, dtype: Any) -> Any:
        result = self.function(variables[INPUTS].astype(dtype))
        if not isinstance(result, tuple) or len(result) != 2:
            raise ValueError(f"function returned a {type(result).__name__}, wanted (value, gradient)")
        return result

    def gradients(self, variables: Arrays, dtype: Any) -> Arrays:
        gradient = np.array(self._call(variables, dtype)[1])  # a copy: it may be a buffer used again
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
        if loss is None and targets is not None:
            raise ValueError("targets are for a loss, and loss is None")
        if loss is not None and targets is None:
            raise ValueError("targets is None, wanted those of the loss")
        self.targets = targets
        # In the module's own precision first, so that all twins see the very same numbers.
        inputs = checks.matrix(INPUTS, _check_inputs(inputs), module.in_features, self.dtype)
        own = {INPUTS: inputs, **module.params}
        self.variables = {name: array.astype(np.float64) for name, array in own.items()}
        self._twins: dict[np.dtype, Layer | Network] = {}
        self._errors: Callable[[np.ndarray], np.ndarray] | None = None  # of what passes between layers
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
        grad_inputs = self._backward(twin, self._loss(outputs)[1].astype(dtype))
        gradients = {INPUTS: np.asarray(grad_inputs).copy()} | {
            name: array.copy() for name, array in twin.grads.items()
        }
        for name in gradients.keys() - self.variables.keys():
            raise ValueError(f"gradient of {name} belongs to no parameter")
        for name, array in self.variables.items():
            if name not in gradients or gradients[name].shape != array.shape:
                found = gradients[name].shape if name in gradients else "missing"
                raise ValueError(f"gradient of {name} is {found}, wanted shape {array.shape}")
        return gradients

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
        self._errors = lambda array: 1 + size * rng.uniform(-1, 1, array.shape)
        try:
            yield
        finally:
            self._errors = None

    def problems(self) -> list[str]:
        """Look for arrays that share memory or are changed, and for gradients that accumulate."""
        module = copy.deepcopy(self.module)  # in its own precision: what shares memory still does
        inputs = self.variables[INPUTS].astype(self.dtype)
        outputs = module.forward(inputs, training=True)
        first_outputs = outputs.copy()
        grad_outputs = self._loss(outputs)[1].astype(self.dtype)
        others = {INPUTS: inputs, "grad_outputs": grad_outputs} | {
            f"the array {name}": array for name, array in module.params.items()
        }
        before = {name: array.copy() for name, array in others.items()}
        grad_inputs = np.asarray(module.backward(grad_outputs))
        found = [
            f"forward and backward change {name}"
            for name, array in others.items()
            if not np.array_equal(array, before[name], equal_nan=True)
        ]
        gradients = {f"the gradient of {INPUTS}": grad_inputs} | {
            f"the gradient of {name}": array for name, array in module.grads.items()
        }
        found += [
            f"{name} and {other} share memory: writing one changes the other"
            for (name, array), (other, another) in _pairs(gradients, others)
            if np.shares_memory(array, another)
        ]
        first = {name: array.copy() for name, array in module.grads.items()}
        for layer, original in zip(layers_of(module), layers_of(self.module)):
            rewind(layer, original)
        again = module.forward(before[INPUTS], training=True)
        if not np.array_equal(again, first_outputs, equal_nan=True):
            found.append("forward gives other outputs the second time: are its random generators attributes?")
        module.backward(before["grad_outputs"])
        found += [
            f"the gradient of {name} is another the second time: does it accumulate?"
            for name, array in module.grads.items()
            if not np.array_equal(array, first[name], equal_nan=True)
        ]
        return found

    def _forward(self, variables: Arrays, dtype: Any) -> np.ndarray:
        twin = self.twin(dtype)
        for name, array in twin.params.items():
            array[...] = variables[name]
        for layer, original in zip(layers_of(twin), layers_of(self.module)):
            rewind(layer, original)
        outputs = variables[INPUTS].astype(dtype)
        if self._errors is None:
            return twin.forward(outputs, training=True)
        outputs = twin.scale(outputs) if isinstance(twin, Network) else outputs
        for layer in layers_of(twin):
            outputs = layer.forward(outputs, training=True)
            outputs *= self._errors(outputs)  # in place: the layer may have kept them for its backward
        return outputs

    def _backward(self, twin: Layer | Network, grad: np.ndarray) -> Any:
        if self._errors is None:
            return twin.backward(grad)
        for layer in reversed(layers_of(twin)):
            grad = np.asarray(layer.backward(grad * self._errors(grad)))
        return grad * twin.input_scale if isinstance(twin, Network) else grad

    def _loss(self, outputs: np.ndarray) -> tuple[Any, np.ndarray]:
        if self.loss is not None:
            return self.loss(outputs, self.targets)
        return (self.cotangent * outputs).sum(), self.cotangent


def _check_inputs(inputs: Any) -> np.ndarray:
    """Return `inputs` as an array of real numbers, at least one."""
    inputs = np.asarray(inputs)
    if inputs.dtype.kind not in "fiub" or not inputs.size:
        raise ValueError(f"inputs has dtype {inputs.dtype} and shape {inputs.shape}, wanted real numbers")
    return inputs


def layers_of(module: Layer | Network) -> list[Layer]:
    """Return the layers of a network, or the layer itself in a list."""
    return list(module.layers) if isinstance(module, Network) else [module]


def rewind(layer: Layer, original: Layer) -> None:
    """Set every random generator that `layer` holds to the state of the original's."""
    for name, value in vars(original).items():
        if isinstance(value, GENERATORS):
            setattr(layer, name, copy.deepcopy(value))


def _cast(module: Layer | Network, dtype: np.dtype) -> Layer | Network:
    """Change a module's precision in place."""
    module.dtype = dtype
    for layer in layers_of(module):
        layer.dtype = dtype
        for arrays in (layer.params, layer.grads):
            for name, array in arrays.items():
                arrays[name] = array.astype(dtype)
                for attribute, value in vars(layer).items():
                    if value is array:  # kept under a name of its own too
                        setattr(layer, attribute, arrays[name])
    return module


def _pairs(gradients: Arrays, others: Arrays) -> Iterator[tuple[Any, Any]]:
    """Yield every pair of two gradients, and every pair of a gradient and another array."""
    yield from itertools.combinations(gradients.items(), 2)
    yield from itertools.product(gradients.items(), others.items())
