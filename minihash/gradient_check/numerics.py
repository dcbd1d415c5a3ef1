"""Derivatives from values alone, each with an estimate of its own error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

COMPLEX_STEP = 1e-40  # its square vanishes beside 1, and it is far from underflow
SHRINK = 2.0  # of the step, from one row of the Richardson table to the next
ROWS = 8
OTHER_START = 0.7  # of a second table's steps, none of which the first one has
DECADES = 7  # first steps 1, 0.1, … 1e-6 times the one asked for, where that one proves too large
NOISY_STARTS, NOISY_SHRINK, NOISY_ROWS = 10, 4.0, 4  # tables that reach to a millionth of the step
PROBE, PROBE_ROWS = 1e-3, 4  # a small table of a much smaller step

Function = Callable[[float], float]


@dataclass(frozen=True)
class Derivative:
    """A derivative and the estimated size of its error."""

    value: float
    error: float

    def agrees(self, other: Derivative) -> bool:
        """Tell whether the errors explain how far two derivatives are apart."""
        return abs(self.value - other.value) <= 3 * (self.error + other.error)


def complex_step(function: Callable[[complex], complex]) -> Derivative:
    """Return f'(0) = Im f(ih) / h of an analytic function, which loses no digits to a difference.

    There is nothing to estimate: the truncation error is h² f‴/6, below 1e-79, and the rounding error is
    that of evaluating f.

    Source: Squire, Trapp: Using complex variables to estimate derivatives of real functions, SIAM Rev. 1998.
    """
    return Derivative(complex(function(1j * COMPLEX_STEP)).imag / COMPLEX_STEP, 0.0)


def central_difference(function: Function, step: float, noise: float) -> Derivative:
    """Return f'(0) by central differences, Richardson-extrapolated, with the best entry's error.

    Differences `(f(t) − f(−t)) / 2t` with t = step, step/2, … have errors in even powers of t, which
    the table cancels one by one. The error of an entry is estimated by its distance from the two it
    was made of, plus what rounding f can do; of all entries that with the smallest estimate is taken,
    and checked against that of a second table with other steps. Where a much smaller step contradicts
    both, what most steps of several decades agree on is taken.

    Parameters
    ----------
    function : f, smooth around 0.
    step : of the first difference, above 0.
    noise : rounding error of f's values.

    Source: Ridders: Accurate computation of F'(x) and F'(x) F''(x), Adv. Eng. Software 1982.
    """
    quotients = _central(function, noise)
    first, probe = quotients.pair(step), quotients.table(PROBE * step, PROBE_ROWS)
    if first.agrees(probe) and first.error <= 10 * probe.error:
        return first
    # Too large a step can look exact, and so can rounding.
    finite = [one for one in central_differences(function, step, noise) if np.isfinite(one.error)]
    agreed = [one for one in finite if 2 * sum(map(one.agrees, finite)) >= len(finite)]
    best = _best(agreed or finite)
    spread = 0.0 if agreed else max((abs(best.value - one.value) for one in finite), default=np.inf)
    return Derivative(best.value, max(best.error, spread))


def central_differences(function: Function, step: float, noise: float) -> list[Derivative]:
    """Return f'(0) by central differences from first steps over decades, `step` the largest."""
    return [_central(function, noise).pair(step / 10**decade) for decade in range(DECADES)]


def noisy_difference(function: Function, step: float, noise: float) -> Derivative:
    """Return f'(0) by central differences of values with large errors, such as those of float32.

    Tables of a few rows start at ever smaller steps. Large ones may lead beyond a kink, and look exact there;
    small ones drown in the noise. So the error of a table is also its distance from the next two, and from
    any of smaller steps that contradicts it. The table with the smallest error is taken.
    """
    quotients = _central(function, noise)
    tables = [quotients.table(step / NOISY_SHRINK**start, NOISY_ROWS) for start in range(NOISY_STARTS)]
    finite = [table for table in tables if np.isfinite(table.error)]
    judged = []
    for place, table in enumerate(finite):
        smaller = finite[place + 1 :]
        others = smaller[:2] + [other for other in smaller if not table.agrees(other)]
        distances = [abs(table.value - other.value) for other in others]
        judged.append(Derivative(table.value, max([table.error, *distances])))
    return _best(judged)


def one_sided(function: Function, step: float, side: int, noise: float) -> Derivative:
    """Return the derivative of f at 0 from the right (side = 1) or from the left (side = −1)."""
    start = function(0.0)
    return _Quotients(lambda t: side * (function(side * t) - start) / t, 2 * noise, powers=1).pair(step)


@dataclass(frozen=True)
class _Quotients:
    """Difference quotients of step t, whose errors are a series in t^powers, plus noise / t."""

    at: Function
    noise: float
    powers: int

    def pair(self, step: float) -> Derivative:
        """Return the better of two tables; an estimate may be small by luck, so their distance counts."""
        first, second = (self.table(start, ROWS) for start in (step, OTHER_START * step))
        best = _best([first, second])
        return Derivative(best.value, max(best.error, abs(first.value - second.value)))

    def table(self, step: float, rows: int) -> Derivative:
        """Extrapolate the quotients to t = 0."""
        best = Derivative(np.nan, np.inf)
        previous: list[float] = []
        for row in range(rows):
            t = step / SHRINK**row
            entries = [self.at(t)]
            grown = self.noise / t  # extrapolation adds noise of this row and, less of it, of those before
            for column, older in enumerate(previous, start=1):
                factor = SHRINK ** (self.powers * column)
                entries.append((factor * entries[-1] - older) / (factor - 1))
                grown *= (factor + 1) / (factor - 1)
                distance = max(abs(entries[-1] - entries[-2]), abs(entries[-1] - older))
                best = _best([best, Derivative(entries[-1], distance + 2 * grown)])
            previous = entries
        return best


def _central(function: Function, noise: float) -> _Quotients:
    return _Quotients(lambda t: (function(t) - function(-t)) / (2 * t), noise, powers=2)


def _best(derivatives: list[Derivative]) -> Derivative:
    """Return the first with the smallest error; NaN with an infinite error if there are none."""
    return min(derivatives, key=lambda one: one.error, default=Derivative(np.nan, np.inf))
