"""Training: batches, `fit`, `evaluate`, and the history of a run."""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minihash import checks, fused, losses, metrics, sources
from minihash.datasets.rows import Batch
from minihash.hashing import LIMIT_SEED
from minihash.network import Network
from minihash.optimizers import Adam, Optimizer
from minihash.sources import ClassWeight, Data, Source

Scores = dict[str, tuple[Callable[[], Any], Callable[[Any], float]]]
ERROR: Scores = {"error": (metrics.Accuracy, metrics.Accuracy.error)}
#: What `evaluate` returns beside the loss, by the name of the loss: what measures it, and its value.
SCORES: dict[str, Scores] = {
    "softmax_cross_entropy": ERROR,
    "distillation": ERROR,
    "binary_cross_entropy": ERROR | {"auc": (metrics.AUC, metrics.AUC.value)},
    "mean_squared_error": {"r2": (metrics.R2, metrics.R2.value)},
}


@dataclass
class History:
    """What happened, a record an epoch.

    A record holds `epoch` (from 1), `learning_rate` (of the last step), `loss` (mean over the epoch's
    training rows, as trained), `seconds` since the start and, with validation data, what `evaluate`
    says of them: `validation_loss` and for classifiers `validation_error`.
    """

    records: list[dict[str, float]] = field(default_factory=list)

    def __getitem__(self, name: str) -> list[float]:
        """Return one figure of every epoch: `history["loss"]`."""
        return [record[name] for record in self.records]

    def __len__(self) -> int:
        return len(self.records)

    def describe(self) -> str:
        """Return the last epoch in a line."""
        record = self.records[-1]
        text = f"epoch {record['epoch']}, loss {record['loss']:.4f}"
        if "validation_error" in record:
            text += f", validation error {100 * record['validation_error']:.2f} %"
        return text


class Callback:
    """What `fit` calls besides training, nothing at first; callbacks.py has those that do something."""

    def on_train_begin(self, network: Network) -> None:
        """Called once before the first epoch."""

    def on_epoch_end(self, network: Network, history: History) -> bool:
        """Called after each epoch, with its record the last of the history; True stops training."""
        return False

    def on_train_end(self, network: Network, history: History) -> None:
        """Called once after the last epoch."""


