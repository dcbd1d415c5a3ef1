"""Measuring networks: losses and scores over any number of rows, in bounded memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

from minihash import losses, metrics, sources
from minihash.datasets.rows import Batch
from minihash.network import Network
from minihash.sources import Data, Source

Scores = dict[str, tuple[Callable[[], Any], Callable[[Any], float]]]
ERROR: Scores = {"error": (metrics.Accuracy, metrics.Accuracy.error)}
#: What `evaluate` returns beside the loss, by the name of the loss: what measures it, and its value.
SCORES: dict[str, Scores] = {
    "softmax_cross_entropy": ERROR,
    "distillation": ERROR,
    "binary_cross_entropy": ERROR | {"auc": (metrics.AUC, metrics.AUC.value)},
    "mean_squared_error": {"r2": (metrics.R2, metrics.R2.value)},
}


class Mean:
    """The mean loss of all rows, from the means of batches; `sum` and `weight` are all it remembers."""

    def __init__(self, sum: float = 0.0, weight: float = 0.0) -> None:
        self.sum, self.weight = sum, weight

    def add(self, batch: Batch, loss_of: Callable[[Batch], float]) -> float:
        """Return the loss of a batch, and take it into account; 0 for a batch without weight."""
        weight = float(len(batch.inputs) if batch.weight is None else batch.weight.sum(dtype=np.float64))
        value = loss_of(batch) if weight else 0.0
        self.sum += value * weight
        self.weight += weight
        return value

    def value(self) -> float:
        return self.sum / self.weight if self.weight else float("nan")


def evaluate(
    network: Network, data: Data, *, loss: str | Callable = "softmax_cross_entropy"
) -> dict[str, float]:
    """Measure a network on data, in bounded memory.

    Parameters
    ----------
    network : as in `fit`.
    data : as `train` in `fit`.
    loss : as in `fit`.

    Returns
    -------
    dict with `loss` (mean) and what else the loss is about, each row counting by its weight:

    - for the three classification losses `error`, the fraction of rows whose likeliest class is not the
      target's: 1 − accuracy;
    - for "binary_cross_entropy" `auc`, the area under the ROC curve, exact (targets above ½ are positive);
      both are over all labels where a row has several;
    - for "mean_squared_error" `r2`, the coefficient of determination R².

    Raises
    ------
    ValueError for wrong arguments or a damaged file, OSError if it cannot be read.
    """
    return scores_of(network, sources.source("data", data, network, loss), losses.get(loss))


EVALUATED_ROWS = 8192  # of a file are read together


def scores_of(network: Network, rows: Source, loss: Callable) -> dict[str, float]:
    """Return what `evaluate` does, of rows that fit."""
    mean = Mean()
    scores = {name: (measure(), value) for name, (measure, value) in SCORES.get(rows.loss, {}).items()}

    def loss_of(batch: Batch) -> float:
        outputs, targets, weight = network.predict(batch.inputs), batch.targets, batch.weight
        value, _ = loss(outputs, targets, *(() if weight is None else (weight,)))
        if rows.loss in losses.CLASSIFIERS:
            targets = losses.labels_of(rows.loss, targets)
        if rows.loss == "binary_cross_entropy":  # one label after the other, where a row has several
            weight = None if weight is None else weight.repeat(outputs.shape[1])
            outputs = outputs.reshape(-1)
        for measure, _ in scores.values():
            measure.update(outputs, targets, weight)
        return float(value)

    with contextlib.closing(rows.rows.batches(EVALUATED_ROWS)) as batches, np.errstate(over="ignore"):
        for batch in map(rows.prepare, batches):
            mean.add(batch, loss_of)
    return {"loss": mean.value()} | {name: value(measure) for name, (measure, value) in scores.items()}
