"""The networks that gradient checkers are compared on: hashed, random, right or wrong by a known factor."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minihash import HashedLinear, Network
from minihash.hashing import layer_seed
from minihash.layers.registry import activations
from minihash.maps import BucketMap


@dataclass(frozen=True)
class Problem:
    """A hashed network at a point; the claimed gradient of each weight is multiplied by its factor."""

    sizes: tuple[int, ...]
    seed: int
    activation: str
    weights: list[np.ndarray]
    inputs: np.ndarray
    factors: list[np.ndarray]
    dtype: type = np.float64

    @functools.cached_property
    def maps(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Buckets and signs (out, in + 1) of each layer, the last column the bias."""
        maps = []
        for position, (fan_in, fan_out) in enumerate(zip(self.sizes, self.sizes[1:])):
            seed = layer_seed(position, self.seed)
            bucket_map = BucketMap(len(self.weights[position]), seed, columns=fan_in + 1)
            buckets, signs = bucket_map(np.arange(fan_out)[:, None], np.arange(fan_in + 1))
            maps.append((buckets.astype(np.int64), signs))
        return maps

    def planted(self, layer: int, buckets: Any, error: float) -> Problem:
        """Return the problem with a relative error in some buckets of a layer."""
        factors = [factor.copy() for factor in self.factors]
        factors[layer][buckets] += error
        return replace(self, factors=factors)

    def scaled(self, of_weights: float, of_inputs: float) -> Problem:
        weights = [of_weights * weight for weight in self.weights]
        return replace(self, weights=weights, inputs=of_inputs * self.inputs)


def random_problem(seed: int) -> Problem:
    """Return a small network: 2-3 layers of up to 8 units, odd seeds with ReLU, numbers of order 1."""
    rng = np.random.default_rng(seed)
    sizes = tuple(int(size) for size in rng.integers(2, 9, rng.integers(3, 5)))
    activation = "relu" if seed % 2 else "tanh"
    return make_problem(rng, seed, sizes, activation, rng.uniform(0.2, 1), int(rng.integers(1, 7)))


def make_problem(
    rng: np.random.Generator,
    seed: int,
    sizes: tuple[int, ...],
    activation: str,
    compression: float,
    batch: int,
) -> Problem:
    gains = [1.0 if max(sizes) < 10 else fan_in**-0.5 for fan_in in sizes]
    virtual = [fan_out * (fan_in + 1) for fan_in, fan_out in zip(sizes, sizes[1:])]
    weights = [
        gain * rng.uniform(0.2, 1, max(1, round(compression * count))) for gain, count in zip(gains, virtual)
    ]
    weights = [weight * rng.choice([-1.0, 1.0], weight.shape) for weight in weights]
    inputs = rng.uniform(0.1, 2, (batch, sizes[0])) * rng.choice([-1.0, 1.0], (batch, sizes[0]))
    return Problem(sizes, seed, activation, weights, inputs, [np.ones_like(weight) for weight in weights])


def kinked_problem(seed: int) -> Problem:
    """Return a ReLU network with one unit of the first layer exactly at 0 where that matters.

    Weights are powers of two and inputs eighths, so that every order of summation gives exactly 0.
    """
    for attempt in range(1000):
        problem = replace(random_problem(seed + 10_000 * attempt), activation="relu")
        rng = np.random.default_rng(seed)
        first = np.sign(problem.weights[0]) * rng.choice([0.25, 0.5, 1.0], problem.weights[0].shape)
        inputs = np.ceil(8 * problem.inputs) / 8
        buckets, signs = problem.maps[0]
        row = (first[buckets] * signs)[0]
        inputs[0, 0] = -(inputs[0, 1:] @ row[1:-1] + row[-1]) / row[0]
        problem = replace(problem, weights=[first, *problem.weights[1:]], inputs=inputs)
        if _count_kinks(problem) == 1:
            return problem
    raise RuntimeError(f"no kink for seed {seed}")


def _count_kinks(problem: Problem) -> int:
    """Count the units of the first layer that are at 0 and whose outputs reach the network's."""
    network = minihash_network(problem)
    grad = np.random.default_rng(0).normal(size=network.forward(problem.inputs, training=True).shape)
    for layer in reversed(network.layers[2:]):
        grad = layer.backward(grad)
    return int(((network.layers[0].forward(problem.inputs) == 0) & (grad != 0)).sum())


class PlantedLinear(HashedLinear):
    """A hashed layer whose gradient is multiplied by `factors`, in some precisions."""

    factors: np.ndarray
    precisions: tuple[type, ...]

    def _backward(self, saved: Any, grad_outputs: np.ndarray, need_grad_inputs: bool) -> Any:
        grad_inputs = super()._backward(saved, grad_outputs, need_grad_inputs)
        if self.dtype in self.precisions:
            self.grads["weight"] *= self.factors
        return grad_inputs


def minihash_network(problem: Problem, precisions: tuple[type, ...] = (np.float32, np.float64)) -> Network:
    layers: list[Any] = []
    for position, weight in enumerate(problem.weights):
        if position:
            layers.append(activations()[problem.activation](problem.dtype))
        shape, seed = problem.sizes[position : position + 2], layer_seed(position, problem.seed)
        layer = PlantedLinear(*shape, num_buckets=len(weight), seed=seed, dtype=problem.dtype)
        layer.weight = weight
        layer.factors, layer.precisions = problem.factors[position], precisions
        layers.append(layer)
    return Network(layers)
