"""Derivatives along directions: by complex steps where they can be trusted, else by differences."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minihash.gradient_check import numerics
from minihash.gradient_check.numerics import Derivative
from minihash.gradient_check.objective import Arrays, Objective
from minihash.gradient_check.rounding import Rounding, norm

STEP = 1e-3  # first step of differences, relative to the size of what is changed
FLOAT32_STEP = 1.0  # the same where values are float32's, which drowns small steps
KINK_STEPS = 1.0, 0.1
SEGMENTS = 1.0, 0.1  # of a float32 step: the lengths of integrals
SLOPES = 128, 125, 121, 113  # whose means are an integral, and differ by its error
MOVES = 3  # points beside a kink that are asked whether the function is analytic


@dataclass(frozen=True)
class Kink:
    """The derivatives from the two sides, with their errors; `found` says whether they differ."""

    found: bool
    low: float
    high: float


class Derivatives:
    """Derivatives of an objective's value. `analytic` says whether they are complex steps."""

    def __init__(self, objective: Objective, rounding: Rounding, rng: np.random.Generator) -> None:
        self.objective, self.rounding, self.rng = objective, rounding, rng
        self.point = objective.variables
        self.analytic = self._is_analytic()

    def along(self, name: str, direction: np.ndarray) -> Derivative:
        """Return the derivative along a direction in one array."""
        return (self._complex_step if self.analytic else self._difference)(name, direction, self.point)

    def kink(self, name: str, direction: np.ndarray, point: Arrays | None = None) -> Kink:
        """Compare the derivatives from the two sides, from steps of two sizes.

        Large ones alone would take a smooth bend for a kink. Much smaller ones would miss a kink that is so
        near that float32 may be beyond it.
        """
        function = self._function(name, direction, np.float64, self.point if point is None else point)
        seen = []
        for step in self._step(name, direction) * np.array(KINK_STEPS):
            seen.append(_slopes(function, float(step), self.rounding.value_noise))
            if not seen[-1].found:
                break
        return seen[-1] if not seen[-1].found else min(seen, key=lambda kink: kink.high - kink.low)

    def integrates(self, name: str, direction: np.ndarray) -> bool:
        """Tell whether `f(t) − f(−t)` is the integral of the claimed gradient, for large t in float32.

        That holds whatever bends and kinks are in between. Differences err where float32 hides a kink that is
        near the point.
        """
        if self.rounding.value_dtype != np.float32:
            return False
        step = self._step(name, direction)
        return all(self._integrates(name, direction, part * step) for part in SEGMENTS)

    def _integrates(self, name: str, direction: np.ndarray, step: float) -> bool:
        function = self._function(name, direction, np.float64, self.point)
        means = []
        for count in SLOPES:
            places = (np.arange(count) + 0.5) / count * 2 - 1
            means.append(np.mean([self._claimed_slope(name, direction, step * place) for place in places]))
        difference = (function(step) - function(-step)) / (2 * step)
        slack = self.rounding.value_noise / step + self.rounding.along(name, direction)
        middle, spread = (min(means) + max(means)) / 2, max(means) - min(means)
        return bool(abs(difference - middle) <= 3 * spread + slack)

    def _claimed_slope(self, name: str, direction: np.ndarray, t: float) -> float:
        moved = self.point | {name: self.point[name] + t * direction}
        try:
            return float((self.objective.gradients(moved, np.float64)[name] * direction).sum())
        except Exception:  # beyond what the function takes
            return np.nan

    def random_direction(self, name: str) -> np.ndarray:
        # Of different lengths in each place: equal and opposite errors must not cancel.
        shape = self.point[name].shape
        return self.rng.choice([-1.0, 1.0], shape) * self.rng.uniform(0.5, 1.5, shape)

    def _is_analytic(self) -> bool:
        """Tell whether complex steps can be trusted: differences along random directions do not refute them.

        At a kink they may differ. Points beside it are asked then, where exact zeros are none any more.
        """
        names = [name for name in self.point for _ in range(2) if self.point[name].size]
        return all(self._agrees(name, self.random_direction(name)) for name in names)

    def _agrees(self, name: str, direction: np.ndarray) -> bool:
        try:
            with warnings.catch_warnings():  # of what discards the imaginary part
                warnings.simplefilter("ignore")
                value = self._function(name, direction, np.complex128, self.point)(1j * numerics.COMPLEX_STEP)
        except Exception:  # whatever a forward pass says that was not made for complex numbers
            return False
        if not np.iscomplexobj(value):
            return False
        for point in (self.point, *(self._beside() for _ in range(MOVES))):
            if not self._refuted(name, direction, point):
                return True
            if not self.kink(name, direction, point).found:
                return False
        return False

    def _beside(self) -> Arrays:
        """Return a point a little off that of the check."""
        return {
            name: array + STEP * self.rounding.scale(name) * self.random_direction(name)
            for name, array in self.point.items()
        }

    def _refuted(self, name: str, direction: np.ndarray, point: Arrays) -> bool:
        """Tell whether differences contradict the complex step, from whichever first step they start.

        Where one of them supports it, it is the others that are wrong: the function is too fast for them.
        """
        step = self._complex_step(name, direction, point).value
        tolerance = self.rounding.along(name, direction)
        difference = self._difference(name, direction, point)
        distance = abs(step - difference.value)
        if distance <= 10 * difference.error + tolerance:
            return False
        function = self._function(name, direction, np.float64, point)
        start, noise = self._step(name, direction), self.rounding.value_noise
        others = numerics.central_differences(function, start, noise)
        slacks = [10 * other.error + tolerance for other in others]
        supported = [
            abs(step - other.value) <= slack < 0.1 * distance for other, slack in zip(others, slacks)
        ]
        return not any(supported)

    def _function(self, name: str, direction: np.ndarray, dtype: Any, point: Arrays) -> Callable[[Any], Any]:
        """Return the objective as a function of t, with `direction` times t added to one array."""

        def function(t: Any) -> Any:
            return self.objective.value(point | {name: point[name] + t * direction}, dtype)

        large_steps = dtype == np.float64 and self.rounding.value_dtype == np.float32
        return _where_defined(function) if large_steps else function

    def _complex_step(self, name: str, direction: np.ndarray, point: Arrays) -> Derivative:
        return numerics.complex_step(self._function(name, direction, np.complex128, point))

    def _difference(self, name: str, direction: np.ndarray, point: Arrays) -> Derivative:
        function = self._function(name, direction, np.float64, point)
        step, noise = self._step(name, direction), self.rounding.value_noise
        if self.rounding.value_dtype == np.float32:
            return numerics.noisy_difference(function, step, noise)
        return numerics.central_difference(function, step, noise)

    def _step(self, name: str, direction: np.ndarray) -> float:
        moved = float(np.abs(self.point[name][direction != 0]).mean())
        # A tiny number among large ones is moved on their scale: on its own, rounding would drown it.
        if self.rounding.value_dtype == np.float32:
            # Each number moves by so much, and not all together: the rounding of a large sum would drown it.
            typical_move = norm(direction) / float(np.sqrt(np.count_nonzero(direction)))
            return FLOAT32_STEP * max(moved, self.rounding.scale(name)) / typical_move
        return STEP * max(moved, 0.1 * self.rounding.scale(name)) / norm(direction)


def _where_defined(function: Callable[[float], float]) -> Callable[[float], float]:
    """Return the function, but NaN where large steps lead beyond what it takes."""

    def value(t: float) -> float:
        try:
            return function(t)
        except Exception:
            return np.nan

    return value


def _slopes(function: Callable[[float], float], step: float, noise: float) -> Kink:
    right, left = (numerics.one_sided(function, step, side, noise) for side in (1, -1))
    slack = 10 * (right.error + left.error)
    low, high = sorted((right.value, left.value))
    return Kink(high - low > slack, low - slack, high + slack)
