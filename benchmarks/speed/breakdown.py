"""Where the time of a hashed layer goes: the same step with some kernels doing nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from benchmarks.speed.timing import Samples, Side
from minihash import kernels

# What each part needs of those before it: slots that nobody located would lead anywhere.
PARTS: dict[str, tuple[str, ...]] = {
    "products": (),
    "hash": ("locate",),
    "gather": ("locate", "expand"),
    "scatter": ("locate", "expand", "aggregate"),
}


def breakdown(step: Side, budget: float) -> dict[str, float]:
    """Return the milliseconds of a step's parts: each what the step takes longer with that kernel.

    `products` is everything that is no kernel: BLAS, and the driver around it. It bounds what a hashed layer
    can reach with this BLAS.
    """

    def only(names: tuple[str, ...]) -> Side:
        def run() -> None:
            with _kernels(names), np.errstate(all="ignore"):  # panels hold whatever they held before
                step()

        return run

    step()
    samples = Samples({part: only(names) for part, names in PARTS.items()}, budget)
    times = 1e3 * np.array([samples.seconds[part] for part in PARTS])  # (parts, rounds)
    added = np.median(np.diff(times, axis=0, prepend=0), axis=1)  # round by round: the machine drifts
    return dict(zip(PARTS, added.tolist()))


@contextmanager
def _kernels(names: tuple[str, ...]) -> Iterator[None]:
    """Let all kernels but those of these names do nothing."""
    get = kernels.get

    def some(map: Any) -> kernels.Kernels:
        every = get(map)
        idle: Any = {name: _nothing for name in PARTS["scatter"] if name not in names}
        return every._replace(**idle)

    kernels.get = some
    try:
        yield
    finally:
        kernels.get = get


def _nothing(*arguments: object) -> None:
    pass
