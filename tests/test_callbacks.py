"""Callbacks that compare figures: which way is better, NaN among them, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from minihash import evaluate, fit, losses, metrics, mlp
from minihash.callbacks import EarlyStopping, ReduceOnPlateau
from minihash.network import Network
from minihash.optimizers import SGD
from minihash.training import Callback, History

NAN = float("nan")
DATA = np.ones((4, 2)), np.array([0, 1, 0, 1])


class Script(Callback):
    """Writes a figure into the history, epoch after epoch, and keeps the weights."""

    def __init__(self, name: str, *figures: float) -> None:
        self._name, self._figures, self._weights = name, figures, []  # type: ignore[var-annotated]

    def on_epoch_end(self, network: Network, history: History) -> bool:
        history.records[-1][self._name] = self._figures[len(history) - 1]
        self._weights.append(network.params["0.weight"].copy())
        return False


def stopped(monitor: str, figures: tuple[float, ...], patience: int = 9, **options: Any) -> Any:
    """Early stopping after a training; `kept` is the epoch whose weights the network has."""
    network, script = mlp([2, 3, 2]), Script(monitor, *figures)
    stopping: Any = EarlyStopping(patience, monitor, **options)
    history = fit(network, DATA, epochs=len(figures), batch_size=2, callbacks=[script, stopping])
    same = [np.array_equal(weights, network.params["0.weight"]) for weights in script._weights]
    stopping.kept, stopping.epochs = same.index(True) + 1, len(history)
    return stopping


FIGURES = (0.5, 0.25, 0.75, 0.5)
DIRECTIONS = {
    "loss": 2,
    "validation_loss": 2,
    "validation_error": 2,
    "validation_accuracy": 3,
    "validation_auc": 3,
    "validation_r2": 3,
}


@pytest.mark.parametrize("monitor, best", DIRECTIONS.items())
def test_early_stopping_knows_what_is_better(monitor: str, best: int) -> None:
    stopping = stopped(monitor, FIGURES)
    assert (stopping.best_epoch, stopping.kept, stopping.best) == (best, best, FIGURES[best - 1])


@pytest.mark.parametrize("mode, best", [("min", 2), ("max", 3)])
@pytest.mark.parametrize("monitor", ["validation_loss", "profit"])
def test_a_mode_says_it(monitor: str, mode: str, best: int) -> None:
    stopping = stopped(monitor, FIGURES, mode=mode)
    assert (stopping.best_epoch, stopping.kept) == (best, best)


@pytest.mark.parametrize("monitor, best", DIRECTIONS.items())
def test_a_plateau_too(monitor: str, best: int) -> None:
    optimizer = SGD(1.0)
    reduce = ReduceOnPlateau(optimizer, 0.5, 2, monitor)
    figures = (0.5, 0.25, 0.25, 0.25, 0.75, 0.75, 0.75)  # smaller: one plateau, and it is worse then
    fit(mlp([2, 2]), DATA, optimizer=optimizer, epochs=7, callbacks=[Script(monitor, *figures), reduce])
    assert reduce.best == (0.25 if best == 2 else 0.75)
    assert optimizer.learning_rate == 0.25
    epochs = (0.5, 0.6, 0.7, 0.8)
    optimizer.learning_rate = 1.0
    fit(mlp([2, 2]), DATA, optimizer=optimizer, epochs=4, callbacks=[Script(monitor, *epochs), reduce])
    assert optimizer.learning_rate == (0.5 if best == 2 else 1.0)


@pytest.mark.parametrize("name", ["profit", "seconds", "learning_rate", "validation_eror", "auc2"])
@pytest.mark.parametrize("make", [EarlyStopping, lambda *given: ReduceOnPlateau(SGD(), 0.1, *given)])
def test_an_unknown_direction_is_refused(name: str, make: Any) -> None:
    known = "loss, validation_loss, validation_error, validation_accuracy, validation_auc, validation_r2"
    message = f"^monitor is '{name}', wanted mode='min' or 'max' with it, or one of {known}$"
    with pytest.raises(ValueError, match=message):
        make(3, name)
    with pytest.raises(ValueError, match="^mode is 'large', wanted one of 'min', 'max'$"):
        EarlyStopping(3, name, mode="large")


# NaN


@pytest.mark.parametrize("monitor, best", [("validation_auc", 4), ("validation_loss", 2)])
def test_nan_is_never_better(monitor: str, best: int) -> None:
    stopping = stopped(monitor, (NAN, 0.25, NAN, 0.5, NAN, NAN))
    assert (stopping.best_epoch, stopping.kept, stopping.epochs) == (best, best, 6)


def test_epochs_with_nan_count() -> None:
    assert stopped("validation_auc", (0.5, NAN, NAN, 0.75), patience=2).epochs == 3
    assert stopped("validation_auc", (0.5, NAN, 0.75, NAN), patience=2).best_epoch == 3


@pytest.mark.parametrize("monitor, best", [("validation_auc", -math.inf), ("validation_r2", -math.inf)])
def test_without_any_number_the_last_weights_stay(monitor: str, best: float) -> None:
    stopping = stopped(monitor, (NAN,) * 9, patience=4)
    assert (stopping.epochs, stopping.kept, stopping.best_epoch, stopping.best) == (4, 4, 0, best)


@pytest.mark.parametrize("value", [NAN, math.inf, -math.inf])
def test_a_plateau_of_nan(value: float) -> None:
    optimizer = SGD(1.0)
    reduce = ReduceOnPlateau(optimizer, 0.5, 2, "validation_auc")
    script = Script("validation_auc", value, value, 0.5, value, value, 0.6)
    fit(mlp([2, 2]), DATA, optimizer=optimizer, epochs=6, callbacks=[script, reduce])
    assert optimizer.learning_rate == 0.25 and reduce.best == 0.6


def test_what_was_kept_before_there_was_a_direction() -> None:
    """A state with infinity for "none yet", as all figures were better the smaller then."""
    stopping = EarlyStopping(3, "validation_auc")
    stopping.restore({"best": math.inf, "best_epoch": 0})
    assert stopping.is_better(0.1)


# scores


def test_every_loss_and_score_is_known() -> None:
    scores = {name for loss in losses.LOSSES.values() for name in loss.scores}
    assert scores == metrics.SCORES.keys() and {"loss", *scores} <= metrics.LARGER_IS_BETTER.keys()


def test_a_score_that_nobody_measures_is_refused() -> None:
    class Scored(type(losses.softmax_cross_entropy)):  # type: ignore[misc]
        scores = ("r3",)

    with pytest.raises(ValueError, match="^score is 'r3', wanted one of 'error', 'auc', 'r2'"):
        evaluate(mlp([2, 2]), DATA, loss=Scored())

    def mine(outputs: Any, targets: Any, sample_weight: Any = None) -> tuple[float, np.ndarray]:
        return 0.0, np.zeros_like(outputs)

    assert evaluate(mlp([2, 2]), DATA, loss=mine) == {"loss": 0.0}
