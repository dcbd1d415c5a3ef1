"""Measures of predictions that are fed batch by batch, and exact however rows are cut into batches.

Each takes `update(outputs, targets, sample_weight=None)`, as losses do, any number of times, and `value()`
at any time. Outputs are floating, (batch, features) or (batch,); targets are of the same shape, where
(batch,) may stand for (batch, 1); weights (batch,) are not negative, None means ones, and a row of weight 0
does not count. What is wrong raises a ValueError that names argument and row, and changes nothing. A
measure that is not defined, as of no rows at all, is NaN, as AUC and R² are where an output is NaN.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from minihash import checks

PIECE = 2**16  # scores that are looked up together


def larger_is_better(monitor: str, mode: str | None = None) -> bool:
    """Tell whether larger figures are better: by `mode`, "min" or "max", or by the name `monitor`.

    The name is "loss" or one of SCORES, with "validation_" before it or without; ValueError for another one,
    without a mode.
    """
    if mode is not None:
        return checks.choice("mode", mode, ("min", "max")) == "max"
    name = str(monitor).removeprefix("validation_")
    if name != "loss" and name not in SCORES:
        known = ", ".join(["loss", *(f"validation_{known}" for known in ("loss", *SCORES))])
        raise ValueError(f"monitor is {monitor!r}, wanted mode='min' or 'max' with it, or one of {known}")
    return name != "loss" and SCORES[name].larger_is_better


def better(figure: float, best: float, larger: bool, by: float = 0.0) -> bool:
    """Tell whether a figure is better than the best so far, by more than `by`: NaN and infinity never are."""
    return math.isfinite(figure) and (figure > best + by if larger else figure < best - by)


def worst(larger: bool) -> float:
    """Return what every number is better than."""
    return -math.inf if larger else math.inf


class Accuracy:
    """The fraction of rows, by weight, whose likeliest class is the target's.

    Of several outputs, logits or probabilities, the class is the largest, the first of equal ones; of a
    single logit it is 1 where that is positive, else 0. A row with NaN is wrong.
    """

    def __init__(self) -> None:
        self._right = self._wrong = 0.0  # counts are exact to 2**53

    def update(self, outputs: Any, targets: Any, sample_weight: Any = None) -> None:
        """Count rows; targets are labels 0 … classes − 1 or probabilities, of a single logit 0 … 1."""
        outputs = _check_outputs(outputs)
        if outputs.shape[1] == 1:
            targets = _match_shape(targets, outputs)
            _check_rows("targets", targets, (targets >= 0) & (targets <= 1), "0 <= target <= 1")
            right = ((outputs > 0) == (targets > 0.5))[:, 0]
        else:
            right = outputs.argmax(axis=1) == _labels(targets, outputs)
        weight = _check_weight(sample_weight, len(outputs))
        right &= ~np.isnan(outputs).any(axis=1)
        self._right += float(right.sum() if weight is None else weight[right].sum())
        self._wrong += float((~right).sum() if weight is None else weight[~right].sum())

    def value(self) -> float:
        """Return the fraction that is right."""
        return self._right / (self._right + self._wrong or math.nan)

    def error(self) -> float:
        """Return the fraction that is wrong."""
        return self._wrong / (self._right + self._wrong or math.nan)


class AUC:
    """Area under the ROC curve: how likely a positive row scores higher than a negative one.

    `AUC = P(z⁺ > z⁻) + ½ P(z⁺ = z⁻)` over all pairs of a positive and a negative row, each weighing the
    product of theirs. Ties are counted, not guessed: without weights the value is a quotient of integers.
    Infinite scores are ordered as numbers are. With rows of one class only there are no pairs, and the value
    is NaN: a fold without positives does not end an evaluation.

    What is kept is the scores, apart by class so that no label is: 4 bytes a row where outputs are float32, 8
    where they are float64, and with weights 8 more, and while `value` runs twice as much.

    Source: Hanley, McNeil, *The Meaning and Use of the Area under a ROC Curve*, 1982.
    """

    def __init__(self) -> None:
        self._scores = [array("f"), array("f")]  # of negative rows, of positive rows
        self._weights: list[array] | None = None
        self._nan = False

    def update(self, outputs: Any, targets: Any, sample_weight: Any = None) -> None:
        """Keep scores, (batch, 1) or (batch,), the larger the likelier class 1; targets are 0 or 1."""
        outputs = _check_outputs(outputs)
        if outputs.shape[1] != 1:
            raise ValueError(f"outputs has shape {outputs.shape}, wanted (batch, 1) or (batch,)")
        targets = _match_shape(targets, outputs).ravel()
        _check_rows("targets", targets, (targets == 0) | (targets == 1), "0 or 1")
        weight, scores = _check_weight(sample_weight, len(outputs)), outputs.ravel()
        if weight is None:
            weight = np.ones(len(scores))
        else:
            scores, targets, weight = (values[weight > 0] for values in (scores, targets, weight))
            if self._weights is None:
                self._weights = [array("d", [1.0]) * len(before) for before in self._scores]
        self._nan = self._nan or bool(np.isnan(scores).any())
        for label in (0, 1):
            rows = targets == label
            self._scores[label] = _longer(self._scores[label], scores[rows])  # of none too: of one dtype then
            if self._weights is not None:
                self._weights[label] = _longer(self._weights[label], weight[rows])

    def value(self) -> float:
        """Return the area, 0 … 1, or NaN where rows are of one class only or a score is NaN.

        Scores are sorted where they are, and every positive one is looked up among the negative ones.
        """
        negative, positive = map(np.asarray, self._scores)
        if self._nan or not len(negative) or not len(positive):
            return math.nan
        if self._weights is None:
            negative.sort()
            positive.sort()  # neighbours are found near each other: a twentieth of the time
            # Pairs in order count 2, equal ones 1; an int, as there may be more than 2**53.
            twice = sum(int(below.sum()) for _, below in _ranks(negative, positive))
            return twice / (2 * len(negative) * len(positive))
        for scores, kept in zip((negative, positive), self._weights):
            order, weight = scores.argsort(), np.asarray(kept)
            scores[:], weight[:] = scores[order], weight[order]
        negative_weight, weight = map(np.asarray, self._weights)
        total = np.concatenate([[0.0], negative_weight.cumsum()])
        total /= total[-1]
        won = sum(weight[piece] @ total[below] for piece, below in _ranks(negative, positive))
        return float(won / weight.sum() / 2)


class R2:
    """The coefficient of determination of a regression: the share of variance that is explained.

    `R² = 1 − Σ_n s_n (t_n − z_n)² / Σ_n s_n (t_n − t̄)²` with weights s and the weighted mean t̄; the mean
    over outputs where there are several. 1 is perfect, 0 as good as t̄, and there is no lower limit. Targets
    that are all the same give 1 if they are met exactly, else 0, as in scikit-learn; fewer than two rows give
    NaN. Moments of batches are merged without cancellation, in float64 (Chan, Golub, LeVeque 1979).
    """

    def __init__(self) -> None:
        self._rows, self._weight = 0, 0.0
        self._origin = self._mean = self._squares = self._residual = np.zeros(0)

    def update(self, outputs: Any, targets: Any, sample_weight: Any = None) -> None:
        """Add rows, with as many outputs as before; targets are finite."""
        outputs, targets, weight = _numbers(outputs, targets, sample_weight, len(self._mean))
        if not len(targets):
            return
        if not self._rows:
            self._origin = targets[0]  # the differences from it are exactly 0 where targets are all the same
            self._mean, self._squares, self._residual = np.zeros((3, targets.shape[1]))
        batch = float(weight.sum())
        with np.errstate(over="ignore", invalid="ignore"):
            self._residual += weight @ np.square(targets - outputs)
            targets = targets - self._origin
            mean, share = weight @ targets / batch, batch / (self._weight + batch)
            apart = mean - self._mean
            self._squares += weight @ np.square(targets - mean) + np.square(apart) * self._weight * share
            self._mean += apart * share
        self._rows, self._weight = self._rows + len(weight), self._weight + batch

    def value(self) -> float:
        """Return the mean over outputs, at most 1; NaN of fewer than two rows."""
        if self._rows < 2:
            return math.nan
        constant = self._squares == 0
        missed = self._residual / np.where(constant, 1, self._squares)
        return float((1 - np.where(constant, np.sign(self._residual), missed)).mean())


class MeanAbsoluteError:
    """`MAE = Σ_n s_n |t_n − z_n| / Σ_n s_n`, of several outputs their mean, in the targets' units."""

    _size: Any = np.abs  # of a difference
    _whole: Any = np.positive  # of the mean size, the measure

    def __init__(self) -> None:
        self._sums, self._weight = np.zeros(0), 0.0

    def update(self, outputs: Any, targets: Any, sample_weight: Any = None) -> None:
        """Add rows, with as many outputs as before; targets are finite."""
        outputs, targets, weight = _numbers(outputs, targets, sample_weight, len(self._sums))
        if len(targets):
            with np.errstate(over="ignore", invalid="ignore"):
                sums = weight @ self._size(targets - outputs)
            self._sums = self._sums + sums if self._weight else sums
            self._weight += float(weight.sum())

    def value(self) -> float:
        """Return the mean over outputs; NaN of no rows."""
        return float(self._whole(self._sums / self._weight).mean()) if self._weight else math.nan


