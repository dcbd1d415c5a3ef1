"""Training: batches, `fit`, `evaluate`, and the history of a run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minihash import checks, losses
from minihash.hashing import LIMIT_SEED
from minihash.network import Network
from minihash.optimizers import Adam, Optimizer

Data = tuple[Any, Any]  # inputs (rows, in_features) and targets (rows, …)


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
    train : (inputs, targets); inputs (rows, in_features) in any real dtype, raw: the network scales.
    validation : the same, evaluated after each epoch, never trained on; or None.
    loss : "softmax_cross_entropy", "mean_squared_error", "binary_cross_entropy", "distillation", or a
        function such, also as a `functools.partial`; on a card it is given arrays of CuPy.
    optimizer : default `Adam()`.
    schedule : learning rate as a function of the fraction of training done; see schedules.py.
    epochs : passes over the training rows.
    batch_size : rows a step; the last batch of an epoch may be shorter.
    seed : of the shuffling.
    callbacks : called at the beginning, after each epoch, and at the end, an unhappy one too; see
        callbacks.py.
    progress : show a bar on stderr; by default only on a terminal.

    Returns
    -------
    History

    Raises
    ------
    ValueError for wrong arguments; FloatingPointError when the loss becomes NaN or infinite, with the
    weights as they were before the step that would have followed.
    """
    loss_function = losses.get(loss)
    inputs, targets = _check_data("train", train, network, loss)
    if validation is not None:
        validation = _check_data("validation", validation, network, loss)
    optimizer = Adam() if optimizer is None else optimizer
    epochs = checks.integer("epochs", epochs, 1, 2**31)
    batch_size = checks.integer("batch_size", batch_size, 1, 2**31)
    rng = np.random.default_rng(checks.integer("seed", seed, 0, LIMIT_SEED))
    steps = -(-len(inputs) // batch_size)
    history = History()
    start = time.perf_counter()
    for callback in callbacks:
        callback.on_train_begin(network)
    with _progress_bar(epochs * steps, progress) as bar, np.errstate(over="ignore", invalid="ignore"):
        try:
            for epoch in range(1, epochs + 1):
                total = 0.0
                for step, rows in enumerate(batches(len(inputs), batch_size, rng)):
                    if schedule is not None:
                        optimizer.learning_rate = schedule((epoch - 1 + step / steps) / epochs)
                    value = _train_step(network, inputs[rows], targets[rows], loss_function, optimizer)
                    if not np.isfinite(value):
                        raise _diverged(f"loss is {value}", epoch, step + 1, steps, optimizer)
                    total += value * len(rows)
                    bar.update()
                isfinite = network.device.xp.isfinite
                if not all(isfinite(array).all() for array in network.params.values()):
                    raise _diverged("a parameter is not finite", epoch, steps, steps, optimizer)
                record = {"epoch": epoch, "learning_rate": optimizer.learning_rate}
                record["loss"] = total / len(inputs)
                if validation is not None:
                    scores = _evaluate(network, *validation, loss)
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


def _train_step(
    network: Network, inputs: np.ndarray, targets: np.ndarray, loss: Callable, optimizer: Optimizer
) -> float:
    """Do one step on one batch and return its loss; where that is not finite, change nothing.

    A device gets the batch at once, and gives back one number.
    """
    inputs, targets = network.device.put_together(inputs, targets)
    outputs = network.forward(inputs, training=True)
    value, grad_outputs = loss(outputs, targets)
    if np.isfinite(value):
        network.backward(grad_outputs, need_grad_inputs=False)
        optimizer.step(network.params, network.grads)
    return value


def _diverged(what: str, epoch: int, step: int, steps: int, optimizer: Optimizer) -> FloatingPointError:
    return FloatingPointError(
        f"{what} in epoch {epoch}, step {step} of {steps}: training diverged at learning rate "
        f"{optimizer.learning_rate:g}; wanted a smaller one, or inputs scaled to about 1 (input_scale)"
    )


def batches(rows: int, batch_size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the row numbers of each batch of one epoch, shuffled: every row once, the last batch short."""
    order = rng.permutation(rows)
    for start in range(0, rows, batch_size):
        yield order[start : start + batch_size]


def evaluate(
    network: Network, data: Data, *, loss: str | Callable = "softmax_cross_entropy"
) -> dict[str, float]:
    """Measure a network on data.

    Parameters
    ----------
    network : as in `fit`.
    data : (inputs, targets), as in `fit`.
    loss : as in `fit`.

    Returns
    -------
    dict with `loss` (mean) and, for the three classification losses, `error`, the fraction of rows
    whose likeliest class is not the target's.

    Raises
    ------
    ValueError for wrong arguments.
    """
    return _evaluate(network, *_check_data("data", data, network, loss), loss)


def _evaluate(
    network: Network, inputs: np.ndarray, targets: np.ndarray, loss: str | Callable
) -> dict[str, float]:
    """Measure on data that has been checked."""
    outputs = network.predict(inputs)
    result = {"loss": float(losses.get(loss)(outputs, targets)[0])}
    name = losses.name_of(loss)
    if name == "softmax_cross_entropy":
        labels = targets if targets.ndim == 1 else targets.argmax(axis=1)
        result["error"] = float(np.mean(outputs.argmax(axis=1) != labels))
    elif name == "distillation":
        result["error"] = float(np.mean(outputs.argmax(axis=1) != targets[:, 0]))
    elif name == "binary_cross_entropy":
        result["error"] = float(np.mean((outputs.ravel() > 0) != (targets.ravel() > 0.5)))
    return result


def _check_data(
    name: str, data: Any, network: Network, loss: str | Callable
) -> tuple[np.ndarray, np.ndarray]:
    """Return (inputs, targets) as arrays that fit each other, the network and the loss."""
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise ValueError(f"{name} is a {type(data).__name__}, wanted a pair (inputs, targets)")
    inputs = checks.data(f"{name} inputs", data[0], network.in_features, network.dtype)
    targets = np.asarray(data[1])
    if not len(inputs) or targets.shape[:1] != inputs.shape[:1]:
        raise ValueError(
            f"{name} has {len(inputs)} rows of inputs and targets of shape {targets.shape}, "
            "wanted as many of each, at least one"
        )
    if losses.name_of(loss) in losses.LOSSES and network.out_features is not None:
        try:  # a label out of range is refused here, with its row, and not in the middle of training
            losses.get(loss)(np.zeros((len(inputs), network.out_features), network.dtype), targets)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
    return inputs, targets


def _progress_bar(steps: int, progress: bool | None) -> Any:
    from tqdm import tqdm

    # There is no stderr under pythonw, and none after 2>&-.
    shown = bool(sys.stderr and sys.stderr.isatty()) if progress is None else progress
    short = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"  # room for what postfix says
    return tqdm(total=steps, disable=not shown, bar_format=short, dynamic_ncols=True)
