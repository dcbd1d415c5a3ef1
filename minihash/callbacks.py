"""Callbacks: what `fit` does besides training. Write one of your own as a subclass of `training.Callback`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minihash import checks
from minihash.network import Network
from minihash.training import Callback, History


class PrintEpochs(Callback):
    """Say how training goes where there is no terminal and so no bar: after the first epoch and every few.

    Parameters
    ----------
    every : epochs from one line to the next.
    say : what prints a line.
    """

    def __init__(self, every: int = 1, say: Callable[[str], object] = print) -> None:
        self.every = checks.integer("every", every, 1, 2**31)
        self.say = say

    def on_epoch_end(self, network: Network, history: History) -> bool:
        if len(history) == 1 or len(history) % self.every == 0:
            self.say(history.describe())
        return False


class EarlyStopping(Callback):
    """Stop when a figure has not become smaller for `patience` epochs; restore the best weights.

    Parameters
    ----------
    patience : epochs without improvement before training stops, at least 1.
    monitor : the figure of `History` to watch.
    restore_best : put back the weights of the best epoch at the end, stopped early or not.

    After training, `best_epoch` (from 1) and `best` say when and how good it was.
    """

    def __init__(
        self, patience: int = 10, monitor: str = "validation_error", restore_best: bool = True
    ) -> None:
        self.patience = checks.integer("patience", patience, 1, 2**31)
        self.monitor = monitor
        self.restore_best = checks.boolean("restore_best", restore_best)
        self.best, self.best_epoch = float("inf"), 0
        self._weights: dict[str, np.ndarray] = {}

    def on_train_begin(self, network: Network) -> None:
        self.best, self.best_epoch = float("inf"), 0
        self._weights = {}

    def on_epoch_end(self, network: Network, history: History) -> bool:
        record = history.records[-1]
        if self.monitor not in record:
            known = ", ".join(record)
            raise ValueError(f"monitor is {self.monitor!r}, wanted one of the history's: {known}")
        if record[self.monitor] < self.best:
            self.best, self.best_epoch = record[self.monitor], int(record["epoch"])
            if self.restore_best:
                self._weights = {name: array.copy() for name, array in network.params.items()}
        return record["epoch"] - self.best_epoch >= self.patience

    def on_train_end(self, network: Network, history: History) -> None:
        for name, array in self._weights.items():
            network.params[name][...] = array
