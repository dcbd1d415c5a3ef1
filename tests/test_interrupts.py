"""Ctrl-C without a checkpoint: what was finished is kept, and never half a step."""

from __future__ import annotations

import os
import signal
from collections.abc import Sized
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minihash import fit, mlp
from minihash.callbacks import EarlyStopping, KeepLastGood
from minihash.network import Network
from minihash.optimizers import Adam
from minihash.terminal import TERMINATIONS
from minihash.training import Callback, History
from minihash.training import Interrupted as Stopped
from minihash.training.checkpoint import Checkpoint
from minihash.training.interrupts import held_back

pytestmark = pytest.mark.usefixtures("heard")
STEPS = 4  # of an epoch


class Interrupted(Adam):
    """Ctrl-C comes when half of the arrays have moved, in step `at`, from 0."""

    def __init__(self, at: int) -> None:
        super().__init__(0.05)
        self.at = at

    def step(self, params: Any, grads: Any) -> None:
        if self.steps < self.at:
            super().step(params, grads)
            return
        for array in list(params.values())[::2]:
            array += 1
        raise KeyboardInterrupt


def train(optimizer: Adam, *callbacks: Callback, epochs: int = 6) -> tuple[Network, History]:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(64, 4)), rng.integers(0, 3, 64)
    network, keep = mlp([4, 8, 3], compression=1 / 2, seed=1), KeepLastGood()
    options: dict[str, Any] = {"epochs": epochs, "batch_size": 64 // STEPS, "optimizer": optimizer}
    try:
        fit(network, data, (data[0], data[1][::-1]), callbacks=[keep, *callbacks], **options)
    except KeyboardInterrupt:
        assert isinstance(optimizer, Interrupted)
    return network, keep.history


def same(one: Network, other: Network) -> bool:
    return all((array == other.params[name]).all() for name, array in one.params.items())


@pytest.mark.parametrize("at", [0, 1, STEPS - 1, STEPS, 3 * STEPS, 4 * STEPS + 2])
def test_the_network_is_as_of_the_last_finished_epoch(at: int) -> None:
    network, history = train(Interrupted(at))
    finished = at // STEPS
    assert len(history) == finished
    if not finished:
        assert same(network, mlp([4, 8, 3], compression=1 / 2, seed=1))
        return
    expected, shorter = train(Adam(0.05), epochs=finished)
    assert same(network, expected) and history["loss"] == shorter["loss"]


def test_the_best_weights_win() -> None:
    stopping = EarlyStopping(50, "validation_loss")
    network, history = train(Interrupted(5 * STEPS + 1), stopping)
    assert 0 < stopping.best_epoch < len(history) == 5  # whose labels are others: it becomes worse soon
    expected, _ = train(Adam(0.05), epochs=stopping.best_epoch)
    assert same(network, expected)


def test_a_record_without_its_weights_is_not_kept() -> None:
    """Ctrl-C between the record of an epoch and the copy of its weights."""

    class Stop(Callback):
        def on_epoch_end(self, network: Network, history: History) -> bool:
            if len(history) == 3:
                raise KeyboardInterrupt
            return False

    network, keep = mlp([2, 2]), KeepLastGood()
    with pytest.raises(KeyboardInterrupt):
        fit(network, (np.ones((8, 2)), np.zeros(8, int)), callbacks=[Stop(), keep], epochs=5)
    assert keep.epochs == len(keep.history) == 2


def test_ctrl_c_while_weights_are_put_back_waits() -> None:
    class Late(Callback):
        seen: list[str] = []

        def on_train_end(self, network: Network, history: History) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            self.seen.append("put back")

    late = Late()
    with pytest.raises(KeyboardInterrupt):
        fit(mlp([2, 2]), (np.ones((8, 2)), np.zeros(8, int)), callbacks=[late], epochs=1)
    assert late.seen == ["put back"]


@pytest.mark.parametrize(
    "event, place, where",
    [
        ("on_gradients", (1, 1), "in epoch 1, step 1 of 2"),
        ("on_epoch_end", (3, 0), "in epoch 3, step 0 of 2"),
        ("on_train_end", (3, 0), ""),
    ],
)
def test_a_signal_stops_where_there_is_a_checkpoint(
    event: str, place: tuple[int, int], where: str, tmp_path: Path
) -> None:
    class Closed(Callback):
        """The terminal is closed."""

    def close(network: Network, history: Sized = (1, 2)) -> bool:
        if len(history) == 2:
            os.kill(os.getpid(), TERMINATIONS[-1])
        return False

    closed = Closed()
    setattr(closed, event, close)
    data, epochs = (np.ones((8, 2)), np.zeros(8, int)), 3 if where else 2
    with pytest.raises(Stopped, match=f"^stopped ?{where}; .* has the state to resume$") as stopped:
        fit(mlp([2, 2]), data, callbacks=[closed], batch_size=4, epochs=epochs, checkpoint=tmp_path)
    assert stopped.value.signal == TERMINATIONS[-1]
    with Checkpoint(tmp_path) as saved:
        state = saved.read()
    assert state is not None and (state.progress["epoch"], state.progress["step"]) == place
    assert Stopped(0, "by another rank").signal == signal.SIGTERM


def test_a_signal_that_waited_finds_the_handler_of_before() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with held_back():
            os.kill(os.getpid(), signal.SIGTERM)
            assert not seen
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
