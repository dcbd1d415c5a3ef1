"""The check itself: every coordinate of small arrays, random directions of large ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minihash import checks
from minihash.gradient_check.derivatives import Line, is_analytic, random_direction
from minihash.gradient_check.diagnosis import diagnose
from minihash.gradient_check.grid import value_dtype
from minihash.gradient_check.objective import FunctionObjective, ModuleObjective, Objective
from minihash.gradient_check.report import FLOAT32, ArrayReport, GradientReport, Offender, severity
from minihash.gradient_check.rounding import OUTPUTS, Rounding, norm, typical
from minihash.hashing import LIMIT_SEED
from minihash.layers import Layer
from minihash.network import Network

MAX_OFFENDERS = 32  # of one array; more only cost time
TWIN, EVERY_PLACE = "float64 twin", "every place"  # as reports say it


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

    Examples
    --------
    >>> from minihash import HashedLinear
    >>> layer = HashedLinear(3, 2, num_buckets=2, dtype=np.float64)
    >>> check_gradients(layer, np.ones((4, 3))).raise_for_errors()

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
        self.rounding = Rounding(objective, self.claimed, rng, value_dtype(objective))
        self.analytic = is_analytic(objective, self.rounding, rng)
        differences = FLOAT32 if self.rounding.value_dtype == np.float32 else "differences"
        self.method = "complex step" if self.analytic else differences

    def run(self) -> GradientReport:
        arrays = [self._check_array(name) for name in self.point if self.point[name].size]
        problems = self.objective.problems()
        outputs = None
        if self.objective.dtype == np.float32:
            own = self.objective.gradients(self.point, np.float32)
            arrays += [self._compare_float32(report, own[report.name]) for report in arrays]
            outputs = self._compare_outputs()
        return GradientReport(arrays, problems, diagnose(self.objective, arrays), outputs)

    def _line(self, name: str, direction: np.ndarray) -> Line:
        return Line(self.objective, self.rounding, name, direction, self.point)

    def _check_array(self, name: str) -> ArrayReport:
        shape = self.point[name].shape
        unknown = np.full(shape, np.nan), np.full(shape, np.nan)
        report = ArrayReport(name, "float64", self.method, EVERY_PLACE, *unknown)
        looks = (self._line(name, random_direction(self.rng, shape)).kink() for _ in range(2))
        report.has_kink = any(kink is not None for kink in looks)
        if self.point[name].size <= self.max_coordinates:
            for looked_at, index in enumerate(np.ndindex(shape)):
                if self._has_enough(report):
                    report.checked = f"{looked_at} places"
                    break
                self._check_place(report, index)
        else:
            report.checked = f"{self.directions} directions"
            for _ in range(self.directions):
                self._check_direction(report, random_direction(self.rng, shape))
        return report

    @staticmethod
    def _has_enough(report: ArrayReport) -> bool:
        """Tell whether to look no further, and let the report say that something was not looked at."""
        report.stopped |= len(report.offenders) >= MAX_OFFENDERS
        return report.stopped

    def _check_place(self, report: ArrayReport, index: tuple[int, ...]) -> bool:
        """Check one number of an array; return whether it is right."""
        line = self._line(report.name, _at(index, report.errors.shape))
        result, right = self._compare(report, line, index)
        report.errors[index], report.tolerances[index] = result.error, result.tolerance
        kink = line.kink() if report.has_kink else None
        if kink is not None:
            report.kinks[index] = kink
        if not right:
            report.offenders.append(result)
        return right

    def _check_direction(self, report: ArrayReport, direction: np.ndarray) -> bool:
        """Check the derivative along a direction; where it is wrong, bisect to the places that are.

        Return whether all is right. What is wrong only as a whole is reported as the direction.
        """
        if self._has_enough(report):
            return False
        places = np.flatnonzero(direction)
        if len(places) == 1:
            index = tuple(int(i) for i in np.unravel_index(places[0], direction.shape))
            known = {offender.index for offender in report.offenders}
            return index not in known and self._check_place(report, index)
        result, right = self._compare(report, self._line(report.name, direction), None)
        if right:
            return True
        parts = []
        for half in np.array_split(places, 2):
            part = np.zeros_like(direction)
            part.flat[half] = direction.flat[half]
            parts.append(self._check_direction(report, part))
        if all(parts):
            report.offenders.append(result)
        return False

    def _compare(
        self, report: ArrayReport, line: Line, index: tuple[int, ...] | None
    ) -> tuple[Offender, bool]:
        """Compare claimed and numerical derivative along a line; return both, and whether that is right.

        So it is, too, between the slopes at a kink, and where the values are the integral of the gradient.
        """
        name, direction = line.name, line.direction
        moved = direction != 0  # elsewhere NaN times 0 would be NaN
        claimed = float((self.claimed[name][moved] * direction[moved]).sum())
        numeric = line.complex_step() if self.analytic else line.difference()
        tolerance = self.rounding.along(name, direction) + 2 * numeric.error
        agrees, between = abs(claimed - numeric.value) <= tolerance, False
        if not agrees:
            kink = line.kink()
            between = kink is not None and kink[0] - tolerance <= claimed <= kink[1] + tolerance
            report.has_kink |= between
            if not between and line.integrates():
                agrees, tolerance = True, abs(claimed - numeric.value)  # so much was not seen
        size = max(abs(claimed), typical(self.claimed[name]) * norm(direction))
        report.resolution = max(report.resolution, _resolution(np.array(tolerance), np.array(size)))
        precision = f"float64, {report.method}"
        result = Offender(name, index, claimed, numeric.value, tolerance, precision)
        if agrees or (not between and index is not None):
            report.worst = float(np.maximum(report.worst, result.error / tolerance))  # NaN stays
        return result, agrees or between

    def _compare_float32(self, exact: ArrayReport, gradient: np.ndarray) -> ArrayReport:
        """Compare the gradient of the module's own float32 with that of its float64 twin.

        At a kink, or near one, rounding may put float32 on the other side: there it is held to the slopes of
        both, or to what the gradient is at points that differ in their last places.
        """
        name, twins = exact.name, self.claimed[exact.name]
        tolerances = self.rounding.tolerance(name, self.rounding.arrays[name], np.float32)
        errors = np.abs(gradient.astype(np.float64) - twins)
        slopes = dict(exact.kinks)
        if exact.has_kink and exact.checked != EVERY_PLACE:
            for index in map(tuple, np.argwhere(~(errors <= tolerances))[:MAX_OFFENDERS].tolist()):
                kink = self._line(name, _at(index, gradient.shape)).kink()
                if kink is not None:
                    slopes[index] = kink
        for index, ends in slopes.items():
            errors[index] = np.minimum(errors[index], _distance(gradient[index], *ends))  # NaN stays
        if not (errors <= tolerances).all():
            outside = _distance(gradient, *self.rounding.float32_range(name))
            errors = np.where(outside <= tolerances, outside, errors)
        return _report_of_twins(name, gradient, twins, errors, tolerances)

    def _compare_outputs(self) -> ArrayReport:
        """Compare the outputs of the module's own float32 with those of its float64 twin."""
        own, twins = (self.objective.outputs(self.point, dtype) for dtype in (np.float32, np.float64))
        errors = np.abs(own - twins)
        return _report_of_twins(OUTPUTS, own, twins, errors, self.rounding.outputs_tolerance(errors))


