"""Derivatives along lines: by complex steps where they can be trusted, else by differences."""

from __future__ import annotations

import warnings
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
class Line:
    """An objective on the line `point + t · direction`, with the direction in one of its arrays."""

    objective: Objective
    rounding: Rounding
    name: str
    direction: np.ndarray
    point: Arrays

    def value(self, t: Any) -> Any:
        """Return the value at t, for complex t in complex numbers.

        Where values are float32's, NaN stands for what is beyond the function: large steps may lead there.
        """
        try:
            return self.objective.value(self._at(t), np.complex128 if np.iscomplexobj(t) else np.float64)
        except Exception:
            if np.iscomplexobj(t) or not self._in_float32:
                raise
            return np.nan

    def complex_step(self) -> Derivative:
        """Return the derivative at t = 0 by a complex step."""
        return numerics.complex_step(self.value)

    def difference(self) -> Derivative:
        """Return the derivative at t = 0 by differences."""
        method = numerics.noisy_difference if self._in_float32 else numerics.central_difference
        return method(self.value, self._step, self.rounding.value_noise)

    def kink(self) -> tuple[float, float] | None:
        """Return the slopes of the two sides, the lower first, each with its error; None if they agree.

        Steps of two sizes are asked. Large ones alone would take a smooth bend for a kink. Much smaller ones
        would miss a kink that is so near that float32 may be beyond it.
        """
        slopes = []
        for factor in KINK_STEPS:
            sides = [
                numerics.one_sided(self.value, factor * self._step, side, self.rounding.value_noise)
                for side in (1, -1)
            ]
            slack = 10 * sum(side.error for side in sides)
            low, high = sorted(side.value for side in sides)
            if not high - low > slack:
                return None
            slopes.append((low - slack, high + slack))
        return min(slopes, key=lambda ends: ends[1] - ends[0])

    def integrates(self) -> bool:
        """Tell whether `f(t) − f(−t)` is the integral of the claimed gradient, for large t in float32.

        That holds whatever bends and kinks are in between. Differences err where float32 hides a kink that is
        near the point.
        """
        return self._in_float32 and all(self._integrates(part * self._step) for part in SEGMENTS)

    def _integrates(self, step: float) -> bool:
        means = []
        for count in SLOPES:
            places = (np.arange(count) + 0.5) / count * 2 - 1
            means.append(np.mean([self._claimed_slope(step * place) for place in places]))
        difference = (self.value(step) - self.value(-step)) / (2 * step)
        slack = self.rounding.value_noise / step + self.rounding.along(self.name, self.direction)
        middle, spread = (min(means) + max(means)) / 2, max(means) - min(means)
        return bool(abs(difference - middle) <= 3 * spread + slack)

    def _claimed_slope(self, t: float) -> float:
        try:
            gradient = self.objective.gradients(self._at(t), np.float64)[self.name]
            return float((gradient * self.direction).sum())
        except Exception:  # beyond what the function takes
            return np.nan

    def refutes_complex_step(self) -> bool:
        """Tell whether differences contradict the complex step, from whichever first step they start.

        Where one of them supports it, it is the others that are wrong: the function is too fast for them.
        """
        exact = self.complex_step().value
        tolerance = self.rounding.along(self.name, self.direction)
        difference = self.difference()
        distance = abs(exact - difference.value)
        if distance <= 10 * difference.error + tolerance:
            return False
        others = numerics.central_differences(self.value, self._step, self.rounding.value_noise)
        slacks = [10 * other.error + tolerance for other in others]
        return not any(
            abs(exact - other.value) <= slack < 0.1 * distance for other, slack in zip(others, slacks)
        )

    def _at(self, t: Any) -> Arrays:
        return self.point | {self.name: self.point[self.name] + t * self.direction}

    @property
    def _in_float32(self) -> bool:
        return self.rounding.value_dtype == np.float32

    @property
    def _step(self) -> float:
        moved = float(np.abs(self.point[self.name][self.direction != 0]).mean())
        # A tiny number among large ones is moved on their scale: on its own, rounding would drown it.
        scale = self.rounding.scale(self.name)
        if self._in_float32:
            # Each number moves by so much, and not all together: the rounding of a large sum would drown it.
            typical_move = norm(self.direction) / float(np.sqrt(np.count_nonzero(self.direction)))
            return FLOAT32_STEP * max(moved, scale) / typical_move
        return STEP * max(moved, 0.1 * scale) / norm(self.direction)


def random_direction(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return numbers of either sign and different sizes: equal and opposite errors must not cancel."""
    return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.5, shape)


def is_analytic(objective: Objective, rounding: Rounding, rng: np.random.Generator) -> bool:
    """Tell whether complex steps can be trusted: differences along random directions do not refute them.

    At a kink they may differ. Points beside it are asked then, where exact zeros are none any more.
    """
    point = objective.variables

    def beside() -> Arrays:
        return {
            name: array + STEP * rounding.scale(name) * random_direction(rng, array.shape)
            for name, array in point.items()
        }

    def agrees(name: str) -> bool:
        direction = random_direction(rng, point[name].shape)
        if not _takes_complex(Line(objective, rounding, name, direction, point)):
            return False
        for start in (point, *(beside() for _ in range(MOVES))):
            line = Line(objective, rounding, name, direction, start)
            if not line.refutes_complex_step():
                return True
            if line.kink() is None:
                return False
        return False

    return all(agrees(name) for name in point for _ in range(2) if point[name].size)


def _takes_complex(line: Line) -> bool:
    """Tell whether a function gives complex numbers for complex ones."""
    try:
        with warnings.catch_warnings():  # of what discards the imaginary part
            warnings.simplefilter("ignore")
            return np.iscomplexobj(line.value(1j * numerics.COMPLEX_STEP))
    except Exception:  # whatever a forward pass says that was not made for complex numbers
        return False
