"""The gradient checkers that are compared, each with hashed networks written in its framework."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.checked_networks import Problem, minihash_network
from minihash.gradient_check import check_gradients


class Peer:
    """A gradient checker, and hashed networks in its framework. Making one imports it."""

    package = "minihash"
    errors: tuple[type[Exception], ...] = (AssertionError,)

    def __init__(self, name: str, **options: Any) -> None:
        self.name, self.options = name, options

    def complaint(self, problem: Problem) -> str:
        """Return what the checker finds wrong, or nothing."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PyTorch's about float32
                self.check(problem)
        except self.errors as error:
            return str(error) or type(error).__name__
        return ""

    def check(self, problem: Problem) -> None:
        raise NotImplementedError

    def gradients(self, problem: Problem, cotangent: np.ndarray) -> list[np.ndarray]:
        """Return the gradients of inputs and weights, for the test of what is compared."""
        raise NotImplementedError


class Minihash(Peer):
    def __init__(
        self, name: str, precisions: tuple[type, ...] = (np.float32, np.float64), **options: Any
    ) -> None:
        super().__init__(name, **options)
        self.precisions = precisions

    def check(self, problem: Problem) -> None:
        network = minihash_network(problem, self.precisions)
        check_gradients(network, problem.inputs, **self.options).raise_for_errors()

    def gradients(self, problem: Problem, cotangent: np.ndarray) -> list[np.ndarray]:
        network = minihash_network(problem)
        network.forward(problem.inputs, training=True)
        return [np.asarray(network.backward(cotangent)), *network.grads.values()]


class Torch(Peer):
    package = "torch"

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self.torch = torch = import_module("torch")
        torch.set_num_threads(1)
        self.errors = (import_module("torch.autograd.gradcheck").GradcheckError,)

        class Hashed(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, inputs: Any, weight: Any, buckets: Any, signs: Any, factors: Any) -> Any:
                V = weight[buckets] * signs
                ctx.save_for_backward(inputs, V, buckets, signs, factors)
                return inputs @ V[:, :-1].T + V[:, -1]

            @staticmethod
            def backward(ctx: Any, grad: Any) -> Any:
                inputs, V, buckets, signs, factors = ctx.saved_tensors
                grad_V = torch.cat([grad.T @ inputs, grad.sum(0)[:, None]], 1) * signs
                sums = torch.zeros_like(factors).index_add_(0, buckets.ravel(), grad_V.ravel())
                return grad @ V[:, :-1], sums * factors, None, None, None

        self.hashed = Hashed.apply

    def function(self, problem: Problem) -> tuple[Callable, list[Any]]:
        def tensor(array: np.ndarray, grad: bool = False) -> Any:
            return self.torch.tensor(array.astype(problem.dtype), requires_grad=grad)

        constants = [
            (self.torch.tensor(buckets), tensor(signs), tensor(factors))
            for (buckets, signs), factors in zip(problem.maps, problem.factors)
        ]
        layers = [lambda a, w, c=constant: self.hashed(a, w, *c) for constant in constants]
        arguments = [tensor(array, grad=True) for array in (problem.inputs, *problem.weights)]
        return chain(layers, problem.activation, self.torch.tanh), arguments

    def check(self, problem: Problem) -> None:
        self.torch.manual_seed(0)
        self.torch.autograd.gradcheck(*self.function(problem), **self.options)

    def gradients(self, problem: Problem, cotangent: np.ndarray) -> list[np.ndarray]:
        function, arguments = self.function(problem)
        function(*arguments).backward(self.torch.tensor(cotangent))
        return [argument.grad.numpy() for argument in arguments]


