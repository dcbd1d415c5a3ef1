"""When training ends: as scikit-learn's networks, once a figure has not improved for a while."""

from __future__ import annotations

from collections.abc import Callable

from minihash import metrics
from minihash.callbacks import KeepLastGood, Weights, put_back, weights_of
from minihash.network import Network
from minihash.training import History
from minihash.training.interrupts import held_back


class Convergence(KeepLastGood):
    """Stop when neither loss nor score has improved by `tol` for more than `patience` epochs.

    Parameters
    ----------
    tol : improvement that counts.
    patience : epochs.
    score : of the network on rows held out, the larger the better; the weights of the best one are put back
        in the end. None watches the training loss, and leaves the weights as they are.
    say : what prints a line an epoch, or None.

    After training, at Ctrl-C too, `history` and `scores` have the finished epochs, and `best` is the best
    figure of what is watched. A divergence is an error.
    """

    def __init__(
        self,
        tol: float,
        patience: int,
        score: Callable[[], float] | None,
        say: Callable[[str], object] | None,
    ) -> None:
        super().__init__()
        self.tol, self.patience, self.score, self.say = tol, patience, score, say
        self.scores: list[float] = []
        self.best, self._waited = metrics.worst(score is not None), 0
        self._best_weights: Weights = {}

    def on_epoch_end(self, network: Network, history: History) -> bool:
        line, figure = history.describe(), history.records[-1]["loss"]
        if self.score is not None:
            figure = self.score()
            line += f", validation score {figure:.4f}"
        with held_back():  # all or nothing of it is done
            super().on_epoch_end(network, history)
            if self.score is not None:
                self.scores.append(figure)
            larger = self.score is not None
            far = metrics.better(figure, self.best, larger, by=self.tol)
            self._waited = 0 if far else self._waited + 1
            if metrics.better(figure, self.best, larger):
                self.best = figure
                self._best_weights = weights_of(network) if larger else {}
        if self.say is not None:
            self.say(line)
        return self._waited > self.patience

    def on_divergence(self, network: Network, error: FloatingPointError) -> bool:
        return False

    def on_train_end(self, network: Network, history: History) -> None:
        super().on_train_end(network, history)
        put_back(network, self._best_weights)