def _report_of_twins(
    name: str, own: np.ndarray, twins: np.ndarray, errors: np.ndarray, tolerances: np.ndarray
) -> ArrayReport:
    """Report an array of the module's own float32 beside that of its float64 twin, the worst places first."""
    report = ArrayReport(name, "float32", TWIN, EVERY_PLACE, errors, tolerances)
    report.worst = float((errors / tolerances).max(initial=0.0))
    report.resolution = _resolution(tolerances, np.maximum(np.abs(twins), typical(twins)))
    offenders = []
    for index in map(tuple, np.argwhere(~(errors <= tolerances)).tolist()):
        claimed, expected, tolerance = (float(array[index]) for array in (own, twins, tolerances))
        offenders.append(Offender(name, index, claimed, expected, tolerance, f"float32, {TWIN}"))
    report.stopped = len(offenders) > MAX_OFFENDERS
    report.offenders = sorted(offenders, key=severity, reverse=True)[:MAX_OFFENDERS]
    return report


def _at(index: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Return the direction of one place."""
    direction = np.zeros(shape)
    direction[index] = 1.0
    return direction


def _distance(values: np.ndarray, low: Any, high: Any) -> np.ndarray:
    """Return how far values are outside [low, high]."""
    return np.maximum(np.maximum(low - values, values - high), 0.0)


def _resolution(tolerances: np.ndarray, sizes: np.ndarray) -> float:
    """Return the largest tolerance beside the size of what it is for; where all is 0, nothing is hidden."""
    if not np.isfinite(tolerances).all():
        return np.inf
    return float((tolerances / np.where(sizes > 0, sizes, np.inf)).max(initial=0.0))