class Jax(Peer):
    package = "jax"

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        os.environ.update(JAX_PLATFORMS="cpu", XLA_FLAGS=flags)
        self.jax = import_module("jax")
        self.jax.config.update("jax_enable_x64", True)
        self.check_grads = import_module("jax.test_util").check_grads

    def hashed(self, buckets: np.ndarray, signs: np.ndarray, factors: np.ndarray) -> Callable:
        jnp = self.jax.numpy

        @self.jax.custom_vjp
        def layer(inputs: Any, weight: Any) -> Any:
            return forward(inputs, weight)[0]

        def forward(inputs: Any, weight: Any) -> Any:
            V = weight[buckets] * signs
            return inputs @ V[:, :-1].T + V[:, -1], (inputs, V)

        def backward(saved: Any, grad: Any) -> Any:
            inputs, V = saved
            grad_V = jnp.concatenate([grad.T @ inputs, grad.sum(0)[:, None]], 1) * signs
            return grad @ V[:, :-1], jnp.zeros_like(factors).at[buckets].add(grad_V) * factors

        layer.defvjp(forward, backward)
        return layer

    def function(self, problem: Problem) -> tuple[Callable, list[Any]]:
        def array(values: np.ndarray) -> Any:
            return self.jax.numpy.asarray(values.astype(problem.dtype))

        layers = [
            self.hashed(buckets, array(signs), array(factors))
            for (buckets, signs), factors in zip(problem.maps, problem.factors)
        ]
        arguments = [array(values) for values in (problem.inputs, *problem.weights)]
        return chain(layers, problem.activation, self.jax.numpy.tanh), arguments

    def check(self, problem: Problem) -> None:
        self.check_grads(*self.function(problem), order=1, modes=("rev",), **self.options)

    def gradients(self, problem: Problem, cotangent: np.ndarray) -> list[np.ndarray]:
        function, arguments = self.function(problem)
        return [np.asarray(grad) for grad in self.jax.vjp(function, *arguments)[1](cotangent)]


class Autograd(Peer):
    package = "autograd"

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self.tanh = import_module("autograd.numpy").tanh
        self.extend = import_module("autograd.extend")
        self.make_vjp = import_module("autograd").make_vjp
        self.check_grads = import_module("autograd.test_util").check_grads

    def hashed(self, buckets: np.ndarray, signs: np.ndarray, factors: np.ndarray) -> Callable:
        def matrix(weight: np.ndarray) -> np.ndarray:
            return weight[buckets] * signs

        @self.extend.primitive
        def layer(inputs: np.ndarray, weight: np.ndarray) -> np.ndarray:
            V = matrix(weight)
            return inputs @ V[:, :-1].T + V[:, -1]

        def backward(outputs: Any, inputs: np.ndarray, weight: np.ndarray) -> Callable:
            def grad_weight(grad: np.ndarray) -> np.ndarray:
                grad_V = np.concatenate([grad.T @ inputs, grad.sum(0)[:, None]], 1) * signs
                sums = np.bincount(buckets.ravel(), grad_V.ravel(), len(factors))
                return sums.astype(factors.dtype) * factors

            return grad_weight

        self.extend.defvjp(layer, lambda z, a, w: lambda grad: grad @ matrix(w)[:, :-1], backward)
        return layer

    def function(self, problem: Problem) -> tuple[Callable, list[Any]]:
        layers = [
            self.hashed(buckets, signs.astype(problem.dtype), factors.astype(problem.dtype))
            for (buckets, signs), factors in zip(problem.maps, problem.factors)
        ]
        arguments = [values.astype(problem.dtype) for values in (problem.inputs, *problem.weights)]
        return chain(layers, problem.activation, self.tanh), arguments

    def check(self, problem: Problem) -> None:
        function, arguments = self.function(problem)
        np.random.seed(0)  # of its directions
        every = tuple(range(len(arguments)))
        self.check_grads(function, every, modes=["rev"], order=1, **self.options)(*arguments)

    def gradients(self, problem: Problem, cotangent: np.ndarray) -> list[np.ndarray]:
        function, arguments = self.function(problem)
        return list(self.make_vjp(function, tuple(range(len(arguments))))(*arguments)[0](cotangent))


def chain(layers: list[Callable], activation: str, tanh: Callable) -> Callable:
    """Return the network as a function of inputs and weights."""

    def function(inputs: Any, *weights: Any) -> Any:
        outputs = inputs
        for position, (layer, weight) in enumerate(zip(layers, weights)):
            if position:
                outputs = tanh(outputs) if activation == "tanh" else outputs * (outputs > 0)
            outputs = layer(outputs, weight)
        return outputs

    return function


ROWS: list[tuple[type[Peer], str, dict[str, Any]]] = [
    (Minihash, "minihash check_gradients", {}),
    (Minihash, "minihash, max_coordinates=0", {"max_coordinates": 0}),
    (Torch, "torch gradcheck", {}),
    (Torch, "torch gradcheck, fast_mode", {"fast_mode": True}),
    (Torch, "torch gradcheck, atol = rtol = 1e-8", {"atol": 1e-8, "rtol": 1e-8}),
    (Jax, "jax check_grads", {}),
    (Autograd, "autograd check_grads", {}),
]


def make_peers() -> tuple[list[Peer], list[str]]:
    """Return the checkers that are installed, and the names of those that are not."""
    peers, missing = [], []
    for kind, name, options in ROWS:
        try:
            peers.append(kind(name, **options))
        except ImportError:
            missing.append(name)
    return peers, missing
