"""Labelled rows, in batches: what `fit` and `evaluate` read, from memory or from a file."""

from __future__ import annotations

import functools
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import numpy as np

from minihash import checks

STATISTICS_ROWS = 8192  # a batch of the pass that takes statistics
LOST = 0.03  # of a standard deviation: what float32 may change


class Batch(NamedTuple):
    """Some rows.

    inputs : (batch, features).
    targets : (batch,) or (batch, …).
    weight : (batch,), of each row, or None where all are equal.
    """

    inputs: np.ndarray
    targets: np.ndarray
    weight: np.ndarray | None = None


def total_weight(rows: int, weight: np.ndarray | None) -> float:
    """Return how much some rows count: how many they are, or the sum of their weights."""
    return float(rows if weight is None else weight.sum(dtype=np.float64))


Batches = Generator[Batch, None, None]  # whoever stops early closes it


class Statistics:
    """Mean and standard deviation of every column, and the range of the targets, taken batch by batch.

    rows : so far.
    mean, std : (columns,) float64; the standard deviation of a constant is 0, however it is rounded.
    rounding : (columns,) the root mean square of what float32 makes of the numbers, less themselves.
    low, high : of the targets.
    whole : whether all targets are whole numbers.
    """

    def __init__(self, columns: int) -> None:
        self.rows = 0
        self.mean = np.zeros(columns)
        self._squares = np.zeros(columns)  # summed, of the deviations from the mean
        self._rounded = np.zeros(columns)  # summed squares
        self._ends = np.full(columns, np.inf), np.full(columns, -np.inf)
        self.low, self.high, self.whole = np.inf, -np.inf, True

    @property
    def std(self) -> np.ndarray:
        return np.where(self._ends[0] == self._ends[1], 0, np.sqrt(self._squares / max(1, self.rows)))

    @property
    def rounding(self) -> np.ndarray:
        return np.sqrt(self._rounded / max(1, self.rows))

    def add(self, inputs: np.ndarray, targets: np.ndarray) -> None:
        """Take more rows into account.

        Chan, Golub, LeVeque 1979: moments of two sets from those of each, without cancellation.
        """
        values = inputs.astype(np.float64)
        mean, rows = values.mean(axis=0), self.rows + len(values)
        apart, share = mean - self.mean, len(values) / rows
        self._squares += np.square(values - mean).sum(axis=0) + np.square(apart) * self.rows * share
        self.mean += apart * share
        low, high = self._ends
        self._ends = np.minimum(low, values.min(axis=0)), np.maximum(high, values.max(axis=0))
        if np.result_type(inputs.dtype, np.float32) != np.float32:  # else float32 holds them as they are
            self._rounded += np.square(values - values.astype(np.float32)).sum(axis=0)
        self.rows = rows
        self.low, self.high = min(self.low, float(targets.min())), max(self.high, float(targets.max()))
        self.whole = self.whole and bool((targets == np.rint(targets)).all())

    def check_rounding(self, names: Sequence[str]) -> None:
        """Refuse a column whose spread float32 would lose, with what to do.

        So it is where rounding changes the numbers by more than LOST of their standard deviation: those of a
        time stamp in seconds, 1.7e9, to the next multiple of 128. A constant has no spread to lose. The
        ValueError has the first such column's name, of `names`.
        """
        for column in np.flatnonzero((self.rounding > LOST * self.std) & (self.std > 0)).tolist():
            mean, std, rounding = self.mean[column], self.std[column], self.rounding[column]
            texts = (f"{mean:.{digits}g}" for digits in range(2, 18))
            middle = next(text for text in texts if abs(float(text) - mean) < 1000 * std)
            raise ValueError(
                f"{names[column]} has the standard deviation {std:.3g} around {mean:.10g}, "
                f"and float32 would round it by {rounding:.3g}: subtract {middle} first"
            )


