"""Functions that compute in float32 whatever they are given: right passes, wrong is found where it shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minihash import Linear, Network
from minihash.gradient_check import check_gradients
from minihash.gradient_check.numerics import noisy_difference
from minihash.layers import Layer

pytestmark = pytest.mark.slow  # many evaluations

Function = Callable[[np.ndarray], tuple[Any, Any]]
METHOD = "float32 differences"


def square(x: np.ndarray) -> tuple[Any, Any]:
    x = np.asarray(x, np.float32)
    return (x * x).sum(), 2 * x


def tanh(x: np.ndarray) -> tuple[Any, Any]:
    outputs = np.tanh(np.asarray(x, np.float32))
    return float(outputs.sum()), 1 - outputs**2  # float: its type does not say how it was computed


def sine(x: np.ndarray) -> tuple[Any, Any]:
    x = np.asarray(x, np.float32)
    return np.sin(5 * x).sum(), 5 * np.cos(5 * x)


def far_from_zero(x: np.ndarray) -> tuple[Any, Any]:
    value, gradient = square(x)
    return np.float32(1000) + value, gradient


def large(x: np.ndarray) -> tuple[Any, Any]:
    x = np.asarray(x, np.float32)
    return (x**3).sum() * np.float32(1e6), 3e6 * x**2  # all values are whole numbers


def logarithm(x: np.ndarray) -> tuple[Any, Any]:
    if not np.iscomplexobj(x) and (x <= 0).any():
        raise ValueError("x is not positive")
    x = np.asarray(x, np.float32)
    return np.log(x).sum(), 1 / x


def perceptron(seed: int) -> Function:
    """Softmax cross-entropy of a network with ReLU: hundreds of kinks, some beside any point."""
    rng = np.random.default_rng(seed)
    first, second = (rng.normal(size=shape).astype(np.float32) / 5 for shape in ((20, 30), (5, 20)))
    targets = np.eye(5, dtype=np.float32)[rng.integers(0, 5, 8)]

    def function(x: np.ndarray) -> tuple[Any, Any]:
        z = np.asarray(x, np.float32) @ first.T
        outputs = np.maximum(z, 0) @ second.T
        powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        chances = powers / powers.sum(axis=1, keepdims=True)
        grad = (chances - targets) @ second * (z > 0)
        return -(targets * np.log(chances)).sum(), grad @ first

    return function


def times(function: Function, factors: Any) -> Function:
    """The function with a wrong gradient."""
    return lambda x: (function(x)[0], function(x)[1] * np.float32(factors))


@pytest.mark.parametrize("function", [square, tanh, sine, far_from_zero, large, logarithm])
@pytest.mark.parametrize("max_coordinates", [1000, 5])
@pytest.mark.parametrize("seed", range(2))
def test_smooth_functions(function: Function, max_coordinates: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(4, 3)).astype(np.float32)
    x = np.abs(x) + np.float32(0.1) if function is logarithm else x
    report = check_gradients(function, x, max_coordinates=max_coordinates)
    report.raise_for_errors()
    assert report.arrays[0].method == METHOD
    assert not check_gradients(times(function, 1.01), x, max_coordinates=max_coordinates).ok


def test_one_wrong_place_is_found() -> None:
    x, factors = np.linspace(-2, 2, 12).reshape(4, 3), np.ones((4, 3))
    factors[2, 1] = 1.01
    report = check_gradients(times(square, factors), x)
    assert [offender.index for offender in report.offenders] == [(2, 1)]
    assert report.offenders[0].precision == f"float64, {METHOD}"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 3])
def test_kinks_that_float32_hides_are_no_errors(seed: int) -> None:
    function, x = perceptron(seed), np.random.default_rng(seed).normal(size=(8, 30))
    options = {"max_coordinates": 0, "directions": 3, "seed": seed}
    check_gradients(function, x, **options).raise_for_errors()
    assert not check_gradients(times(function, 1.1), x, **options).ok


def test_inconclusive_names_float32_and_says_what_to_do() -> None:
    def function(x: np.ndarray) -> tuple[Any, Any]:
        return np.float32(1e6) + square(x)[0], square(x)[1]

    report = check_gradients(function, np.linspace(1, 2, 6))
    verdict = str(report).splitlines()[0]
    assert report.ok and "inconclusive" in verdict and "float32" in verdict and "in float64" in verdict


class InFloat32(Linear):
    """A layer around a library that computes in float32."""

    def _forward(self, inputs: np.ndarray, training: bool) -> tuple[np.ndarray, Any]:
        outputs, saved = super()._forward(inputs, training)
        return outputs.real.astype(np.float32).astype(self.dtype), saved


@pytest.mark.parametrize("layers", [["here"], ["here", "float64"], ["float64", "here"]])
def test_layers_that_compute_in_float32_themselves(layers: list[str]) -> None:
    made: list[Layer] = []
    for seed, where in enumerate(layers):
        kind = InFloat32 if where == "here" else Linear
        made.append(kind(4, 4, seed=seed, dtype=np.float64))
    x = np.random.default_rng(0).normal(size=(3, 4))
    report = check_gradients(Network(made), x)
    report.raise_for_errors()
    assert {array.method for array in report.arrays} == {METHOD}


# --------------------------------------------------------------- exact values that float32 holds too


def rounds(x: np.ndarray) -> tuple[Any, Any]:
    return float(np.rint(1000 * x.real).sum()), np.zeros_like(x.real)


def share(x: np.ndarray) -> tuple[Any, Any]:
    return float((x.real > np.linspace(-2, 2, x.size)).mean()), np.zeros_like(x.real)


def constant(x: np.ndarray) -> tuple[Any, Any]:
    return float(np.float32(0.1)), np.zeros_like(x.real)


@pytest.mark.parametrize("function", [rounds, share, constant])
def test_counts_are_checked_as_in_float64(function: Function) -> None:
    """They are constant around the point: any other gradient is wrong, however small."""
    x = np.random.default_rng(0).normal(size=4096)[:64]
    report = check_gradients(function, x)
    report.raise_for_errors()
    assert METHOD not in report.arrays[0].method
    wrong = check_gradients(lambda x: (function(x)[0], function(x)[1] + 1e-6), x)
    assert not wrong.ok


def test_float64_at_points_of_float32_is_float64() -> None:
    def function(x: np.ndarray) -> tuple[Any, Any]:
        return (x.real**2).sum(), 2 * x.real

    x = np.random.default_rng(0).normal(size=6).astype(np.float32)
    assert check_gradients(function, x).arrays[0].method == "differences"
    wrong = check_gradients(lambda x: (function(x)[0], function(x)[1] * (1 + 1e-6)), x)
    assert not wrong.arrays[0].status == "ok"


# ----------------------------------------------------------------------------------- the derivative


@pytest.mark.parametrize("width", [1.0, 1e-2, 1e-3])
def test_a_step_beyond_what_the_function_does_shows_in_the_error(width: float) -> None:
    """A bump that is 0 at large steps: small ones see it, and the error is not below the truth's."""

    def bump(t: float) -> float:
        return float(np.float32(1 + np.exp(-(((t - width / 2) / width) ** 2))))

    slope = np.exp(-0.25) / width
    found = noisy_difference(bump, 1.0, 1e-7)
    assert abs(found.value - slope) <= found.error < 0.1 * slope
