"""The check itself: every coordinate of small arrays, random directions of large ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minihash import checks
from minihash.gradient_check import diagnosis
from minihash.gradient_check.derivatives import Derivatives
from minihash.gradient_check.grid import value_dtype
from minihash.gradient_check.objective import FunctionObjective, ModuleObjective, Objective
from minihash.gradient_check.report import FLOAT32, ArrayReport, GradientReport, Offender, severity
from minihash.gradient_check.rounding import OUTPUTS, Rounding, norm, typical
from minihash.hashing import LIMIT_SEED
from minihash.layers import Layer
from minihash.network import Network

MAX_OFFENDERS = 32  # of one array; more only cost time


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


@dataclass(frozen=True)
class _Comparison:
    """A claimed derivative beside the numerical one; `right` too if it is between the slopes at a kink."""

    claimed: float
    expected: float
    tolerance: float
    right: bool

    @property
    def error(self) -> float:
        return abs(self.claimed - self.expected)


class _Check:
    """One run of the check."""

    def __init__(
        self, objective: Objective, rng: np.random.Generator, max_coordinates: int, directions: int
    ) -> None:
        self.objective = objective
        self.max_coordinates, self.directions = max_coordinates, directions
        self.point = objective.variables
        self.claimed = objective.gradients(self.point, np.float64)
        self.rounding = Rounding(objective, self.claimed, rng, value_dtype(objective))
        self.derivatives = Derivatives(objective, self.rounding, rng)

    def run(self) -> GradientReport:
        arrays = [self._check_array(name) for name in self.point if self.point[name].size]
        problems = self.objective.problems()
        outputs = None
        if self.objective.dtype == np.float32:
            own = self.objective.gradients(self.point, np.float32)
            arrays += [self._compare_float32(report, own[report.name]) for report in arrays]
            outputs = self._compare_outputs()
        sentences = diagnosis.diagnose(self.objective, arrays)
        return GradientReport(arrays, problems, sentences, outputs)

    def _check_array(self, name: str) -> ArrayReport:
        shape = self.point[name].shape
        report = ArrayReport(
            name,
            "float64",
            self._method(),
            "every place",
            *(np.full(shape, np.nan), np.full(shape, np.nan), 0.0, 0.0),
        )
        report.has_kink = any(
            self.derivatives.kink(name, self._random_direction(name)).found for _ in range(2)
        )
        if self.point[name].size <= self.max_coordinates:
            for looked_at, index in enumerate(np.ndindex(shape)):
                if self._has_enough(report):
                    report.checked = f"{looked_at} places"
                    break
                self._check_place(report, index)
        else:
            report.checked = f"{self.directions} directions"
            for _ in range(self.directions):
                self._check_direction(report, self._random_direction(name))
        return report

    def _method(self) -> str:
        if self.derivatives.analytic:
            return "complex step"
        return FLOAT32 if self.rounding.value_dtype == np.float32 else "differences"

    @staticmethod
    def _has_enough(report: ArrayReport) -> bool:
        """Tell whether to look no further, and let the report say that something was not looked at."""
        report.stopped |= len(report.offenders) >= MAX_OFFENDERS
        return report.stopped

    def _random_direction(self, name: str) -> np.ndarray:
        return self.derivatives.random_direction(name)

    def _check_place(self, report: ArrayReport, index: tuple[int, ...]) -> bool:
        """Check one number of an array; return whether it is right."""
        direction = np.zeros(self.point[report.name].shape)
        direction[index] = 1.0
        found = self._compare(report, direction)
        report.errors[index], report.tolerances[index] = found.error, found.tolerance
        if report.has_kink:
            kink = self.derivatives.kink(report.name, direction)
            if kink.found:
                report.kinks[index] = (kink.low, kink.high)
        if not found.right:
            self._report(report, index, found)
        return found.right

    @staticmethod
    def _report(report: ArrayReport, index: tuple[int, ...] | None, found: _Comparison) -> None:
        precision = f"float64, {report.method}"
        numbers = found.claimed, found.expected, found.tolerance
        report.offenders.append(Offender(report.name, index, *numbers, precision))

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
        found = self._compare(report, direction)
        if found.right:
            return True
        parts = []
        for half in np.array_split(places, 2):
            part = np.zeros_like(direction)
            part.flat[half] = direction.flat[half]
            parts.append(self._check_direction(report, part))
        if all(parts):
            self._report(report, None, found)
        return False

    def _compare(self, report: ArrayReport, direction: np.ndarray) -> _Comparison:
        """Compare claimed and numerical derivative along a direction."""
        name = report.name
        moved = direction != 0  # elsewhere NaN times 0 would be NaN
        claimed = float((self.claimed[name][moved] * direction[moved]).sum())
        numeric = self.derivatives.along(name, direction)
        tolerance = self.rounding.along(name, direction) + 2 * numeric.error
        size = max(abs(claimed), typical(self.claimed[name]) * norm(direction))
        report.resolution = max(report.resolution, _resolution(np.array(tolerance), np.array(size)))
        agrees = abs(claimed - numeric.value) <= tolerance
        between = not agrees and self._is_between_slopes(name, direction, claimed, tolerance)
        report.has_kink |= between
        if not (agrees or between) and self.derivatives.integrates(name, direction):
            agrees, tolerance = True, abs(claimed - numeric.value)  # so much was not seen
            report.resolution = max(report.resolution, _resolution(np.array(tolerance), np.array(size)))
        found = _Comparison(claimed, numeric.value, tolerance, agrees or between)
        if agrees or (not between and np.count_nonzero(direction) == 1):
            report.worst = float(np.maximum(report.worst, found.error / tolerance))  # NaN stays
        return found

    def _is_between_slopes(self, name: str, direction: np.ndarray, claimed: float, tolerance: float) -> bool:
        kink = self.derivatives.kink(name, direction)
        return kink.found and kink.low - tolerance <= claimed <= kink.high + tolerance

    # --------------------------------------------------------------------------------- float32

    def _compare_float32(self, exact: ArrayReport, gradient: np.ndarray) -> ArrayReport:
        """Compare the gradient of the module's own float32 with that of its float64 twin.

        At a kink, or near one, rounding may put float32 on the other side: there it is held to the slopes of
        both, or to what the gradient is at points that differ in their last places.
        """
        name = exact.name
        tolerances = self.rounding.tolerance(name, self.rounding.arrays[name], np.float32)
        report = self._compare_with_twin(name, gradient, self.claimed[name], tolerances)
        slopes = dict(exact.kinks)
        wrong = np.argwhere(~(report.errors <= tolerances))
        if exact.has_kink and exact.checked != "every place":
            for index in map(tuple, wrong[:MAX_OFFENDERS].tolist()):
                direction = np.zeros(gradient.shape)
                direction[index] = 1.0
                kink = self.derivatives.kink(name, direction)
                if kink.found:
                    slopes[index] = (kink.low, kink.high)
        for index, (low, high) in slopes.items():
            outside = _distance(gradient[index], low, high)
            report.errors[index] = np.minimum(report.errors[index], outside)  # NaN stays
        if not (report.errors <= tolerances).all():
            outside = _distance(gradient, *self.rounding.float32_range(name))
            report.errors = np.where(outside <= tolerances, outside, report.errors)
        return self._name_offenders(report, gradient, self.claimed[name])

    def _compare_outputs(self) -> ArrayReport:
        """Compare the outputs of the module's own float32 with those of its float64 twin."""
        own, exact = (self.objective.outputs(self.point, dtype) for dtype in (np.float32, np.float64))
        tolerances = self.rounding.outputs_tolerance(np.abs(own - exact))
        report = self._compare_with_twin(OUTPUTS, own, exact, tolerances)
        return self._name_offenders(report, own, exact)

    @staticmethod
    def _compare_with_twin(
        name: str, own: np.ndarray, exact: np.ndarray, tolerances: np.ndarray
    ) -> ArrayReport:
        errors = np.abs(own.astype(np.float64) - exact)
        resolution = _resolution(tolerances, np.maximum(np.abs(exact), typical(exact)))
        return ArrayReport(
            *(name, "float32", "float64 twin", "every place"), errors, tolerances, 0.0, resolution
        )

    @staticmethod
    def _name_offenders(report: ArrayReport, own: np.ndarray, exact: np.ndarray) -> ArrayReport:
        """Fill in the worst error and the offenders, the worst ones."""
        errors, tolerances = report.errors, report.tolerances
        report.worst = float((errors / tolerances).max(initial=0.0))
        wrong = np.argwhere(~(errors <= tolerances))
        report.stopped = len(wrong) > MAX_OFFENDERS
        offenders = []
        for index in map(tuple, wrong.tolist()):
            claimed, expected, tolerance = (float(array[index]) for array in (own, exact, tolerances))
            precision = "float32, float64 twin"
            offenders.append(Offender(report.name, index, claimed, expected, tolerance, precision))
        report.offenders = sorted(offenders, key=severity, reverse=True)[:MAX_OFFENDERS]
        return report


def _distance(values: np.ndarray, low: Any, high: Any) -> np.ndarray:
    """Return how far values are outside [low, high]."""
    return np.maximum(np.maximum(low - values, values - high), 0.0)


def _resolution(tolerances: np.ndarray, sizes: np.ndarray) -> float:
    """Return the largest tolerance beside the size of what it is for; where all is 0, nothing is hidden."""
    if not np.isfinite(tolerances).all():
        return np.inf
    return float((tolerances / np.where(sizes > 0, sizes, np.inf)).max(initial=0.0))
