"""What is differentiated: a scalar function of named arrays, with the gradient that claims to be its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
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
        """Return copies: they may be buffers used again."""
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

    def jittered(self, rng: np.random.Generator, size: float) -> AbstractContextManager[None]:
        """Inside, numbers that are not in `variables` have relative errors of about `size` too."""
        return nullcontext()


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
        return {INPUTS: _gradient("function", result, self.variables[INPUTS].shape).copy()}

    def problems(self) -> list[str]:
        """Look for a value or a gradient that is another the second time."""
        pairs = (_pair("function", self._call(self.variables, self.dtype)) for _ in range(2))
        first, second = (dict(zip(("value", "gradient"), map(np.array, pair))) for pair in pairs)
        return [
            f"the {name} of the function is another the second time: is it random, or does it accumulate?"
            for name in _changed(first, second)
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
        self.module, self.dtype, self.targets = module, module.dtype, targets
        self.loss = None if loss is None else losses.get(loss)
        if loss is None and targets is not None:
            raise ValueError("targets are for a loss, and loss is None")
        if loss is not None and targets is None:
            raise ValueError("targets is None, wanted those of the loss")
        # In the module's own precision first, so that all twins see the very same numbers.
        inputs = checks.matrix(INPUTS, _check_inputs(inputs), module.in_features, self.dtype)
        self.variables = {name: a.astype(np.float64) for name, a in {INPUTS: inputs, **module.params}.items()}
        self._twins: dict[np.dtype, Layer | Network] = {}
        self._errors: Callable[[np.ndarray], Any] | None = None  # factors of what passes between layers
        shape = self._first_outputs().shape
        self.cotangent = rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)

    def outputs(self, variables: Arrays, dtype: Any) -> np.ndarray:
        return self._forward(variables, dtype)[1].copy()

    def value(self, variables: Arrays, dtype: Any) -> Any:
        outputs = self._forward(variables, dtype)[1]
        if self.loss is None:
            return (self.cotangent * outputs).sum()
        return _value("loss", self.loss(outputs, self.targets), dtype)

    def stages(self, variables: Arrays) -> list[np.ndarray]:
        between = self._layers_forward(self._twin(variables, np.float64), variables[INPUTS])
        return [*super().stages(variables), *map(np.array, between[1:])]

    def gradients(self, variables: Arrays, dtype: Any) -> Arrays:
        twin, outputs = self._forward(variables, dtype)
        grad_outputs = self._grad_outputs(outputs, dtype)
        if self._errors is None:
            grad_inputs = twin.backward(grad_outputs)
        else:
            grad_inputs = self._layers_backward(twin, grad_outputs)[-1]
            grad_inputs = grad_inputs * twin.input_scale if isinstance(twin, Network) else grad_inputs
        gradients = _copies({INPUTS: np.asarray(grad_inputs), **twin.grads})
        for name in gradients.keys() - self.variables.keys():
            raise ValueError(f"gradient of {name} belongs to no parameter")
        for name, array in self.variables.items():
            shape = gradients[name].shape if name in gradients else "missing"
            if shape != array.shape:
                raise ValueError(f"gradient of {name} is {shape}, wanted shape {array.shape}")
        return gradients

    def layer_passes(self) -> list[tuple[str, Layer, np.ndarray, np.ndarray]]:
        """Return of each float64 layer its parameters' prefix, itself, its inputs and its grad_outputs."""
        twin = self._twin(self.variables, np.float64)
        *between, outputs = self._layers_forward(twin, self.variables[INPUTS])
        grads = self._layers_backward(twin, self._grad_outputs(outputs, np.float64))
        layers = layers_of(twin)
        prefixes = [f"{place}." for place in range(len(layers))] if isinstance(twin, Network) else [""]
        return list(zip(prefixes, layers, between, grads[-2::-1]))

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
        grad_outputs = self._grad_outputs(outputs, self.dtype)
        params = {f"the array {name}": array for name, array in module.params.items()}
        others = {INPUTS: inputs, "grad_outputs": grad_outputs, **params}
        before = _copies(others)
        gradients = {INPUTS: np.asarray(module.backward(grad_outputs)), **module.grads}
        problems = [f"forward and backward change {name}" for name in _changed(before, others)]
        gradients = {f"the gradient of {name}": array for name, array in gradients.items()}
        pairs = (
            *itertools.combinations(gradients.items(), 2),
            *itertools.product(gradients.items(), others.items()),
        )
        problems += [
            f"{name} and {other} share memory: writing one changes the other"
            for (name, array), (other, another) in pairs
            if np.shares_memory(array, another)
        ]
        first = _copies(module.grads)
        rewind(module, self.module)
        again = module.forward(before[INPUTS], training=True)
        if not np.array_equal(again, first_outputs, equal_nan=True):
            question = "are its random generators attributes?"
            problems.append(f"forward gives other outputs the second time: {question}")
        module.backward(before["grad_outputs"])
        problems += [
            f"the gradient of {name} is another the second time: does it accumulate?"
            for name in _changed(first, module.grads)
        ]
        return problems + self._problems_of_the_first_layer(module, before[INPUTS], before["grad_outputs"])

    def _problems_of_the_first_layer(
        self, module: Layer | Network, inputs: np.ndarray, grad_outputs: np.ndarray
    ) -> list[str]:
        """Compare the gradients without that of the inputs, as training wants them, with those of all."""
        full = _copies(module.grads)
        for array in module.grads.values():
            array[...] = np.nan
        rewind(module, self.module)
        module.forward(inputs, training=True)
        call = "backward(need_grad_inputs=False)"
        try:
            returned = module.backward(grad_outputs, need_grad_inputs=False)
        except Exception as error:  # whatever a layer says that never met it
            return [f"{call} raises {type(error).__name__}: {error}"]
        problems = [] if returned is None else [f"{call} returns a {type(returned).__name__}, wanted None"]
        return problems + [
            f"{call} gives the gradient of {name} another value"
            for name, array in module.grads.items()
            if not _close(array, full[name])
        ]

    def _first_outputs(self) -> np.ndarray:
        """Return the outputs in the module's own precision; refuse what is not a matrix."""
        try:
            outputs = self._forward(self.variables, self.dtype)[1]
        except (AttributeError, IndexError, TypeError) as error:
            problem = f"{type(error).__name__}: {error}"
            raise ValueError(f"forward failed ({problem}): are its outputs (batch, out_features)?") from error
        if np.ndim(outputs) != 2:
            raise ValueError(f"forward returned shape {np.shape(outputs)}, wanted (batch, out_features)")
        return outputs

    def _twin(self, variables: Arrays, dtype: Any) -> Layer | Network:
        """Return the module's copy in `dtype`, with the parameters of `variables`, before its first draw."""
        dtype = np.dtype(dtype)
        if dtype not in self._twins:
            self._twins[dtype] = twin_of(self.module, dtype)
        twin = self._twins[dtype]
        for name, array in twin.params.items():
            array[...] = variables[name]
        rewind(twin, self.module)
        return twin

    def _forward(self, variables: Arrays, dtype: Any) -> tuple[Layer | Network, np.ndarray]:
        """Return a twin and its outputs."""
        twin, inputs = self._twin(variables, dtype), variables[INPUTS].astype(dtype)
        if self._errors is None:
            return twin, twin.forward(inputs, training=True)
        return twin, self._layers_forward(twin, inputs)[-1]

    def _layers_forward(self, twin: Layer | Network, inputs: np.ndarray) -> list[np.ndarray]:
        """Return what goes into each layer, and the outputs."""
        passed = [twin.scale(inputs) if isinstance(twin, Network) else inputs]
        for layer in layers_of(twin):
            outputs = layer.forward(passed[-1], training=True)
            if self._errors is not None:
                outputs = outputs if outputs.flags.writeable else outputs.copy()
                outputs *= self._errors(outputs)  # in place: the layer may have kept them for its backward
            passed.append(outputs)
        return passed

    def _layers_backward(self, twin: Layer | Network, grad_outputs: np.ndarray) -> list[np.ndarray]:
        """Return the gradients of the outputs, of what is between the layers and of what enters the first."""
        passed = [grad_outputs]
        for layer in reversed(layers_of(twin)):
            grad = passed[-1] if self._errors is None else passed[-1] * self._errors(passed[-1])
            passed.append(np.asarray(layer.backward(grad)))
        return passed

    def _grad_outputs(self, outputs: np.ndarray, dtype: Any) -> np.ndarray:
        if self.loss is None:
            return self.cotangent.astype(dtype)
        return _gradient("loss", self.loss(outputs, self.targets), outputs.shape).astype(dtype)


