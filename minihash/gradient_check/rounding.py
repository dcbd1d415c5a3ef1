"""What rounding may do to the value, to gradients and to outputs, estimated by changing last places."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihash.gradient_check.objective import Arrays, Objective

# Tolerance / estimated rounding error, for sums of thousands of terms and errors of unlucky seeds; in float64
# both sides of a comparison round, and float32 is compared with what is exact beside it.
SAFETY = {np.float64: 256.0, np.float32: 64.0}
JITTERS = 5
VALUE_SAFETY = 8.0  # the same for the value: its rounding is estimated from the largest change seen
OUTPUTS = "outputs"
FLOAT32_EPSILON = float(np.finfo(np.float32).eps)
NEIGHBOURS = 32  # points that differ in float32 last places, some of them on the other side of a near kink
TINY = float(np.finfo(np.float64).tiny)


class Rounding:
    """Estimates of rounding errors at the point of the check, and the tolerances that follow from them.

    All numbers are changed in their float32 last places (multiplied, so that exact zeros stay), and all is
    computed again in float64; the median over a few draws is not moved by a rare kink. `value_dtype` says
    what values are really computed in: float64, or float32 where the function rounds to that itself.
    """

    def __init__(
        self, objective: Objective, claimed: Arrays, rng: np.random.Generator, value_dtype: Any = np.float64
    ) -> None:
        self.objective, self.rng, self.point = objective, rng, objective.variables
        self._ranges: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.value_dtype = value_dtype
        size = FLOAT32_EPSILON
        value = objective.value(self.point, np.float64)
        exact = claimed | {OUTPUTS: objective.outputs(self.point, np.float64)}
        changes: dict[str, list[np.ndarray]] = {name: [] for name in exact}
        value_changes = []
        for _ in range(JITTERS):
            moved = self._moved()
            with objective.jittered(rng, size):
                found = objective.gradients(moved, np.float64)
                found[OUTPUTS] = objective.outputs(moved, np.float64)
                value_changes.append(abs(objective.value(moved, np.float64) - value) / size)
            for name, array in found.items():
                changes[name].append(np.abs(array - exact[name]) / size)
        self.value = float(np.nanmax([0.0, *value_changes]) + abs(value))
        self.arrays = {
            name: _spread(np.median(change, axis=0)) + np.abs(exact[name]) for name, change in changes.items()
        }

    def _moved(self) -> Arrays:
        """Return the point of the check with its float32 last places changed."""
        return {
            name: array * (1 + FLOAT32_EPSILON * self.rng.uniform(-1, 1, array.shape))
            for name, array in self.point.items()
        }

    def float32_range(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the smallest and largest of an array (float64) at points that float32 may take for this."""
        if not self._ranges:
            found = []
            for _ in range(NEIGHBOURS):
                moved = self._moved()
                with self.objective.jittered(self.rng, FLOAT32_EPSILON):
                    found.append(self.objective.gradients(moved, np.float64))
                    found[-1][OUTPUTS] = self.objective.outputs(moved, np.float64)
            for key in found[0]:
                gradients = np.array([gradient[key] for gradient in found])
                self._ranges[key] = gradients.min(axis=0), gradients.max(axis=0)
        return self._ranges[name]

    @property
    def value_noise(self) -> float:
        """What rounding does to the value."""
        return VALUE_SAFETY * float(np.finfo(self.value_dtype).eps) * self.value

    def outputs_tolerance(self, errors: np.ndarray) -> np.ndarray:
        """Return what float32 may do to the outputs; if that seems exceeded, estimate it with more draws.

        A ReLU that is 0 beside its kink may stay so in a few draws.
        """
        tolerance = SAFETY[np.float32] * FLOAT32_EPSILON * self.arrays[OUTPUTS] + TINY
        if (errors <= tolerance).all():
            return tolerance
        low, high = self.float32_range(OUTPUTS)
        return tolerance + SAFETY[np.float32] * (high - low)

    def tolerance(self, name: str, rounding: Any, dtype: Any) -> Any:
        """Return what rounding may do to a gradient, and what could not be seen in the value anyway.

        The second: an error so small that a change of the array by its own size would, by it, change the
        value less than rounding does. The slope 1 − t² of a saturated tanh has such errors.
        """
        epsilon = float(np.finfo(dtype).eps)
        unseen = VALUE_SAFETY * epsilon * self.value / self.scale(name)
        return SAFETY[dtype] * epsilon * rounding + unseen + TINY

    def along(self, name: str, direction: np.ndarray) -> float:
        """Return what rounding does to a derivative along a direction: independent errors add in squares."""
        moved = direction != 0
        size = norm(direction)
        rounding = norm(self.arrays[name][moved] * direction[moved])
        return float(self.tolerance(name, rounding / size, self.value_dtype)) * size

    def scale(self, name: str) -> float:
        """Return the typical size of an array's numbers, 1 if they are all 0."""
        return typical(self.point[name]) or 1.0


def typical(values: np.ndarray) -> float:
    """Return the root mean square of what is finite."""
    finite = values[np.isfinite(values)]
    return norm(finite) / float(np.sqrt(finite.size)) if finite.size else 0.0


def norm(values: np.ndarray) -> float:
    """Return the Euclidean norm, whose squares neither overflow nor vanish."""
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0 or not np.isfinite(largest):
        return largest
    return largest * float(np.linalg.norm(values / largest))


def _spread(change: np.ndarray) -> np.ndarray:
    """Add the array's typical change to each: a single one may be small by luck."""
    return change + typical(change)
