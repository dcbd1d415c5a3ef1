"""Scores of predictions, the larger the better: what `score` returns and early stopping watches."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihash.metrics import R2


def accuracy(predicted: Any, targets: Any, weight: Any = None) -> float:
    """Return the fraction of rows, by weight, that are right in all their labels."""
    right = np.asarray(predicted) == np.asarray(targets)
    return float(np.average(right.reshape(len(right), -1).all(axis=1), weights=weight))


def r2(predicted: Any, targets: Any, weight: Any = None) -> float:
    """Return R², the mean over outputs."""
    measure = R2()
    measure.update(predicted, targets, weight)
    return measure.value()