class RootMeanSquaredError(MeanAbsoluteError):
    """`RMSE = √(Σ_n s_n (t_n − z_n)² / Σ_n s_n)`, of several outputs their mean, in the targets' units."""

    _size, _whole = np.square, np.sqrt


def _numbers(
    outputs: Any, targets: Any, sample_weight: Any, before: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return outputs, targets and weights of the rows that count; `before`: features so far, or 0."""
    outputs = _check_outputs(outputs)
    targets = _match_shape(targets, outputs).astype(np.float64)
    _check_rows("targets", targets, np.isfinite(targets), "a finite number")
    weight = _check_weight(sample_weight, len(outputs))
    weight = np.ones(len(outputs)) if weight is None else weight
    if before and targets.shape[1] != before:
        raise ValueError(f"outputs has {targets.shape[1]} features, wanted {before} as before")
    return outputs[weight > 0], targets[weight > 0], weight[weight > 0]


def _longer(kept: array, values: np.ndarray) -> array:
    """Add values to an array, of float64 where any are; it grows in place where the system can do that."""
    if values.itemsize > kept.itemsize:
        kept = array("d", np.asarray(kept, np.float64).tobytes())
    kept.frombytes(values.astype(kept.typecode).tobytes())
    return kept


def _ranks(negative: np.ndarray, positive: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield pieces of sorted positive scores, with how many negative ones are below each, or not above."""
    for start in range(0, len(positive), PIECE):
        piece = slice(start, start + PIECE)
        yield piece, negative.searchsorted(positive[piece], "left")
        yield piece, negative.searchsorted(positive[piece], "right")


def _check_outputs(outputs: Any) -> np.ndarray:
    """Return outputs as an array (batch, features)."""
    outputs = np.asarray(checks.array("outputs", outputs))
    if outputs.dtype.kind != "f" or outputs.ndim not in (1, 2) or outputs.shape[1:] == (0,):
        given, wanted = f"{outputs.shape} ({outputs.dtype})", "(batch,) or (batch, features), floating"
        raise ValueError(f"outputs has shape {given}, wanted {wanted}")
    return outputs[:, None] if outputs.ndim == 1 else outputs


def _check_reals(name: str, values: Any) -> np.ndarray:
    values = np.asarray(checks.array(name, values))
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{name} has dtype {values.dtype}, wanted real numbers")
    return values


def _check_weight(weight: Any, batch: int) -> np.ndarray | None:
    if weight is None:
        return None
    weight = _check_reals("sample_weight", weight).astype(np.float64, copy=False)
    if weight.shape != (batch,):
        raise ValueError(f"sample_weight has shape {weight.shape}, wanted ({batch},)")
    _check_rows("sample_weight", weight, (weight >= 0) & np.isfinite(weight), "a weight >= 0")
    return weight


def _match_shape(targets: Any, outputs: np.ndarray) -> np.ndarray:
    """Return `targets` in the shape of `outputs`."""
    targets = _check_reals("targets", targets)
    if targets.shape != outputs.shape and (*targets.shape, 1) != outputs.shape:
        raise ValueError(f"targets has shape {targets.shape}, wanted {outputs.shape} as outputs")
    return targets.reshape(outputs.shape)


def _labels(targets: Any, outputs: np.ndarray) -> np.ndarray:
    """Return the labels (batch,) of targets that are labels or rows of probabilities."""
    targets = _check_reals("targets", targets)
    batch, classes = outputs.shape
    if targets.shape == (batch,):
        good = (targets >= 0) & (targets < classes) & (targets == np.rint(targets))
        _check_rows("targets", targets, good, f"a label 0 <= label < {classes}")
        return targets
    if targets.shape != outputs.shape:
        raise ValueError(f"targets has shape {targets.shape}, wanted ({batch},) or {outputs.shape}")
    _check_rows("targets", targets, (targets >= 0) & (targets <= 1), "a probability")
    return targets.argmax(axis=1)


def _check_rows(name: str, values: np.ndarray, good: np.ndarray, wanted: str) -> None:
    """Raise a ValueError that names the first value that is not good, and its row."""
    if not good.all():
        where = tuple(np.argwhere(~good)[0])
        raise ValueError(f"{name} is {values[where]} in row {where[0]}, wanted {wanted}")


class Score(NamedTuple):
    """A score that goes with losses.

    measure : makes what measures it.
    value : returns its value.
    larger_is_better : whether a larger one is a better one.
    """

    measure: Callable[[], Any]
    value: Callable[[Any], float]
    larger_is_better: bool = True


#: Every score, by its name.
SCORES = {
    "error": Score(Accuracy, Accuracy.error, larger_is_better=False),
    "accuracy": Score(Accuracy, Accuracy.value),
    "auc": Score(AUC, AUC.value),
    "r2": Score(R2, R2.value),
    "mae": Score(MeanAbsoluteError, MeanAbsoluteError.value, larger_is_better=False),
    "rmse": Score(RootMeanSquaredError, RootMeanSquaredError.value, larger_is_better=False),
}
