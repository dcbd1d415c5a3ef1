"""Callbacks that compare figures: which way is better, NaN among them, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minihash import evaluate, fit, losses, metrics, mlp
from minihash.callbacks import (
    EarlyStopping,
    GradientClipping,
    KeepLastGood,
    Log,
    PrintEpochs,
    ReduceOnPlateau,
)
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
    known = "loss, validation_loss, validation_error, validation_accuracy, validation_auc, "
    known += "validation_r2, validation_mae, validation_rmse"
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


# the learning rate falls


def told(callback: Any, *figures: float, network: Network | None = None, name: str = "loss") -> list[bool]:
    """Tell a callback of epochs with these figures; return when it stops."""
    network, history = mlp([2, 2]) if network is None else network, History()
    callback.on_train_begin(network)
    stops = []
    for epoch, figure in enumerate(figures, 1):
        history.records.append({"epoch": epoch, "loss": 0.5, name: figure})
        stops.append(callback.on_epoch_end(network, history))
    callback.on_train_end(network, history)
    return stops


def test_a_plateau_lowers_the_rate_of_the_training() -> None:
    """Epoch after epoch, and as a schedule with the same rates would."""
    figures, rates = (3.0, 4.0, 3.0, 3.0, 5.0, 2.0, 2.0, 2.0), (1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25)
    optimizer, network = SGD(1.0), mlp([2, 3, 2])
    callbacks = [Script("validation_loss", *figures), ReduceOnPlateau(optimizer, 0.5, 2)]
    history = fit(network, DATA, optimizer=optimizer, epochs=8, batch_size=4, callbacks=callbacks)
    assert history["learning_rate"] == list(rates) and optimizer.learning_rate == 0.125
    other, schedule = mlp([2, 3, 2]), lambda done: rates[round(8 * done)]
    fit(other, DATA, optimizer=SGD(9.0), schedule=schedule, epochs=8, batch_size=4)
    for name, array in network.params.items():
        np.testing.assert_array_equal(array, other.params[name])


@pytest.mark.parametrize("start, lowest, rate", [(1.0, 0.375, 0.375), (1.0, 0.0, 0.125), (0.25, 0.375, 0.25)])
def test_a_rate_is_not_made_smaller_than_the_lowest(start: float, lowest: float, rate: float) -> None:
    """Nor is one that is smaller from the beginning made larger."""
    optimizer = SGD(start)
    told(ReduceOnPlateau(optimizer, 0.5, 1, "loss", lowest), 1.0, 1.0, 1.0, 1.0)
    assert optimizer.learning_rate == rate


@pytest.mark.parametrize("epochs, rate", [(5, 1.0), (6, 0.1), (10, 0.1), (11, 0.01)])
def test_a_plateau_by_default(epochs: int, rate: float) -> None:
    optimizer = SGD(1.0)
    told(ReduceOnPlateau(optimizer), *[2.0] * epochs, name="validation_loss")
    assert optimizer.learning_rate == pytest.approx(rate)


def test_a_plateau_goes_on_and_begins_anew() -> None:
    optimizer = SGD(1.0)
    first, second = (ReduceOnPlateau(optimizer, 0.5, 3, "loss") for _ in range(2))
    told(first, 1.0, 2.0, 2.0)
    assert first.state() == {"best": 1.0, "since": 2} and second.state() == {"best": math.inf, "since": 0}
    second.restore(first.state())
    second.on_epoch_end(mlp([2, 2]), History([{"loss": 1.5}]))
    assert optimizer.learning_rate == 0.5 and second.state() == {"best": 1.0, "since": 0}
    told(first, 3.0, 4.0, 4.0)  # another training: 1.0 and the epochs since are forgotten
    assert first.state() == {"best": 3.0, "since": 2} and optimizer.learning_rate == 0.5
    told(first, NAN)
    assert first.state() == {"best": math.inf, "since": 1}


REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (ReduceOnPlateau, {"factor": 0}, "factor is 0, wanted"),
    (ReduceOnPlateau, {"factor": 1.5}, "factor is 1.5, wanted"),
    (ReduceOnPlateau, {"patience": 0}, "patience is 0, wanted"),
    (ReduceOnPlateau, {"lowest": -0.1}, "lowest is -0.1, wanted"),
    (ReduceOnPlateau, {"lowest": 2e6}, r"lowest is 2e\+06, wanted"),
]


@pytest.mark.parametrize("make, arguments, message", REFUSED)
def test_wrong_numbers_are_refused(make: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        make(SGD(), **arguments)


STATES: list[tuple[Any, dict[str, Any], str]] = [
    (ReduceOnPlateau(SGD()), {"best": NAN, "since": 0}, "best is nan"),
    (ReduceOnPlateau(SGD()), {"best": 1.0, "since": -1}, "since is -1"),
    (EarlyStopping(), {"best": 1.0, "best_epoch": -1}, "best_epoch is -1"),
    (EarlyStopping(), {"best": "1", "best_epoch": 1}, "best is '1'"),
    (KeepLastGood(), {"epochs": -1}, "epochs is -1"),
]


@pytest.mark.parametrize("callback, state, message", STATES)
def test_a_state_that_none_can_have_is_refused(callback: Any, state: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}, wanted"):
        callback.restore(state)


# stopping


@pytest.mark.parametrize("figures, stop", [([0.5] * 11, 11), ([0.5] * 3 + [0.4] + [0.5] * 10, 14)])
def test_early_stopping_by_default(figures: list[float], stop: int) -> None:
    network, stopping = mlp([2, 2]), EarlyStopping()
    stops = told(stopping, *figures, name="validation_error", network=network)
    assert stops.index(True) + 1 == stop and stops[:stop].count(True) == 1
    assert stopping.state().keys() == {"best", "best_epoch", "weights/0.weight", "weights/0.bias"}
    assert (stopping.best, stopping.best_epoch) == (min(figures), stop - 10)


def test_early_stopping_goes_on_with_the_best_weights() -> None:
    network, first, second = mlp([2, 2]), EarlyStopping(9, "loss"), EarlyStopping(9, "loss")
    told(first, 0.5, network=network)
    best = network.params["0.weight"].copy()
    network.params["0.weight"] += 1
    second.restore(first.state())
    assert (second.best, second.best_epoch) == (0.5, 1)
    second.on_train_end(network, History())
    np.testing.assert_array_equal(network.params["0.weight"], best)
    network.params["0.weight"] += 1
    told(second, NAN, network=network)  # another training: the epoch and its weights are forgotten
    assert second.best_epoch == 0 and (network.params["0.weight"] == best + 1).all()


# clipping


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("limit", [1e-3, 1.0, 12.9])
def test_gradients_are_clipped_together(limit: float, dtype: Any) -> None:
    network = mlp([3, 1, 1], dtype=dtype)
    grads = list(network.grads.values())
    for grad, value in zip(grads, (3.0, -4.0, 0.0, 12.0)):
        grad[...] = 0.0
        grad.flat[0] = value  # the norm of all is 13
    before = [grad.copy() for grad in grads]
    GradientClipping(limit).on_gradients(network)
    for grad, whole in zip(grads, before):
        np.testing.assert_allclose(grad, whole * (limit / 13), rtol=1e-6)
    for grad, whole in zip(grads, before):
        grad[...] = whole
    GradientClipping(13.0).on_gradients(network)
    assert all((grad == whole).all() for grad, whole in zip(grads, before))


def test_large_gradients_are_clipped_where_their_squares_overflow() -> None:
    network = mlp([1, 1])
    weight, bias = network.grads.values()
    weight[...], bias[...] = 3e30, 4e30
    GradientClipping(0.5).on_gradients(network)
    assert (weight.item(), bias.item()) == pytest.approx((0.3, 0.4), rel=1e-6)


def test_a_training_takes_clipped_steps() -> None:
    network = mlp([2, 2])
    before = network.params["0.weight"].copy()
    fit(network, DATA, optimizer=SGD(1.0), epochs=1, callbacks=[GradientClipping(1e-4)])
    steps = network.params["0.weight"] - before
    assert 0 < np.linalg.norm(steps) <= 1.001e-4


@pytest.mark.parametrize("limit", [0, -1.0, NAN, 2e30, "1"])
def test_a_limit_is_a_positive_number(limit: Any) -> None:
    with pytest.raises(ValueError, match="^limit is .*, wanted"):
        GradientClipping(limit)


# what only looks, and what is kept


@pytest.mark.parametrize(
    "options, epochs", [({}, [*range(1, 8)]), ({"every": 3}, [1, 3, 6]), ({"every": 9}, [1])]
)
def test_lines_of_epochs(options: dict[str, int], epochs: list[int]) -> None:
    lines: list[str] = []
    printing = PrintEpochs(say=lines.append, **options)  # type: ignore[arg-type]
    assert printing.observer and not any(told(printing, *[0.5] * 7))
    assert lines == [f"epoch {epoch}, loss 0.5000" for epoch in epochs]
    with pytest.raises(ValueError, match="^every is 0, wanted"):
        PrintEpochs(0)


def test_a_log_is_whole_after_every_epoch(tmp_path: Path) -> None:
    table, lines = Log(tmp_path / "log.csv"), Log(str(tmp_path / "log.jsonl"))
    assert table.observer and lines.observer
    assert told(table, 0.25, NAN, name="validation_auc") == told(lines, 0.25, NAN, name="validation_auc")
    text = "epoch,loss,validation_auc\n1,0.5,0.25\n2,0.5,\n"
    assert (tmp_path / "log.csv").read_text() == text
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert records == [
        {"epoch": 1, "loss": 0.5, "validation_auc": 0.25},
        {"epoch": 2, "loss": 0.5, "validation_auc": None},
    ]
    with pytest.raises(ValueError, match="^path's ending is '.txt', wanted one of '.csv', '.jsonl'$"):
        Log("log.txt")
    with pytest.raises(OSError):
        Log(tmp_path / "missing" / "log.csv").on_train_begin(mlp([2, 2]))


def test_the_last_good_weights_go_on() -> None:
    network, first, second = mlp([2, 2]), KeepLastGood(), KeepLastGood()
    assert not first.goes_on_after(KeyboardInterrupt()) and first.interrupt is None
    told(first, 0.5, 0.25, network=network)
    good = network.params["0.weight"].copy()
    stop = KeyboardInterrupt()
    assert not first.goes_on_after(ValueError()) and first.goes_on_after(stop)
    assert first.interrupt is stop and first.epochs == 2
    network.params["0.weight"] += 1
    second.restore(first.state())
    assert second.on_divergence(network, FloatingPointError("far"))
    np.testing.assert_array_equal(network.params["0.weight"], good)
    second.on_train_end(network, History([{"loss": 1.0}] * 3))
    assert second.epochs == 2 and str(second.divergence) == "far"
    second.restore({name: value for name, value in first.state().items() if name != "epochs"})
    second.on_train_end(network, History([{"loss": 1.0}] * 3))  # an older checkpoint: all epochs
    assert second.epochs == 3
    second.on_train_begin(network)
    assert second.epochs == 0 and second.divergence is None


# scores


def test_every_loss_and_score_is_known() -> None:
    scores = {name for loss in losses.LOSSES.values() for name in loss.scores}
    assert scores == metrics.SCORES.keys() - {"accuracy"}  # the error says the same


def test_a_score_that_nobody_measures_is_refused() -> None:
    class Scored(type(losses.softmax_cross_entropy)):  # type: ignore[misc]
        scores = ("r3",)

    refused = "^a score of the loss softmax_cross_entropy is 'r3', wanted one of 'error', 'accuracy', 'auc',"
    with pytest.raises(ValueError, match=refused):
        evaluate(mlp([2, 2]), DATA, loss=Scored())

    def mine(outputs: Any, targets: Any, sample_weight: Any = None) -> tuple[float, np.ndarray]:
        return 0.0, np.zeros_like(outputs)

    assert evaluate(mlp([2, 2]), DATA, loss=mine) == {"loss": 0.0}


def test_callbacks_before_any_training() -> None:
    stopping, kept = EarlyStopping(), KeepLastGood()
    assert stopping.state() == {"best": math.inf, "best_epoch": 0}
    assert kept.state() == {"epochs": 0} and (kept.epochs, kept.divergence, kept.interrupt) == (0, None, None)
    assert ReduceOnPlateau(SGD()).state() == {"best": math.inf, "since": 0}


@pytest.mark.parametrize(
    "callback, settings",
    [
        (EarlyStopping(), {"patience": 10, "monitor": "validation_error", "restore_best": True}),
        (EarlyStopping(2, "x", False, "max"), {"patience": 2, "monitor": "x", "restore_best": False}),
        (ReduceOnPlateau(SGD()), {"patience": 5, "monitor": "validation_loss", "factor": 0.1, "lowest": 0.0}),
        (GradientClipping(2.5), {"limit": 2.5}),
    ],
)
def test_what_a_resumed_training_must_have_too(callback: Any, settings: dict[str, Any]) -> None:
    mode = {"mode": "max"} if callback.settings().get("monitor") == "x" else {}
    assert callback.settings() == settings | mode


def test_best_weights_are_not_put_back_unless_wanted() -> None:
    network, stopping = mlp([2, 2]), EarlyStopping(9, "loss", restore_best=False)
    told(stopping, 0.5, network=network)
    assert stopping.state().keys() == {"best", "best_epoch"}


def test_states_of_long_trainings_and_of_interrupted_ones() -> None:
    stopping, reduce = EarlyStopping(), ReduceOnPlateau(SGD(), patience=2000)
    stopping.restore({"best": 0.5, "best_epoch": 1000})
    reduce.restore({"best": 0.5, "since": 1000})
    assert (stopping.best_epoch, reduce.since) == (1000, 1000)
    network, kept = mlp([2, 2]), KeepLastGood()
    kept.on_train_begin(network)
    before = network.params["0.weight"].copy()
    network.params["0.weight"] += 1
    kept.on_interrupt(network, History())
    np.testing.assert_array_equal(network.params["0.weight"], before)
    kept.restore({"epochs": 1000})
    assert kept.state() == {"epochs": 1000}


@pytest.mark.parametrize(
    "callback, name",
    [(EarlyStopping(), "best_epoch"), (ReduceOnPlateau(SGD()), "since"), (KeepLastGood(), "epochs")],
)
def test_which_numbers_of_epochs_are_restored(callback: Any, name: str) -> None:
    for epochs in (0, 2**62 - 1):
        callback.restore({"best": 0.5, name: epochs})
        assert callback.state()[name] == epochs
    for epochs in (-1, 2**62):
        with pytest.raises(ValueError, match=f"^{name} is {epochs}, wanted"):
            callback.restore({"best": 0.5, name: epochs})


def test_the_largest_of_the_lowest_rates() -> None:
    assert ReduceOnPlateau(SGD(), lowest=1e6).lowest == 1e6
    with pytest.raises(ValueError, match=r"^lowest is 1e\+06, wanted"):
        ReduceOnPlateau(SGD(), lowest=1e6 + 0.5)


def test_what_only_looks_stops_nothing(tmp_path: Path) -> None:
    kept = KeepLastGood()
    for callback in (kept, Log(tmp_path / "log.csv"), PrintEpochs(say=lambda line: None)):
        assert told(callback, 0.5, 0.5) == [False, False]
    kept.on_train_begin(mlp([2, 2]))
    assert kept.state()["epochs"] == 0


@pytest.mark.parametrize("limit", [1e30, 50.0, 5.0])
def test_small_gradients_are_not_made_larger(limit: float) -> None:
    network = mlp([1, 1])
    weight, bias = network.grads.values()
    weight[...], bias[...] = 3.0, 4.0
    GradientClipping(limit).on_gradients(network)
    assert (weight.item(), bias.item()) == (3.0, 4.0)


@pytest.mark.parametrize("make, name", [(PrintEpochs, "every"), (EarlyStopping, "patience")])
def test_the_longest_waits(make: Any, name: str) -> None:
    assert getattr(make(2**31 - 1), name) == 2**31 - 1
    for epochs in (0, 2**31):
        with pytest.raises(ValueError, match=f"^{name} is {epochs}, wanted"):
            make(epochs)


def test_a_negative_figure_is_restored() -> None:
    stopping = EarlyStopping(3, "validation_r2")
    stopping.restore({"best": -5.0, "best_epoch": 2})
    assert stopping.best == -5.0 and stopping.is_better(-4.0) and not stopping.is_better(-6.0)
