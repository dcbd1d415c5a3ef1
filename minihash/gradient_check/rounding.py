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
        self, objective: Objective, claimed: Arrays, rng: np.random.Generator, value_dtype: Any
    ) -> None:
        self.objective, self.rng, self.point = objective, rng, objective.variables
        self.value_dtype = value_dtype
        self._ranges: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        value = objective.value(self.point, np.float64)
        exact = claimed | {OUTPUTS: objective.outputs(self.point, np.float64)}
        values, neighbours = zip(*(self._neighbour() for _ in range(JITTERS)))
        changes = [abs(near - value) / FLOAT32_EPSILON for near in values]
        self.value = float(np.nanmax([0.0, *changes]) + abs(value))
        self.arrays = {}
        for name, array in exact.items():
            change = np.median([np.abs(near[name] - array) / FLOAT32_EPSILON for near in neighbours], axis=0)
            self.arrays[name] = change + typical(change) + np.abs(array)  # a single one may be small by luck

    def _neighbour(self) -> tuple[float, Arrays]:
        """Return value, gradients and outputs (float64) at a point that float32 may take for this one."""
        moved = {
            name: array * (1 + FLOAT32_EPSILON * self.rng.uniform(-1, 1, array.shape))
            for name, array in self.point.items()
        }
        with self.objective.jittered(self.rng, FLOAT32_EPSILON):
            gradients = self.objective.gradients(moved, np.float64)
            outputs = self.objective.outputs(moved, np.float64)
            return self.objective.value(moved, np.float64), gradients | {OUTPUTS: outputs}

    def float32_range(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the smallest and largest of an array (float64) at points that float32 may take for this."""
        if not self._ranges:
            neighbours = [self._neighbour()[1] for _ in range(NEIGHBOURS)]
            for key in neighbours[0]:
                arrays = np.array([near[key] for near in neighbours])
                self._ranges[key] = arrays.min(axis=0), arrays.max(axis=0)
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