def fit(
    network: Network,
    train: Data,
    validation: Data | None = None,
    *,
    loss: str | Callable = "softmax_cross_entropy",
    optimizer: Optimizer | None = None,
    schedule: Callable[[float], float] | None = None,
    epochs: int = 10,
    batch_size: int = 128,
    class_weight: ClassWeight | None = None,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
    progress: bool | None = None,
) -> History:
    """Train a network in place, by gradient descent on shuffled batches, on the device it is on.

    Same seeds, machine and versions: the same weights, to the last bit, whatever the number of threads
    of the hashed layers; on a card if it is told to be deterministic (`Network.to`).

    Parameters
    ----------
    network : with the first layer's inputs and the last one's outputs those of the data.
    train : (inputs, targets); inputs (rows, in_features) in any real dtype, raw: the network scales. Or
        (inputs, targets, weights), with how much each row counts, (rows,). Or rows of a file that may be
        larger than memory: what `datasets.open_rows` returns, or what it opens, the name of a store, an
        .npy or a CSV file. They are read in blocks, shuffled among some of them (`datasets.blocks`).
    validation : the same, evaluated after each epoch, never trained on; or None.
    loss : "softmax_cross_entropy", "mean_squared_error", "binary_cross_entropy", "distillation", or a
        function such, also as a `functools.partial`; on a card it is given arrays of CuPy.
    optimizer : default `Adam()`.
    schedule : learning rate as a function of the fraction of training done; see schedules.py.
    epochs : passes over the training rows.
    batch_size : rows a step; the last batch of an epoch may be shorter.
    class_weight : how much the rows of a class count, {class: weight}, 1 for those that are not there; or
        "balanced", all classes the same: rows / (classes · rows of the class). It multiplies the rows' own
        weights. A step takes the weighted mean of its batch; a batch without weight is left out.
    seed : of the shuffling.
    callbacks : called at the beginning, after each epoch, and at the end, an unhappy one too; see
        callbacks.py.
    progress : show a bar on stderr; by default only on a terminal.

    Returns
    -------
    History

    Raises
    ------
    ValueError for wrong arguments or a damaged file, OSError if it cannot be read; FloatingPointError when
    the loss becomes NaN or infinite, with the weights as they were before the step that would have followed.
    """
    loss_function = losses.get(loss)
    rows = sources.source("train", train, network, loss, class_weight)
    held_out = None if validation is None else sources.source("validation", validation, network, loss)
    optimizer = Adam() if optimizer is None else optimizer
    epochs = checks.integer("epochs", epochs, 1, 2**31)
    batch_size = checks.integer("batch_size", batch_size, 1, 2**31)
    rng = np.random.default_rng(checks.integer("seed", seed, 0, LIMIT_SEED))
    steps = -(-len(rows.rows) // batch_size)
    step = functools.partial(_train_step, network, _passes(network), loss_function, optimizer)
    history = History()
    start = time.perf_counter()
    for callback in callbacks:
        callback.on_train_begin(network)
    with _progress_bar(epochs * steps, progress) as bar, np.errstate(over="ignore", invalid="ignore"):
        try:
            for epoch in range(1, epochs + 1):
                mean = _Mean()
                with contextlib.closing(rows.rows.batches(batch_size, rng)) as batches:
                    for number, batch in enumerate(map(rows.prepare, batches)):
                        if schedule is not None:
                            optimizer.learning_rate = schedule((epoch - 1 + number / steps) / epochs)
                        value = mean.add(batch, step)
                        if not np.isfinite(value):
                            raise _diverged(f"loss is {value}", epoch, number + 1, steps, optimizer)
                        bar.update()
                isfinite = network.device.xp.isfinite
                if not all(isfinite(array).all() for array in network.params.values()):
                    raise _diverged("a parameter is not finite", epoch, steps, steps, optimizer)
                record = {"epoch": epoch, "learning_rate": optimizer.learning_rate, "loss": mean.value()}
                if held_out is not None:
                    scores = _evaluate(network, held_out, loss_function)
                    record.update({f"validation_{name}": score for name, score in scores.items()})
                record["seconds"] = time.perf_counter() - start
                history.records.append(record)
                bar.set_postfix_str(history.describe())
                # Every callback hears of every epoch: a list, not a generator.
                if any([callback.on_epoch_end(network, history) for callback in callbacks]):
                    break
        finally:  # after a divergence or Ctrl-C too: best weights are put back
            for callback in callbacks:
                callback.on_train_end(network, history)
    return history


class _Mean:
    """The mean loss of all rows, from the means of batches."""

    def __init__(self) -> None:
        self._sum = self._weight = 0.0

    def add(self, batch: Batch, loss_of: Callable[[Batch], float]) -> float:
        """Return the loss of a batch, and take it into account; 0 for a batch without weight."""
        weight = float(len(batch.inputs) if batch.weight is None else batch.weight.sum(dtype=np.float64))
        value = loss_of(batch) if weight else 0.0
        self._sum += value * weight
        self._weight += weight
        return value

    def value(self) -> float:
        return self._sum / self._weight if self._weight else 0.0


Passes = tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], Any]]


def _passes(network: Network) -> Passes:
    """Return what goes forward and backward in training: the network itself, or fused if it is small."""
    if fused.obstacle(network):
        forward = functools.partial(network.forward, training=True)
        return forward, functools.partial(network.backward, need_grad_inputs=False)
    small = fused.FusedNetwork(network)
    return small.forward, small.backward


def _train_step(
    network: Network, passes: Passes, loss: Callable, optimizer: Optimizer, batch: Batch
) -> float:
    """Do one step on one batch and return its loss; where that is not finite, change nothing.

    A device gets the batch at once, and gives back one number.
    """
    forward, backward = passes
    inputs, *others = network.device.put_together(*(array for array in batch if array is not None))
    value, grad_outputs = loss(forward(inputs), *others)
    if np.isfinite(value):
        backward(grad_outputs)
        optimizer.step(network.params, network.grads)
    return value


def _diverged(what: str, epoch: int, step: int, steps: int, optimizer: Optimizer) -> FloatingPointError:
    return FloatingPointError(
        f"{what} in epoch {epoch}, step {step} of {steps}: training diverged at learning rate "
        f"{optimizer.learning_rate:g}; wanted a smaller one, or inputs scaled to about 1 (input_scale)"
    )


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
    return _evaluate(network, sources.source("data", data, network, loss), losses.get(loss))


EVALUATED_ROWS = 8192  # of a file are read together


def _evaluate(network: Network, rows: Source, loss: Callable) -> dict[str, float]:
    """Measure on rows that fit."""
    mean = _Mean()
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

    with contextlib.closing(rows.rows.batches(EVALUATED_ROWS)) as batches:
        for batch in map(rows.prepare, batches):
            mean.add(batch, loss_of)
    return {"loss": mean.value()} | {name: value(measure) for name, (measure, value) in scores.items()}


def _progress_bar(steps: int, progress: bool | None) -> Any:
    from tqdm import tqdm

    # There is no stderr under pythonw, and none after 2>&-.
    shown = bool(sys.stderr and sys.stderr.isatty()) if progress is None else progress
    short = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"  # room for what postfix says
    return tqdm(total=steps, disable=not shown, bar_format=short, dynamic_ncols=True)
