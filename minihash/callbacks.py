"""Callbacks: what `fit` does besides training. Write one of your own as a subclass of `training.Callback`."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from minihash import checks, metrics, strict_json
from minihash.files import check_writable, replacing, tolerated
from minihash.network import Network
from minihash.optimizers import Optimizer
from minihash.terminal import say
from minihash.training import Callback, History
from minihash.training.history import WEIGHTS

Weights = dict[str, np.ndarray]


class PrintEpochs(Callback):
    """Say how training goes where there is no terminal and so no bar: after the first epoch and every few.

    Parameters
    ----------
    every : epochs from one line to the next.
    say : what prints a line.
    """

    observer = True

    def __init__(self, every: int = 1, say: Callable[[str], object] = say) -> None:
        self.every = checks.integer("every", every, 1, 2**31)
        self.say = say

    def on_epoch_end(self, network: Network, history: History) -> bool:
        if len(history) == 1 or len(history) % self.every == 0:
            self.say(history.describe())
        return False


class _Watch(Callback):
    """Compares a figure of each epoch with the best one so far; `monitor` and `mode` say which is better."""

    def __init__(self, patience: int, monitor: str, mode: str | None) -> None:
        self.patience = checks.integer("patience", patience, 1, 2**31)
        self._larger = metrics.larger_is_better(monitor, mode)
        self.monitor, self.mode = monitor, mode
        self.best = metrics.worst(self._larger)

    def on_train_begin(self, network: Network) -> None:
        self.best = metrics.worst(self._larger)

    def is_better(self, figure: float) -> bool:
        """Tell whether a figure is better than the best one so far."""
        return metrics.better(figure, self.best, self._larger)

    def settings(self) -> dict[str, Any]:
        watched = {"patience": self.patience, "monitor": self.monitor, "mode": self.mode}
        return {name: value for name, value in watched.items() if value is not None}

    def state(self) -> dict[str, Any]:
        return {"best": self.best}

    def restore(self, state: dict[str, Any]) -> None:
        best = checks.number("best", state["best"], -np.inf, np.inf)
        self.best = best if np.isfinite(best) else metrics.worst(self._larger)


class EarlyStopping(_Watch):
    """Stop when a figure has not become better for `patience` epochs; restore the best weights.

    NaN, as the AUC of rows of one class, is never better than a number: the epochs count. Where no epoch has
    a number there is no best one, and the last weights stay.

    Parameters
    ----------
    patience : epochs without improvement before training stops, at least 1.
    monitor : the figure of `History` to watch; "loss", or of validation rows "validation_error",
        "validation_loss", "validation_auc" (the larger the better) or "validation_r2" (the same).
    restore_best : put back the weights of the best epoch at the end, stopped early or not.
    mode : "min" or "max", whether smaller or larger is better, for a figure of one's own.

    After training, `best_epoch` (from 1) and `best` say when and how good it was; if it never was a number,
    `best_epoch` is 0 and `best` infinite.

    Raises
    ------
    ValueError for a figure of which it is not known what is better, without a mode.
    """

    def __init__(
        self,
        patience: int = 10,
        monitor: str = "validation_error",
        restore_best: bool = True,
        mode: str | None = None,
    ) -> None:
        super().__init__(patience, monitor, mode)
        self.restore_best = checks.boolean("restore_best", restore_best)
        self.best_epoch = 0
        self._weights: Weights = {}

    def on_train_begin(self, network: Network) -> None:
        super().on_train_begin(network)
        self.best_epoch, self._weights = 0, {}

    def on_epoch_end(self, network: Network, history: History) -> bool:
        epoch, figure = len(history), _figure(history, self.monitor)
        if self.is_better(figure):
            if self.restore_best:
                self._weights = weights_of(network)
            self.best, self.best_epoch = figure, epoch
        return epoch - self.best_epoch >= self.patience

    def on_train_end(self, network: Network, history: History) -> None:
        put_back(network, self._weights)

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "restore_best": self.restore_best}

    def state(self) -> dict[str, Any]:
        return {**super().state(), "best_epoch": self.best_epoch, **_packed(self._weights)}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.best_epoch = checks.integer("best_epoch", state["best_epoch"], 0, 2**62)
        self._weights = _unpacked(state)


class ReduceOnPlateau(_Watch):
    """Multiply the learning rate by a factor when a figure has not become better for some epochs.

    NaN is never better than a number: the epochs count.

    Parameters
    ----------
    optimizer : the one that `fit` is given, without a schedule, which would set the rate anew.
    factor : 0 < factor < 1.
    patience : epochs without improvement before each reduction, at least 1.
    monitor, mode : as in `EarlyStopping`.
    lowest : the learning rate is not made smaller than this.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 0.1,
        patience: int = 5,
        monitor: str = "validation_loss",
        lowest: float = 0.0,
        mode: str | None = None,
    ) -> None:
        super().__init__(patience, monitor, mode)
        self.optimizer = optimizer
        self.factor = checks.number("factor", factor, 0, 1, open_low=True)
        self.lowest = checks.number("lowest", lowest, 0, 1e6)
        self.since = 0

    def on_train_begin(self, network: Network) -> None:
        super().on_train_begin(network)
        self.since = 0

    def on_epoch_end(self, network: Network, history: History) -> bool:
        figure = _figure(history, self.monitor)
        self.since += 1
        if self.is_better(figure):
            self.best, self.since = figure, 0
        if self.since == self.patience:
            self.since = 0
            rate = self.optimizer.learning_rate
            self.optimizer.learning_rate = min(rate, max(self.lowest, self.factor * rate))
        return False

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "factor": self.factor, "lowest": self.lowest}

    def state(self) -> dict[str, Any]:
        return {**super().state(), "since": self.since}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.since = checks.integer("since", state["since"], 0, 2**62)


