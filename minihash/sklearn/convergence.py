"""When training ends: as scikit-learn's networks, once a figure has not improved for a while."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minihash.network import Network
from minihash.training import Callback, History


class Convergence(Callback):
    """Stop when neither loss nor score has improved by `tol` for more than `patience` epochs.

    Parameters
    ----------
    tol : improvement that counts.
    patience : epochs.
    score : of the network on rows held out; the weights of the best one are put back in the end. None
        watches the training loss, and leaves the weights as they are.
    say : what prints a line an epoch, or None.

    `losses` and `scores` have one figure an epoch.
    """

    def __init__(
        self,
        tol: float,
        patience: int,
        score: Callable[[], float] | None,
        say: Callable[[str], object] | None,
    ) -> None:
        self.tol, self.patience, self.score, self.say = tol, patience, score, say
        self.losses: list[float] = []
        self.scores: list[float] = []
        self._best, self._waited = -np.inf, 0
        self._weights: dict[str, np.ndarray] = {}

    def on_epoch_end(self, network: Network, history: History) -> bool:
        self.losses.append(history.records[-1]["loss"])
        line, figure = history.describe(), -self.losses[-1]
        if self.score is not None:
            figure = self.score()
            self.scores.append(figure)
            line += f", validation score {figure:.4f}"
        if self.say is not None:
            self.say(line)
        self._waited = 0 if figure > self._best + self.tol else self._waited + 1
        if figure > self._best:
            self._best = figure
            if self.score is not None:
                self._weights = {name: array.copy() for name, array in network.params.items()}
        return self._waited > self.patience

    def on_train_end(self, network: Network, history: History) -> None:
        for name, array in self._weights.items():
            network.params[name][...] = array
