"""Schedules: the learning rate as a function of the fraction of training done.

Each function returns `rate(t)` for t in [0, 1], so one schedule serves runs of any length. A
trainer with n steps sets `optimizer.learning_rate = rate(k / n)` before step k = 0 … n − 1, or
divides by n − 1 where the last step is to have the final rate.
"""

from __future__ import annotations

import math
from typing import Callable

from minihash import checks

Schedule = Callable[[float], float]


def constant(learning_rate: float) -> Schedule:
    """Keep one learning rate: `rate(t) = learning_rate`."""
    learning_rate = _check_rate("learning_rate", learning_rate)

    def rate(fraction: float) -> float:
        _check_fraction(fraction)
        return learning_rate

    return rate


def step(learning_rate: float, every: float = 1 / 3, factor: float = 0.1) -> Schedule:
    """Multiply the learning rate by `factor` after every part of the training.

    `rate(t) = learning_rate · factor^⌊t / every⌋`; the end t = 1 belongs to the last part.

    Parameters
    ----------
    learning_rate : ≥ 0, the rate of the first part.
    every : 1e-6 ≤ every ≤ 1, the length of a part as a fraction of the training.
    factor : 0 ≤ factor ≤ 1.
    """
    learning_rate = _check_rate("learning_rate", learning_rate)
    every = checks.number("every", every, 1e-6, 1)
    factor = checks.number("factor", factor, 0, 1)
    slack = 1e-9  # 0.3 / 0.1 is 2.9999999999999996
    last = math.ceil(1 / every - slack) - 1

    def rate(fraction: float) -> float:
        part = math.floor(_check_fraction(fraction) / every + slack)
        return learning_rate * factor ** min(part, last)

    return rate


def cosine(learning_rate: float, final: float = 0.0) -> Schedule:
    """Fall from `learning_rate` to `final` along half a cosine wave.

    `rate(t) = final + (learning_rate − final) · (1 + cos πt) / 2`

    Source: Loshchilov, Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017, eq. 5.
    """
    learning_rate = _check_rate("learning_rate", learning_rate)
    final = _check_rate("final", final)
    return lambda fraction: _anneal(learning_rate, final, _check_fraction(fraction))


def one_cycle(
    peak: float, warmup: float = 0.3, initial: float | None = None, final: float | None = None
) -> Schedule:
    """Rise from `initial` to `peak`, then fall to `final`, each along half a cosine wave.

    `rate(t) = anneal(initial, peak, t / warmup)` for `t < warmup`, then
    `anneal(peak, final, (t − warmup) / (1 − warmup))`;
    `anneal(a, b, s) = b + (a − b) · (1 + cos πs) / 2`.

    Parameters
    ----------
    peak : ≥ 0, the largest learning rate.
    warmup : 0 ≤ warmup ≤ 1, the fraction of the training after which the peak is reached.
    initial, final : ≥ 0, the first and last rate; peak / 25 and peak / 25e4 by default.

    Examples
    --------
    >>> rate = one_cycle(0.1)
    >>> [round(rate(done), 6) for done in (0, 0.3, 0.65, 1)]
    [0.004, 0.1, 0.05, 0.0]

    Source: Smith, Topin, Super-Convergence, 2018; two phases and defaults as in PyTorch's OneCycleLR.
    """
    peak = _check_rate("peak", peak)
    warmup = checks.number("warmup", warmup, 0, 1)
    initial = _check_rate("initial", peak / 25 if initial is None else initial)
    final = _check_rate("final", peak / 25e4 if final is None else final)

    def rate(fraction: float) -> float:
        t = _check_fraction(fraction)
        if t < warmup:
            return _anneal(initial, peak, t / warmup)
        return _anneal(peak, final, (t - warmup) / (1 - warmup) if warmup < 1 else 0.0)

    return rate


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    own.__name__: own for own in (constant, step, cosine, one_cycle)
}


def get(name: str) -> Callable[..., Schedule]:
    """Return the schedule function called `name`, still to be called with its rates."""
    return SCHEDULES[checks.choice("schedule", name, tuple(SCHEDULES))]


def _anneal(start: float, end: float, fraction: float) -> float:
    """Go from `start` (at 0) to `end` (at 1) along half a cosine wave, meeting both exactly."""
    remaining = (1 + math.cos(math.pi * fraction)) / 2
    return start * remaining + end * (1 - remaining)


def _check_rate(name: str, value: float) -> float:
    """Return a learning rate as a float, refusing negative and infinite ones."""
    return checks.number(name, value, 0, 1e6)


def _check_fraction(fraction: float) -> float:
    """Return the fraction of training done, refusing what is outside [0, 1]."""
    return checks.number("fraction", fraction, 0, 1)
