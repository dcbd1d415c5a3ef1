"""What is differentiated: a scalar function of named arrays, with the gradient that claims to be its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minihash import checks, losses
from minihash.gradient_check.twins import layers_of, rewind, twin_of
from minihash.kernels.devices import check_on_host
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

    def outputs(self, variables: Arrays, dtype: Any) -> np.ndarray:
        """Return what the scalar is made of, where it is made of anything."""
        return np.zeros(0)

    def stages(self, variables: Arrays) -> list[np.ndarray]:
        """Return what is computed on the way to the value in float64, and the value."""
        return [np.asarray(self.value(variables, np.float64))]

    def problems(self) -> list[str]:
        """Return what is wrong with the gradients beyond their values."""
        raise NotImplementedError

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
        return _value("function", self._call(variables, dtype), dtype)

    def gradients(self, variables: Arrays, dtype: Any) -> Arrays:
        result = self._call(variables, dtype)
        # A copy: it may be a buffer used again.
        return {INPUTS: _gradient("function", result, self.variables[INPUTS].shape).copy()}

    def problems(self) -> list[str]:
        """Look for a value or a gradient that is another the second time."""
        found = []
        for _ in range(2):
            value, gradient = _pair("function", self._call(self.variables, self.dtype))
            found.append({"value": np.array(value), "gradient": np.array(gradient)})
        return [
            f"the {name} of the function is another the second time: is it random, or does it accumulate?"
            for name in found[0]
            if not np.array_equal(found[0][name], found[1][name], equal_nan=True)
        ]

    def _call(self, variables: Arrays, dtype: Any) -> Any:
        return self.function(variables[INPUTS].astype(dtype))


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
        check_on_host("target", module)
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
        outputs = self._first_outputs()
        self.cotangent = rng.uniform(0.5, 1.5, outputs.shape) * rng.choice([-1.0, 1.0], outputs.shape)

    def twin(self, dtype: Any) -> Layer | Network:
        """Return the module's copy in `dtype`."""
        dtype = np.dtype(dtype)
        if dtype not in self._twins:
            self._twins[dtype] = twin_of(self.module, dtype)
        return self._twins[dtype]

    def outputs(self, variables: Arrays, dtype: Any) -> np.ndarray:
        return self._forward(variables, dtype).copy()

    def value(self, variables: Arrays, dtype: Any) -> Any:
        outputs = self._forward(variables, dtype)
        if self.loss is None:
            return (self.cotangent * outputs).sum()
        return _value("loss", self.loss(outputs, self.targets), dtype)

    def stages(self, variables: Arrays) -> list[np.ndarray]:
        found = super().stages(variables)  # the parameters are in the twin after it
        twin = self.twin(np.float64)
        rewind(twin, self.module)
        inputs = variables[INPUTS]
        inputs = twin.scale(inputs) if isinstance(twin, Network) else inputs
        for layer in layers_of(twin):
            inputs = layer.forward(inputs, training=True)
            found.append(np.array(inputs))
        return found

    def gradients(self, variables: Arrays, dtype: Any) -> Arrays:
        outputs = self._forward(variables, dtype)
        twin = self.twin(dtype)
        grad_inputs = self._backward(twin, self._grad_outputs(outputs).astype(dtype))
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
        grad = self._grad_outputs(outputs).astype(np.float64)
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
        module = twin_of(self.module, self.dtype)  # what shares memory still does
        inputs = self.variables[INPUTS].astype(self.dtype)
        outputs = module.forward(inputs, training=True)
        first_outputs = outputs.copy()
        grad_outputs = self._grad_outputs(outputs).astype(self.dtype)
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
        rewind(module, self.module)
        again = module.forward(before[INPUTS], training=True)
        if not np.array_equal(again, first_outputs, equal_nan=True):
            found.append("forward gives other outputs the second time: are its random generators attributes?")
        module.backward(before["grad_outputs"])
        found += [
            f"the gradient of {name} is another the second time: does it accumulate?"
            for name, array in module.grads.items()
            if not np.array_equal(array, first[name], equal_nan=True)
        ]
        return found + self._problems_of_the_first_layer(module, before[INPUTS], before["grad_outputs"])

    def _problems_of_the_first_layer(
        self, module: Layer | Network, inputs: np.ndarray, grad_outputs: np.ndarray
    ) -> list[str]:
        """Compare the gradients without that of the inputs, as training wants them, with those of all."""
        full = {name: array.copy() for name, array in module.grads.items()}
        for array in module.grads.values():
            array[...] = np.nan
        rewind(module, self.module)
        module.forward(inputs, training=True)
        call = "backward(need_grad_inputs=False)"
        try:
            returned = module.backward(grad_outputs, need_grad_inputs=False)
        except Exception as error:  # whatever a layer says that never met it
            return [f"{call} raises {type(error).__name__}: {error}"]
        found = [] if returned is None else [f"{call} returns a {type(returned).__name__}, wanted None"]
        return found + [
            f"{call} gives the gradient of {name} another value"
            for name, array in module.grads.items()
            if not _close(array, full[name])
        ]

    def _first_outputs(self) -> np.ndarray:
        """Return the outputs in the module's own precision; refuse what is not a matrix."""
        try:
            outputs = self._forward(self.variables, self.dtype)
        except (AttributeError, IndexError, TypeError) as error:
            problem = f"{type(error).__name__}: {error}"
            raise ValueError(f"forward failed ({problem}): are its outputs (batch, out_features)?") from error
        if np.ndim(outputs) != 2:
            raise ValueError(f"forward returned shape {np.shape(outputs)}, wanted (batch, out_features)")
        return outputs

    def _forward(self, variables: Arrays, dtype: Any) -> np.ndarray:
        twin = self.twin(dtype)
        for name, array in twin.params.items():
            array[...] = variables[name]
        rewind(twin, self.module)
        outputs = variables[INPUTS].astype(dtype)
        if self._errors is None:
            return twin.forward(outputs, training=True)
        outputs = twin.scale(outputs) if isinstance(twin, Network) else outputs
        for layer in layers_of(twin):
            outputs = layer.forward(outputs, training=True)
            if not outputs.flags.writeable:
                outputs = outputs.copy()
            outputs *= self._errors(outputs)  # in place: the layer may have kept them for its backward
        return outputs

    def _backward(self, twin: Layer | Network, grad: np.ndarray) -> Any:
        if self._errors is None:
            return twin.backward(grad)
        for layer in reversed(layers_of(twin)):
            grad = np.asarray(layer.backward(grad * self._errors(grad)))
        return grad * twin.input_scale if isinstance(twin, Network) else grad

    def _grad_outputs(self, outputs: np.ndarray) -> np.ndarray:
        if self.loss is None:
            return self.cotangent
        return _gradient("loss", self.loss(outputs, self.targets), outputs.shape)


