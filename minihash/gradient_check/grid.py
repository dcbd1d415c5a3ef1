"""Whether a function computes in float32, whatever it is given: its values are float32's then."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihash.gradient_check.objective import Objective
from minihash.gradient_check.rounding import typical

PROBES = 4  # points far from and near that of the check, of each so many
FAR, NEAR = 0.03, 1e-5  # how far, relative to the numbers of an array
SEED = 0  # of the probes: those of the check are drawn as if there were none
FINE, COARSE = 18, 10  # bits of a value: more are float32's, fewer a count's or a fraction's
COUNTS = 2.0**20  # a whole number below is a count, and not rounded


def value_dtype(objective: Objective) -> Any:
    """Return float32 if values, or what makes them, are float32's though all goes in as float64.

    Counts and simple fractions are float32's too, and exact: values must use its bits, or some of them (what
    is left of larger terms) and change with the last places of what goes in.
    """
    rng = np.random.default_rng(SEED)
    far, near = (_stages(objective, size, rng) for size in (FAR, NEAR))
    return np.float32 if any(map(_is_float32, far, near)) else np.float64


def _stages(objective: Objective, size: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Return each stage's numbers (points, numbers) at points a little off, which are not float32's."""
    seen = []
    for _ in range(PROBES):
        moved = {
            name: array + size * rng.uniform(-1, 1, array.shape) * np.maximum(np.abs(array), 0.1 * scale)
            for name, array in objective.variables.items()
            for scale in [typical(array) or 1.0]
        }
        try:
            seen.append([np.ravel(stage) for stage in objective.stages(moved)])
        except Exception:  # whatever is said of a point that was not asked for
            continue
    return [np.array(stage) for stage in zip(*seen)]


def _is_float32(far: np.ndarray, near: np.ndarray) -> bool:
    """Tell whether the numbers of a stage are float32's, and no counts."""
    numbers = np.concatenate([far.ravel(), near.ravel()])
    if numbers.dtype.kind not in "fiub":
        return False
    numbers = numbers[np.isfinite(numbers) & (numbers != 0)].astype(np.float64)
    with np.errstate(over="ignore"):
        if not np.array_equal(numbers.astype(np.float32), numbers) or (far == far[:1]).all():
            return False
    return _use(numbers, FINE) or _use(numbers, COARSE) and bool((near != near[:1]).any())


def _use(numbers: np.ndarray, bits: int) -> bool:
    """Tell whether most of some numbers have more bits, and are no counts."""
    parts = np.frexp(numbers)[0] * 2.0**bits
    rounded = (numbers != np.rint(numbers)) | (np.abs(numbers) >= COUNTS)
    return bool(2 * np.count_nonzero(rounded & (parts != np.rint(parts))) > numbers.size)