class GradientClipping(Callback):
    """Scale the gradients down, all by one factor, where their norm together is above a limit.

    `g ← g · min(1, limit / ‖g‖)`, with the norm over the stored parameters of all layers.

    Parameters
    ----------
    limit : > 0.

    Source: Pascanu, Mikolov, Bengio: On the difficulty of training recurrent neural networks, ICML 2013.
    """

    def __init__(self, limit: float) -> None:
        self.limit = checks.number("limit", limit, 0, 1e30, open_low=True)

    def settings(self) -> dict[str, Any]:
        return {"limit": self.limit}

    def on_gradients(self, network: Network) -> None:
        grads = network.grads.values()
        norm = float(sum((grad.astype(np.float64) ** 2).sum() for grad in grads)) ** 0.5
        if norm > self.limit:
            for grad in grads:
                grad *= self.limit / norm


class KeepLastGood(Callback):
    """End a training that diverges or is interrupted with the weights of the last epoch that was finished.

    A divergence is then no error of `fit`. A KeyboardInterrupt still is, but `fit` leaves no half-done step
    behind: the network has the weights of the last finished epoch, or the best ones with `EarlyStopping`.

    After training, `divergence` is the error, else None; `history` has the records of the finished epochs, of
    which there are `epochs`; `interrupt` is the error of Ctrl-C that `goes_on_after` was told of.
    """

    def __init__(self) -> None:
        self.divergence: FloatingPointError | None = None
        self.interrupt: KeyboardInterrupt | None = None
        self.history = History()
        self._good: tuple[Weights, int | None] = {}, 0  # as one: Ctrl-C may come at any time

    @property
    def epochs(self) -> int:
        """How many epochs were finished."""
        return len(self.history)

    def goes_on_after(self, error: BaseException) -> bool:
        """Tell whether an error is Ctrl-C after a finished epoch, whose weights are there to go on with."""
        if not isinstance(error, KeyboardInterrupt) or not self.epochs:
            return False
        self.interrupt = error
        return True

    def on_train_begin(self, network: Network) -> None:
        self.divergence, self.history = None, History()
        self._good = weights_of(network), 0

    def on_epoch_end(self, network: Network, history: History) -> bool:
        self._good = weights_of(network), len(history)
        return False

    def on_divergence(self, network: Network, error: FloatingPointError) -> bool:
        self.divergence = error
        put_back(network, self._good[0])
        return True

    def on_interrupt(self, network: Network, history: History) -> None:
        put_back(network, self._good[0])

    def on_train_end(self, network: Network, history: History) -> None:
        self.history = History(history.records[: self._good[1]])

    def state(self) -> dict[str, Any]:
        return {"epochs": self._good[1], **_packed(self._good[0])}

    def restore(self, state: dict[str, Any]) -> None:
        epochs = state.get("epochs")  # None, in older checkpoints: all that the history has
        if epochs is not None:
            epochs = checks.integer("epochs", epochs, 0, 2**62)
        self._good = _unpacked(state), epochs


class Log(Callback):
    """Write the history to a file after every epoch, whole each time: a reader never sees half a line.

    Parameters
    ----------
    path : ending in .csv, a header and a line an epoch; or in .jsonl, a JSON object a line. NaN is an empty
        field there, and null here.

    Raises
    ------
    ValueError for another ending; OSError if the file cannot be written at the beginning. Later that is a
    warning: the next epoch writes it all.
    """

    observer = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        checks.choice("path's ending", os.path.splitext(self.path)[1], (".csv", ".jsonl"))

    def on_train_begin(self, network: Network) -> None:
        check_writable(self.path)

    def on_epoch_end(self, network: Network, history: History) -> bool:
        text = io.StringIO()
        if self.path.endswith(".csv"):
            names = dict.fromkeys(name for record in history for name in record)
            writer = csv.DictWriter(text, list(names), lineterminator="\n")
            writer.writeheader()
            writer.writerows(history.to_json())  # None is an empty field
        else:
            text.writelines(strict_json.dumps(record) + "\n" for record in history)
        with tolerated("the training goes on"), replacing(self.path) as file:
            file.write(text.getvalue().encode())
        return False


def _figure(history: History, monitor: str) -> float:
    """Return a figure of the last epoch."""
    record = history.records[-1]
    if monitor not in record:
        known = ", ".join(record)
        raise ValueError(f"monitor is {monitor!r}, wanted one of the history's: {known}")
    return record[monitor]


def weights_of(network: Network) -> Weights:
    """Return copies of a network's parameters, by name."""
    return {name: array.copy() for name, array in network.params.items()}


def put_back(network: Network, weights: Weights) -> None:
    """Give a network the parameters that `weights_of` returned."""
    for name, array in weights.items():
        network.params[name][...] = array


def _packed(weights: Weights) -> Weights:
    """Return weights as a part of a state; a checkpoint looks whether they fit the network."""
    return {f"{WEIGHTS}{name}": array for name, array in weights.items()}


def _unpacked(state: dict[str, Any]) -> Weights:
    return {name.removeprefix(WEIGHTS): array for name, array in state.items() if name.startswith(WEIGHTS)}
