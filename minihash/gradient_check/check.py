"""The check itself: every coordinate of small arrays, random directions of large ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minihash import checks
from minihash.gradient_check import diagnosis, numerics
from minihash.gradient_check.numerics import Derivative
from minihash.gradient_check.objective import Arrays, FunctionObjective, ModuleObjective, Objective
from minihash.gradient_check.report import ArrayReport, GradientReport, Offender
from minihash.hashing import LIMIT_SEED
from minihash.layers import Layer
from minihash.network import Network

# Tolerance / estimated rounding error, for sums of thousands of terms and errors of unlucky seeds; in float64
# both sides of a comparison round, and float32 is compared with what is exact beside it.
SAFETY = {np.float64: 256.0, np.float32: 64.0}
JITTERS = 5
VALUE_SAFETY = 8.0  # the same for the value: its rounding is estimated from the largest change seen
STEP = 1e-3  # first step of differences, relative to the size of what is changed
MAX_OFFENDERS = 32  # of one array, by bisection; more only cost time


def check_gradients(
    target: Layer | Network | Callable[[np.ndarray], tuple[Any, Any]],
    inputs: Any,
    *,
    loss: str | Callable | None = None,
    targets: Any = None,
    max_coordinates: int = 1000,
    directions: int = 8,
    seed: int = 0,
) -> GradientReport:
    """Check every gradient of a layer, a network or a function against derivatives of its values.

    Derivatives are complex-step where the forward pass is analytic, else Richardson-extrapolated central
    differences. The tolerance is estimated, not given: from how the gradient answers to changes of all
    numbers in their last place, and from the differences' own error estimate. Arrays up to
    `max_coordinates` are checked at every place; of larger ones random directions are (which is the
    adjoint identity ⟨δ, J v⟩ = ⟨Jᵀ δ, v⟩), and a wrong direction is bisected down to its places. What is
    float32 is compared with itself in float64, and that with the derivatives.

    Parameters
    ----------
    target : layer or network, left as it was; or a function `inputs -> (value, gradient)`.
    inputs : (batch, in_features), or what the function takes: the point of the check.
    loss, targets : a loss for the outputs; by default the sum of the outputs, each times a random number.
    max_coordinates : size up to which an array is checked at every place.
    directions : random directions of each larger array.
    seed : of directions, jitter and the random sum.

    Returns
    -------
    GradientReport

    Raises
    ------
    ValueError for wrong arguments; a wrong gradient raises nothing before `raise_for_errors()`.

    Source: the error estimates are ours; see numerics.py for the derivatives.
    """
    max_coordinates = checks.integer("max_coordinates", max_coordinates, 0, 2**31)
    directions = checks.integer("directions", directions, 1, 2**16)
    rng = np.random.default_rng(checks.integer("seed", seed, 0, LIMIT_SEED))
    objective: Objective
    if isinstance(target, (Layer, Network)):
        objective = ModuleObjective(target, inputs, loss, targets, rng)
    elif callable(target) and not isinstance(target, type):
        if loss is not None or targets is not None:
            name = "loss" if loss is not None else "targets"
            raise ValueError(f"{name} is for layers and networks, and target is a function")
        objective = FunctionObjective(target, inputs)
    else:
        raise ValueError(f"target is {target!r}, wanted a layer, a network or a function")
    with np.errstate(all="ignore"):  # what is NaN or infinite is found, and reported as wrong
        return _Check(objective, rng, max_coordinates, directions).run()


class _Check:
    """One run of the check."""

    def __init__(
        self, objective: Objective, rng: np.random.Generator, max_coordinates: int, directions: int
    ) -> None:
        self.objective, self.rng = objective, rng
        self.max_coordinates, self.directions = max_coordinates, directions
        self.point = objective.variables
        self.claimed = objective.gradients(self.point, np.float64)
        # What relative errors of 1 in every number do to the value and to each gradient.
        self.value_rounding, self.rounding = self._rounding()
        self.analytic = self._is_analytic()

    def run(self) -> GradientReport:
        arrays = [self._check_array(name) for name in self.point if self.point[name].size]
        problems = self.objective.problems()
        if self.objective.dtype == np.float32:
            own = self.objective.gradients(self.point, np.float32)
            arrays += [self._compare_float32(report, own[report.name]) for report in arrays]
        sentences = diagnosis.diagnose(self.objective, arrays)
        return GradientReport(arrays, problems, sentences)

    # -------------------------------------------------------------------------- error estimates

    def _rounding(self) -> tuple[float, Arrays]:
        """Estimate what rounding does to the value and to each gradient, per unit of relative error.

        All numbers are changed in their float32 last places (multiplied, so that exact zeros stay), the
        gradient computed again in float64; the median over a few draws is not moved by a rare kink.
        """
        size = float(np.finfo(np.float32).eps)
        value = self.objective.value(self.point, np.float64)
        changes: dict[str, list[np.ndarray]] = {name: [] for name in self.point}
        value_changes = []
        for _ in range(JITTERS):
            factors = {name: self.rng.uniform(-1, 1, array.shape) for name, array in self.point.items()}
            moved = {name: array * (1 + size * factors[name]) for name, array in self.point.items()}
            with self.objective.jittered(self.rng, size):
                gradients = self.objective.gradients(moved, np.float64)
                value_changes.append(abs(self.objective.value(moved, np.float64) - value) / size)
            for name, gradient in gradients.items():
                changes[name].append(np.abs(gradient - self.claimed[name]) / size)
        return float(np.nanmax([0.0, *value_changes]) + abs(value)), {
            name: _spread(np.median(change, axis=0)) + np.abs(self.claimed[name])
            for name, change in changes.items()
        }

    def _tolerance(self, name: str, rounding: Any, dtype: Any) -> Any:
        """Return what rounding may do to a gradient, and what could not be seen in the value anyway.

        The second: an error so small that a change of the array by its own size would, by it, change the
        value less than rounding does. The slope 1 − t² of a saturated tanh has such errors.
        """
        epsilon = float(np.finfo(dtype).eps)
        unseen = VALUE_SAFETY * epsilon * self.value_rounding / self._scale(name)
        return SAFETY[dtype] * epsilon * rounding + unseen + np.finfo(np.float64).tiny

    def _scale(self, name: str) -> float:
        """Return the typical size of an array's numbers, 1 if they are all 0."""
        return _typical(self.point[name]) or 1.0

    # ----------------------------------------------------------------------------- derivatives

    def _is_analytic(self) -> bool:
        """Tell whether complex steps can be trusted: they agree with differences along random directions."""
        for name in [name for name in self.point for _ in range(2)]:
            direction = self._random_direction(name)
            try:
                value = self._along(name, direction, np.complex128)(1j * numerics.COMPLEX_STEP)
            except Exception:  # whatever a forward pass says that was not made for complex numbers
                return False
            if not np.iscomplexobj(value):
                return False
            if self._contradiction(name, direction, self._complex_step(name, direction)):
                return False
        return True

    def _contradiction(self, name: str, direction: np.ndarray, analytic: Derivative) -> Derivative | None:
        """Return the difference along a direction if it contradicts a complex step and no kink excuses it."""
        difference = self._difference(name, direction)
        slack = 10 * difference.error + self._direction_tolerance(name, direction)
        if abs(analytic.value - difference.value) <= slack or self._kink(name, direction)[0]:
            return None
        return difference

    def _along(self, name: str, direction: np.ndarray, dtype: Any) -> Callable[[Any], Any]:
        """Return the objective as a function of t, with `direction` times t added to one array."""

        def function(t: Any) -> Any:
            moved = self.point | {name: self.point[name] + t * direction}
            return self.objective.value(moved, dtype)

        return function

    def _complex_step(self, name: str, direction: np.ndarray) -> Derivative:
        return numerics.complex_step(self._along(name, direction, np.complex128))

    def _difference(self, name: str, direction: np.ndarray) -> Derivative:
        function = self._along(name, direction, np.float64)
        return numerics.central_difference(function, self._step(name, direction), self._value_noise())

    def _derivative(self, name: str, direction: np.ndarray) -> Derivative:
        return (self._complex_step if self.analytic else self._difference)(name, direction)

    def _kink(self, name: str, direction: np.ndarray) -> tuple[bool, float, float]:
        """Tell whether the derivatives from the two sides differ, and return the smaller and the larger."""
        function, step = self._along(name, direction, np.float64), self._step(name, direction)
        right, left = (numerics.one_sided(function, step, side, self._value_noise()) for side in (1, -1))
        slack = 10 * (right.error + left.error)
        low, high = sorted((right.value, left.value))
        return high - low > slack, low - slack, high + slack

    def _value_noise(self) -> float:
        return VALUE_SAFETY * numerics.EPSILON * self.value_rounding

    def _step(self, name: str, direction: np.ndarray) -> float:
        moved = float(np.abs(self.point[name][direction != 0]).mean())
        # A tiny number among large ones is moved on their scale: on its own, rounding would drown it.
        return STEP * max(moved, 0.1 * self._scale(name)) / float(np.linalg.norm(direction))

    def _random_direction(self, name: str) -> np.ndarray:
        # Of different lengths in each place: equal and opposite errors must not cancel.
        shape = self.point[name].shape
        return self.rng.choice([-1.0, 1.0], shape) * self.rng.uniform(0.5, 1.5, shape)

    def _direction_tolerance(self, name: str, direction: np.ndarray) -> float:
        """Return what rounding does to a derivative along a direction: independent errors add in squares."""
        moved = direction != 0
        rounding = np.linalg.norm(self.rounding[name][moved] * direction[moved])
        size = float(np.linalg.norm(direction))
        return float(self._tolerance(name, rounding / size, np.float64)) * size

    # ---------------------------------------------------------------------------------- checks

    def _check_array(self, name: str) -> ArrayReport:
        shape = self.point[name].shape
        report = ArrayReport(
            name,
            "float64",
            "complex step" if self.analytic else "differences",
            "every place",
            *(np.full(shape, np.nan), np.full(shape, np.nan), 0.0, 0.0),
        )
        report.has_kink = any(self._kink(name, self._random_direction(name))[0] for _ in range(2))
        if self.point[name].size <= self.max_coordinates:
            for index in np.ndindex(shape):
                self._check_place(report, index)
        else:
            report.checked = f"{self.directions} directions"
            for _ in range(self.directions):
                self._check_direction(report, self._random_direction(name))
        return report

    def _check_place(self, report: ArrayReport, index: tuple[int, ...]) -> bool:
        """Check one number of an array; return whether it is right."""
        direction = np.zeros(self.point[report.name].shape)
        direction[index] = 1.0
        error, tolerance, right, expected = self._compare(report, direction)
        report.errors[index], report.tolerances[index] = error, tolerance
        if report.has_kink and self._kink(report.name, direction)[0]:
            report.kinks.append(index)
        if not right:
            self._report(report, index, float(self.claimed[report.name][index]), expected, tolerance)
        return right

    @staticmethod
    def _report(
        report: ArrayReport, index: tuple[int, ...] | None, claimed: float, expected: float, tolerance: float
    ) -> None:
        precision = f"float64, {report.method}"
        report.offenders.append(Offender(report.name, index, claimed, expected, tolerance, precision))

    def _check_direction(self, report: ArrayReport, direction: np.ndarray) -> bool:
        """Check the derivative along a direction; where it is wrong, bisect to the places that are.

        Return whether all is right. What is wrong only as a whole is reported as the direction.
        """
        if len(report.offenders) >= MAX_OFFENDERS:
            return False
        places = np.flatnonzero(direction)
        if len(places) == 1:
            index = tuple(int(i) for i in np.unravel_index(places[0], direction.shape))
            known = {offender.index for offender in report.offenders}
            return index not in known and self._check_place(report, index)
        error, tolerance, right, expected = self._compare(report, direction)
        if right:
            return True
        parts = []
        for half in np.array_split(places, 2):
            part = np.zeros_like(direction)
            part.flat[half] = direction.flat[half]
            parts.append(self._check_direction(report, part))
        if all(parts):
            self._report(report, None, self._claimed(report.name, direction), expected, tolerance)
        return False

    def _claimed(self, name: str, direction: np.ndarray) -> float:
        moved = direction != 0  # elsewhere NaN times 0 would be NaN
        return float((self.claimed[name][moved] * direction[moved]).sum())

    def _compare(self, report: ArrayReport, direction: np.ndarray) -> tuple[float, float, bool, float]:
        """Compare claimed and numerical derivative; return error, tolerance, right or not, and the latter."""
        name = report.name
        claimed = self._claimed(name, direction)
        numeric = self._derivative(name, direction)
        rounding = self._direction_tolerance(name, direction)
        if self.analytic and not abs(claimed - numeric.value) <= rounding:
            # Is it the gradient that is wrong? A kink along every random direction can hide that the
            # forward pass is not analytic; then differences are what is believed from now on.
            difference = self._contradiction(name, direction, numeric)
            if difference:
                self.analytic, report.method, numeric = False, "differences", difference
        tolerance = rounding + 2 * numeric.error
        error = abs(claimed - numeric.value)
        typical = _typical(self.claimed[name]) * float(np.linalg.norm(direction))
        report.resolution = max(report.resolution, tolerance / (max(abs(claimed), typical) or np.inf))
        right = error <= tolerance
        if not right:
            kink, low, high = self._kink(name, direction)
            right = kink and low - tolerance <= claimed <= high + tolerance
            report.has_kink |= right
        if right or np.count_nonzero(direction) == 1:
            report.worst = max(report.worst, 0.0 if error > tolerance and right else error / tolerance)
        return error, tolerance, right, numeric.value

    def _compare_float32(self, twin: ArrayReport, gradient: np.ndarray) -> ArrayReport:
        """Compare the gradient of the module's own float32 with that of its float64 twin.

        At a kink, rounding may put float32 on the other side.
        """
        name = twin.name
        claimed = gradient.astype(np.float64)
        expected = self.claimed[name]
        errors = np.abs(claimed - expected)
        tolerances = self._tolerance(name, self.rounding[name], np.float32)
        typical = np.maximum(np.abs(expected), _typical(expected))
        resolution = float((tolerances / np.where(typical > 0, typical, np.inf)).max())
        worst = float((errors / tolerances).max())
        report = ArrayReport(
            *(name, "float32", "float64 twin", "every place"), errors, tolerances, worst, resolution
        )
        wrong = ~(errors <= tolerances)
        for index in twin.kinks:
            wrong[index] = False
        worst_first = np.argsort(-(errors / tolerances)[wrong])
        for place in np.argwhere(wrong)[worst_first[:MAX_OFFENDERS]]:
            index = tuple(int(i) for i in place)
            found, wanted, tolerance = (float(array[index]) for array in (claimed, expected, tolerances))
            report.offenders.append(Offender(name, index, found, wanted, tolerance, "float32, float64 twin"))
        return report


def _spread(change: np.ndarray) -> np.ndarray:
    """Add the array's typical change to each: a single one may be small by luck."""
    return change + _typical(change)


def _typical(values: np.ndarray) -> float:
    """Return the root mean square of what is finite."""
    finite = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(np.square(finite)))) if finite.size else 0.0