def _copies(arrays: Arrays) -> Arrays:
    return {name: array.copy() for name, array in arrays.items()}


def _changed(before: Arrays, after: Arrays) -> list[str]:
    """Return the names of the arrays that are not the same to the last bit; NaN is."""
    return [name for name, array in after.items() if not np.array_equal(array, before[name], equal_nan=True)]


def _pair(name: str, result: Any) -> tuple[Any, Any]:
    """Return what a function or a loss returned, if it is a value and a gradient."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise ValueError(f"{name} returned a {type(result).__name__}, wanted (value, gradient)")
    return result


def _value(name: str, result: Any, dtype: Any) -> Any:
    value = _pair(name, result)[0]
    if np.ndim(value) != 0:
        raise ValueError(f"{name} returned a value of shape {np.shape(value)}, wanted a number")
    if np.asarray(value).dtype.kind not in ("fiubc" if np.dtype(dtype).kind == "c" else "fiub"):
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


def _close(array: np.ndarray, wanted: np.ndarray) -> bool:
    """Tell whether two ways to compute the same agree up to what rounding may do to sums."""
    relative = float(np.sqrt(np.finfo(wanted.dtype).eps))
    size = np.abs(wanted).max(initial=0.0, where=np.isfinite(wanted))
    return np.allclose(array, wanted, rtol=relative, atol=relative * float(size), equal_nan=True)
