"""Two sides, timed in turn, so that what the machine does meanwhile falls on both."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

Side = Callable[[], object]

MIN_SAMPLE = 0.05  # seconds; faster sides are called several times a sample
PAUSE = 0.1  # seconds before a sample: the threads of the side before go on spinning for some 30 ms
MIN_ROUNDS = 7


@dataclass(frozen=True)
class Ratio:
    """The median of the rounds' ratios with its quartiles, and the median seconds of both sides."""

    ratio: float
    low: float
    high: float
    seconds: float
    base_seconds: float
    rounds: int

    def __str__(self) -> str:
        return f"{self.ratio:.3g} ({self.low:.3g} … {self.high:.3g})"

    as_dict = asdict


class Samples:
    """Seconds of every side in every round."""

    def __init__(self, sides: dict[str, Side], budget: float, sample: float = MIN_SAMPLE) -> None:
        """Call each side twice, to compile and to count; then all in turn for `budget` seconds.

        Every round has an order of its own; there are `MIN_ROUNDS` at least.
        """
        self.seconds: dict[str, list[float]] = {name: [] for name in sides}
        calls = {}
        for name, side in sides.items():
            side()  # compiles, warms caches
            start = time.perf_counter()
            side()
            calls[name] = max(1, int(sample / max(1e-9, time.perf_counter() - start)))
        rng, start = np.random.default_rng(0), time.perf_counter()
        rounds = 0
        while rounds < MIN_ROUNDS or time.perf_counter() - start < budget:
            for name in rng.permutation(list(sides)):
                if sample >= MIN_SAMPLE:
                    time.sleep(PAUSE)
                self.seconds[name].append(_time(sides[name], calls[name]))
            rounds += 1

    def median(self, name: str) -> float:
        """Return the median seconds of one call."""
        return float(np.median(self.seconds[name]))

    def ratio(self, name: str, base: str) -> Ratio:
        """Compare two sides round by round."""
        ratios = np.array(self.seconds[name]) / np.array(self.seconds[base])
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        medians = self.median(name), self.median(base)
        return Ratio(float(middle), float(low), float(high), *medians, len(ratios))


def _time(side: Side, calls: int) -> float:
    if calls > 1:
        side()  # what the side before has driven out of the caches comes back
    start = time.perf_counter()
    for _ in range(calls):
        side()
    return (time.perf_counter() - start) / calls