def check_rounding(name: str, values: np.ndarray, shift: Any = 0.0) -> None:
    """Refuse a column of an array whose spread float32 would lose, as `Statistics.check_rounding` does.

    name : of the array, in messages.
    values : (rows, columns).
    shift : a number or (columns,), subtracted before anything is rounded.
    """
    numbers = len(values) > 0 and values.dtype.kind in "fiu"
    if not numbers or np.result_type(values.dtype, np.float32) == np.float32:  # which holds them all
        return
    low, high = (extreme(values, axis=0) - np.asarray(shift) for extreme in (np.min, np.max))
    # Rounding errs by 2^-24 of a number at most, and the standard deviation of n numbers is at least
    # their range / sqrt(2n), where all but two lie in the middle: statistics are of few columns, or none.
    rounding = 2.0**-24 * np.maximum(np.abs(low), np.abs(high)) + 2.0**-150
    columns = np.flatnonzero(rounding * np.sqrt(2 * len(values)) > LOST * (high - low))
    columns = columns[(high > low)[columns]]
    if not len(columns):
        return
    statistics, shifts = Statistics(len(columns)), np.broadcast_to(shift, low.shape)[columns]
    for start in range(0, len(values), STATISTICS_ROWS):
        some = np.take(values[start : start + STATISTICS_ROWS], columns, axis=1)
        statistics.add(some - shifts if shifts.any() else some, np.zeros(len(some)))
    statistics.check_rounding([f"column {column} of {name}" for column in columns])


def first_not_finite(rows: np.ndarray) -> int | None:
    """Return the first row of (rows, columns) that has NaN, or what is infinite in float32; None if none."""
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite
        finite = np.isfinite(rows.astype(np.float32, copy=False)).all(axis=1)
    return None if finite.all() else int(finite.argmin())


class Rows:
    """Labelled rows.

    rows, features : how many rows, and inputs a row.
    name : what messages call them.
    weighted : whether each row has a weight.
    one_target : whether targets are (rows,), one a row, as those of files are.
    buffer_bytes : what reading them takes.
    """

    rows: int
    features: int
    name = "rows"
    weighted = False
    one_target = True
    buffer_bytes = 0

    def __len__(self) -> int:
        return self.rows

    def batches(self, batch_size: int, rng: np.random.Generator | None = None) -> Batches:
        """Yield every row once, in batches of `batch_size` rows; only the last is shorter.

        `rng` shuffles them; None keeps their order. What is yielded may be changed by the next batch.
        """
        raise NotImplementedError

    def part(self, start: int, stop: int) -> Rows:
        """Return rows start … stop − 1."""
        raise NotImplementedError

    def chosen(self, mask: np.ndarray) -> Rows:
        """Return the rows of which `mask` (rows,) is True."""
        raise NotImplementedError

    def labelled(self, labels: np.ndarray) -> Rows:
        """Return the rows with the number of a class as target: `labels[k]` becomes k."""
        raise NotImplementedError

    @property
    def bounds(self) -> tuple[float, float, bool]:
        """What targets are not below and not above, and whether they are surely whole numbers."""
        return self.statistics.low, self.statistics.high, self.statistics.whole

    @functools.cached_property
    def statistics(self) -> Statistics:
        """Of all rows; where they are not known, all are read."""
        statistics = Statistics(self.features)
        for batch in self.batches(STATISTICS_ROWS):
            statistics.add(batch.inputs, batch.targets)
        return statistics


class ArrayRows(Rows):
    """Rows in memory: the arrays of a `Batch`, kept as `arrays`; a ValueError for masked entries."""

    def __init__(self, inputs: np.ndarray, targets: np.ndarray, weight: np.ndarray | None = None) -> None:
        inputs, targets = checks.array("inputs", inputs), checks.array("targets", targets)
        weight = None if weight is None else checks.array("weight", weight)
        self.arrays = Batch(inputs, targets, weight)
        self.rows, self.features = inputs.shape
        self.weighted = weight is not None

    def batches(self, batch_size: int, rng: np.random.Generator | None = None) -> Batches:
        order = None if rng is None else rng.permutation(self.rows)
        for start in range(0, self.rows, batch_size):
            block = slice(start, start + batch_size)
            yield self._take(block if order is None else order[block])

    def part(self, start: int, stop: int) -> ArrayRows:
        return ArrayRows(*self._take(slice(start, stop)))

    def chosen(self, mask: np.ndarray) -> ArrayRows:
        return ArrayRows(*self._take(mask))

    def labelled(self, labels: np.ndarray) -> ArrayRows:
        inputs, targets, weight = self.arrays
        return ArrayRows(inputs, np.searchsorted(labels, targets), weight)

    def _take(self, rows: Any) -> Batch:
        inputs, targets, weight = self.arrays
        return Batch(inputs[rows], targets[rows], None if weight is None else weight[rows])
