"""What took long to make is kept: where a checkpoint fails, where signals come twice, where settings fail."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import Run

from minihash import Network, persistence
from minihash.cli import train
from minihash.persistence import load
from minihash.training import Callback, History
from minihash.training.checkpoint import Checkpoint

TRAIN = ("train", "--hidden", "4", "--compression", "1", "--epochs", "5", "--batch-size", "8")


class SignalAt(Callback):
    """Sends SIGINT in a step of epoch 3, or at the end of epoch 2; remembers the weights of epoch 2."""

    observer = True

    def __init__(self, within: bool) -> None:
        self.within, self.epochs, self.weights = within, 0, b""

    def on_gradients(self, network: Network) -> None:
        if self.within and self.epochs == 2:
            self.epochs = -1
            signal.raise_signal(signal.SIGINT)

    def on_epoch_end(self, network: Network, history: History) -> bool:
        self.epochs = len(history)
        if self.epochs == 2:
            self.weights = weights_of(network)
            if not self.within:
                signal.raise_signal(signal.SIGINT)
        return False


def weights_of(network: Network) -> bytes:
    return b"".join(array.tobytes() for array in network.params.values())


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    numbers = np.random.default_rng(0).normal(size=(60, 4))
    np.savetxt(tmp_path / "rows.csv", np.column_stack([numbers[:, 0] > 0, numbers]), delimiter=",")
    return tmp_path / "rows.csv"


def full(*arguments: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "state")


@pytest.mark.filterwarnings("ignore:state. No space")
@pytest.mark.parametrize("within", [False, True], ids=["between epochs", "within an epoch"])
def test_a_signal_and_no_room_for_the_checkpoint(
    within: bool, rows: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, out = SignalAt(within), tmp_path / "model"
    monkeypatch.setattr(train, "_callbacks", lambda *arguments: [at])
    monkeypatch.setattr(Checkpoint, "write", full)
    status, said, err = run(*TRAIN, rows, "--out", out, "--checkpoint", tmp_path / "state")
    assert status == 1 and err.endswith("minihash: error: state: No space left on device\n")
    assert f"saved {out} as of epoch 2 of 5\n" in said and weights_of(load(out)) == at.weights


def test_a_signal_and_a_checkpoint_that_has_the_state(
    rows: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command goes on: there is no half trained network in the place of a trained one."""
    monkeypatch.setattr(train, "_callbacks", lambda *arguments: [SignalAt(True)])
    argv = (*TRAIN, rows, "--out", tmp_path / "model", "--checkpoint", tmp_path / "state")
    status, said, _ = run(*argv)
    assert status == 130 and "saved" not in said and not (tmp_path / "model").exists()
    monkeypatch.undo()
    assert run(*argv, "--resume")[0] == 0
    whole = load(tmp_path / "model")
    assert run(*TRAIN, rows, "--out", tmp_path / "other")[0] == 0
    assert weights_of(whole) == weights_of(load(tmp_path / "other"))


def test_data_that_go_away_do_not_take_the_network_along(
    rows: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away(Callback):
        def on_epoch_end(self, network: Network, history: History) -> bool:
            return len(history) == 3 and full()  # type: ignore[func-returns-value]

    monkeypatch.setattr(train, "_callbacks", lambda *arguments: [Away()])
    status, said, err = run(*TRAIN, rows, "--out", tmp_path / "model")
    assert (status, err) == (1, "minihash: error: state: No space left on device\n")
    assert f"saved {tmp_path / 'model'} as of epoch 3 of 5\n" in said
    load(tmp_path / "model")


@pytest.mark.parametrize("command", ["train", "quantize"])
def test_a_signal_during_the_save_waits(
    command: str, rows: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out, write = tmp_path / "model", tmp_path / "out", persistence.write_or_keep
    argv: tuple[Any, ...] = (*TRAIN, rows, "--out", out)
    if command == "quantize":
        assert run(*TRAIN, rows, "--out", model)[0] == 0
        argv = ("quantize", model, rows, "--out", out)

    def interrupted(*arguments: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        write(*arguments)

    monkeypatch.setattr(persistence, "write_or_keep", interrupted)
    status, said, err = run(*argv)
    assert (status, err) == (130, "minihash: interrupted\n") and f"saved {out}\n" in said
    load(out)
    assert command == "quantize" or (tmp_path / "out.settings.json").exists()


@pytest.mark.filterwarnings("default")
def test_settings_that_cannot_be_written_are_a_warning(
    rows: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "write_settings", full)
    status, said, err = run(*TRAIN, rows, "--out", tmp_path / "model")
    what = "the network is saved without its settings"
    assert (status, err) == (0, f"minihash: warning: state: No space left on device; {what}\n")
    assert f"saved {tmp_path / 'model'}\n" in said and "test error" in said
    load(tmp_path / "model")
