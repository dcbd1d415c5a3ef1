"""Derivatives from values alone, each with an estimate of its own error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

EPSILON = float(np.finfo(np.float64).eps)
COMPLEX_STEP = 1e-40  # its square vanishes beside 1, and it is far from underflow
SHRINK = 2.0  # of the step, from one row of the Richardson table to the next
ROWS = 8
OTHER_START = 0.7  # of a second table's steps, none of which the first one has
DECADES = 7  # first steps 1, 0.1, … 1e-6 times the one asked for, where that one proves too large
NOISY_STARTS, NOISY_SHRINK, NOISY_ROWS = 10, 4.0, 4  # tables that reach to a millionth of the step
PROBE, PROBE_ROWS = 1e-3, 4  # a small table of a much smaller step

Quotient = Callable[[float], tuple[float, float]]  # t -> difference quotient of step t, and its noise


@dataclass(frozen=True)
class Derivative:
    """A derivative and the estimated size of its error."""

    value: float
    error: float


def complex_step(function: Callable[[complex], complex]) -> Derivative:
    """Return f'(0) = Im f(ih) / h of an analytic function, which loses no digits to a difference.

    There is nothing to estimate: the truncation error is h² f‴/6, below 1e-79, and the rounding error is
    that of evaluating f.

    Source: Squire, Trapp: Using complex variables to estimate derivatives of real functions, SIAM Rev. 1998.
    """
    return Derivative(complex(function(1j * COMPLEX_STEP)).imag / COMPLEX_STEP, 0.0)


def central_difference(
    function: Callable[[float], float], step: float, noise: float | None = None
) -> Derivative:
    """Return f'(0) by central differences, Richardson-extrapolated, with the best entry's error.

    Differences `(f(t) − f(−t)) / 2t` with t = step, step/2, … have errors in even powers of t, which
    the table cancels one by one. The error of an entry is estimated by its distance from the two it
    was made of, plus what rounding f can do; of all entries that with the smallest estimate is taken,
    and checked against that of a second table with other steps.

    Parameters
    ----------
    function : f, smooth around 0.
    step : of the first difference, above 0.
    noise : rounding error of f's values; by default a few units of their last place, which is too
        little where f sums larger terms of both signs.

    Source: Ridders: Accurate computation of F'(x) and F'(x) F''(x), Adv. Eng. Software 1982.
    """
    return _extrapolate(_central_quotient(function, noise), step, powers=2)


def central_differences(
    function: Callable[[float], float], step: float, noise: float | None = None
) -> list[Derivative]:
    """Return f'(0) by central differences from first steps over decades, `step` the largest."""
    return _decades(_central_quotient(function, noise), step, powers=2)


def noisy_difference(function: Callable[[float], float], step: float, noise: float) -> Derivative:
    """Return f'(0) by central differences of values with large errors, such as those of float32.

    Tables of a few rows start at ever smaller steps. Large ones may lead beyond a kink, and look exact there;
    small ones drown in the noise. So the error of a table is also its distance from the next two, and from
    any of smaller steps that contradicts it. The table with the smallest error is taken.
    """
    quotient = _central_quotient(function, noise)
    steps = [step / NOISY_SHRINK**start for start in range(NOISY_STARTS)]
    found = [_table(quotient, start, powers=2, rows=NOISY_ROWS) for start in steps]
    finite = [one for one in found if np.isfinite(one.error)]
    if not finite:
        return Derivative(np.nan, np.inf)
    judged = []
    for place, one in enumerate(finite):
        below = finite[place + 1 :]
        others = below[:2] + [other for other in below if not _agree(one, other)]
        distances = [abs(one.value - other.value) for other in others]
        judged.append(Derivative(one.value, max([one.error, *distances])))
    return min(judged, key=lambda one: one.error)


def _central_quotient(function: Callable[[float], float], noise: float | None) -> Quotient:
    def quotient(t: float) -> tuple[float, float]:
        right, left = function(t), function(-t)
        return (right - left) / (2 * t), _noise(noise, right, left) / t

    return quotient


def one_sided(
    function: Callable[[float], float], step: float, side: int, noise: float | None = None
) -> Derivative:
    """Return the derivative of f at 0 from the right (side = 1) or from the left (side = −1)."""
    start = function(0.0)

    def quotient(t: float) -> tuple[float, float]:
        value = function(side * t)
        return side * (value - start) / t, 2 * _noise(noise, value, start) / t

    return _pair(quotient, step, powers=1)


def _noise(noise: float | None, *values: float) -> float:
    return 8 * EPSILON * max(map(abs, values)) if noise is None else noise


def _extrapolate(quotient: Quotient, step: float, powers: int) -> Derivative:
    """Extrapolate from `step`, or from what tables over decades of steps agree on where that is too large."""
    found = _pair(quotient, step, powers)
    probe = _table(quotient, PROBE * step, powers, PROBE_ROWS)
    if _agree(found, probe) and found.error <= 10 * probe.error:
        return found
    return _consensus(_decades(quotient, step, powers))


def _decades(quotient: Quotient, step: float, powers: int) -> list[Derivative]:
    return [_pair(quotient, step / 10**decade, powers) for decade in range(DECADES)]


def _consensus(found: list[Derivative]) -> Derivative:
    """Return the best of those that most agree with: too large a step can look exact, and so can rounding."""
    finite = [one for one in found if np.isfinite(one.error)]
    if not finite:
        return Derivative(np.nan, np.inf)
    agreed = [one for one in finite if 2 * sum(_agree(one, other) for other in finite) >= len(finite)]
    best = min(agreed or finite, key=lambda one: one.error)
    spread = 0.0 if agreed else max(abs(best.value - one.value) for one in finite)
    return Derivative(best.value, max(best.error, spread))


def _agree(one: Derivative, other: Derivative) -> bool:
    return abs(one.value - other.value) <= 3 * (one.error + other.error)


def _pair(quotient: Quotient, step: float, powers: int) -> Derivative:
    """Return the better of two tables; an estimate may be small by luck, so their distance counts."""
    found = [_table(quotient, start, powers, ROWS) for start in (step, OTHER_START * step)]
    best = min(found, key=lambda derivative: derivative.error)
    return Derivative(best.value, max(best.error, abs(found[0].value - found[1].value)))


def _table(quotient: Quotient, step: float, powers: int, rows: int) -> Derivative:
    """Extrapolate quotient(t) to t = 0, its error being a series in t^powers, plus noise of a known size."""
    best = Derivative(np.nan, np.inf)
    previous: list[float] = []
    for row in range(rows):
        value, noise = quotient(step / SHRINK**row)
        entries = [value]
        grown = noise  # extrapolation adds the noise of this row and, less of it, of those before
        for column, older in enumerate(previous, start=1):
            factor = SHRINK ** (powers * column)
            entries.append((factor * entries[-1] - older) / (factor - 1))
            grown *= (factor + 1) / (factor - 1)
            distance = max(abs(entries[-1] - entries[-2]), abs(entries[-1] - older))
            error = distance + 2 * grown
            if error < best.error:
                best = Derivative(entries[-1], error)
        previous = entries
    return best