def _pair(name: str, result: Any) -> tuple[Any, Any]:
    """Return what a function or a loss returned, if it is a value and a gradient."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise ValueError(f"{name} returned a {type(result).__name__}, wanted (value, gradient)")
    return result


def _value(name: str, result: Any, dtype: Any) -> Any:
    value = _pair(name, result)[0]
    if np.ndim(value) != 0:
        raise ValueError(f"{name} returned a value of shape {np.shape(value)}, wanted a number")
    kinds = "fiubc" if np.dtype(dtype).kind == "c" else "fiub"
    if np.asarray(value).dtype.kind not in kinds:
        raise ValueError(f"{name} returned the value {value!r}, wanted a real number")
    return value


def _gradient(name: str, result: Any, shape: tuple[int, ...]) -> np.ndarray:
    gradient = np.asarray(_pair(name, result)[1])
    if gradient.dtype.kind not in "fiub":
        raise ValueError(f"{name} returned a gradient of dtype {gradient.dtype}, wanted real numbers")
    if gradient.shape != shape:
        raise ValueError(f"{name} returned a gradient of shape {gradient.shape}, wanted {shape}")
    return gradient


def _check_inputs(inputs: Any) -> np.ndarray:
    """Return `inputs` as an array of real numbers, at least one."""
    inputs = np.asarray(checks.array(INPUTS, inputs))
    if inputs.dtype.kind not in "fiub" or not inputs.size:
        raise ValueError(f"inputs has dtype {inputs.dtype} and shape {inputs.shape}, wanted real numbers")
    return inputs


def _close(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Tell whether two ways to compute the same agree up to what rounding may do to sums."""
    relative = float(np.sqrt(np.finfo(wanted.dtype).eps))
    size = np.abs(wanted).max(initial=0.0, where=np.isfinite(wanted))
    return np.allclose(found, wanted, rtol=relative, atol=relative * float(size), equal_nan=True)


def _pairs(gradients: Arrays, others: Arrays) -> Iterator[tuple[Any, Any]]:
    """Yield every pair of two gradients, and every pair of a gradient and another array."""
    yield from itertools.combinations(gradients.items(), 2)
    yield from itertools.product(gradients.items(), others.items())
