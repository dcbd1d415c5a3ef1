"""Derivatives along directions: by complex steps where they can be trusted, else by differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minihash.gradient_check import numerics
from minihash.gradient_check.numerics import Derivative
from minihash.gradient_check.objective import Arrays, Objective
from minihash.gradient_check.rounding import Rounding, norm

STEP = 1e-3  # first step of differences, relative to the size of what is changed
KINK_STEPS = 1.0, 0.1
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
        return lambda t: self.objective.value(point | {name: point[name] + t * direction}, dtype)

    def _complex_step(self, name: str, direction: np.ndarray, point: Arrays) -> Derivative:
        return numerics.complex_step(self._function(name, direction, np.complex128, point))

    def _difference(self, name: str, direction: np.ndarray, point: Arrays) -> Derivative:
        function = self._function(name, direction, np.float64, point)
        return numerics.central_difference(function, self._step(name, direction), self.rounding.value_noise)

    def _step(self, name: str, direction: np.ndarray) -> float:
        moved = float(np.abs(self.point[name][direction != 0]).mean())
        # A tiny number among large ones is moved on their scale: on its own, rounding would drown it.
        return STEP * max(moved, 0.1 * self.rounding.scale(name)) / norm(direction)


def _slopes(function: Callable[[float], float], step: float, noise: float) -> Kink:
    right, left = (numerics.one_sided(function, step, side, noise) for side in (1, -1))
    slack = 10 * (right.error + left.error)
    low, high = sorted((right.value, left.value))
    return Kink(high - low > slack, low - slack, high + slack)
