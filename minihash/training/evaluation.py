"""Measuring networks: losses and scores over any number of rows, in bounded memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np

from minihash import checks, losses, metrics, sources
from minihash.datasets.rows import total_weight
from minihash.network import PREDICT_ROWS, Network
from minihash.sources import Data, Source
from minihash.training.distributed import mode_of, ranks_of
from minihash.training.ranks import ALONE, Ranks
from minihash.training.tasks import loss_for

Predicted = tuple[np.ndarray, np.ndarray, np.ndarray | None]  # outputs, targets, weights
TURN = 8 * PREDICT_ROWS  # rows that a rank predicts at once, at most: a block of a store


class Mean:
    """The mean loss of all rows, from the means of batches; `sum` and `weight` are all it remembers."""

    def __init__(self, sum: float = 0.0, weight: float = 0.0) -> None:
        self.sum, self.weight = sum, weight

    def add(self, value: float, weight: float) -> None:
        """Take a batch into account: its mean loss, and its weight."""
        self.sum += value * weight
        self.weight += weight

    def value(self) -> float:
        return self.sum / self.weight if self.weight else float("nan")


def evaluate(
    network: Network,
    data: Data,
    *,
    loss: str | Callable | None = None,
    distributed: bool | str = False,
) -> dict[str, float]:
    """Measure a network on data, in bounded memory.

    Parameters
    ----------
    network : as in `fit`.
    data : as `train` in `fit`.
    loss : as in `fit`; by default that of the network's task, where it has one. Any other may be asked for.
    distributed : as in `fit`; every process predicts its share of the rows, and gets the result.

    Returns
    -------
    dict with `loss` (mean; where the network scales its outputs, that of standardised targets, as `fit` has
    it) and the scores that go with the loss (`Loss.scores`), each row counting by its weight:

    - for the three classification losses `error`, the fraction of rows whose likeliest class is not the
      target's: 1 − accuracy;
    - for "binary_cross_entropy" `auc`, the area under the ROC curve, exact (targets above ½ are positive);
      both are over all labels where a row has several;
    - for "mean_squared_error" `r2`, the coefficient of determination R², and in the targets' units `mae`, the
      mean absolute error, and `rmse`, the root of the mean squared error; of several outputs their means.

    Raises
    ------
    ValueError for wrong arguments or a damaged file, OSError if it cannot be read.
    """
    mode = mode_of(distributed)
    ranks = ranks_of(mode)
    with ranks.together(), ranks.cores(mode == "exact"):
        loss = loss_for(network, loss)
        return scores_of(network, sources.source("data", data, network, loss), losses.get(loss), ranks)


def confusion(network: Network, data: Data, loss: str) -> np.ndarray:
    """Count which class rows of each class are taken for.

    Parameters
    ----------
    network, data, loss : as in `evaluate`; the loss is for one class a row.

    Returns
    -------
    (classes, classes) int64: entry (i, j) is how many rows of class i have class j as the likeliest.

    Raises
    ------
    As `evaluate`; ValueError for a loss without classes.
    """
    rows = sources.source("data", data, network, loss)
    if not rows.loss.classifies:
        raise ValueError(f"loss is {rows.loss.name!r}, wanted one of classes")
    classes = max(2, network.out_features or 0)
    counts = np.zeros(classes * classes, np.int64)
    for outputs, targets, _ in _predicted(network, rows, ALONE):
        likeliest = outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0).astype(np.int64)
        labels = rows.loss.labels(targets).reshape(-1)
        counts += np.bincount(labels * classes + likeliest, minlength=classes * classes)
    return counts.reshape(classes, classes)


def scores_of(network: Network, rows: Source, loss: Callable, ranks: Ranks = ALONE) -> dict[str, float]:
    """Return what `evaluate` does, of rows that fit; all ranks predict, and the first measures."""
    mean, known = Mean(), tuple(metrics.SCORES)
    chosen = {name: metrics.SCORES[checks.choice("score", name, known)] for name in rows.loss.scores}
    measures = {name: score.measure() for name, score in chosen.items()}
    with np.errstate(over="ignore"):
        for outputs, targets, weight in _predicted(network, rows, ranks):
            if counts := total_weight(len(targets), weight):
                value, _ = loss(outputs, targets, *(() if weight is None else (weight,)))
                mean.add(float(value), counts)
            outputs, targets = network.to_units(outputs), network.to_units(targets)
            if rows.loss.classifies:
                targets = rows.loss.labels(targets)
            if rows.loss.binary:  # one label after the other, where a row has several
                weight = None if weight is None else weight.repeat(outputs.shape[1])
                outputs = outputs.reshape(-1)
            for measure in measures.values():
                measure.update(outputs, targets, weight)
    of_first = chosen if ranks.is_first else {}
    scores = {name: score.value(measures[name]) for name, score in of_first.items()}
    return ranks.share({"loss": mean.value()} | scores)


def _predicted(network: Network, rows: Source, ranks: Ranks) -> Iterator[Predicted]:
    """Yield the outputs of some rows after the other, with targets and weights, as the loss takes them.

    The first rank gets them all. It is always as many rows at once, whoever predicts them.
    """
    total = len(rows.rows)
    turn = min(TURN, -(-total // (PREDICT_ROWS * ranks.size)) * PREDICT_ROWS)  # rows of a rank
    for start in range(0, total, turn * ranks.size):
        own = min(start + turn * ranks.rank, total)
        part = rows.rows.part(own, min(own + turn, total)) if ranks.size > 1 else rows.rows
        with contextlib.closing(part.batches(PREDICT_ROWS)) as batches:
            found = (
                (network.forward_rows(batch.inputs), batch.targets, batch.weight)
                for batch in map(rows.prepare, batches)
            )
            if ranks.size == 1:
                yield from found
                return
            kept = [tuple(None if array is None else array.copy() for array in one) for one in found]
            for of_rank in ranks.gather(kept):
                yield from of_rank
