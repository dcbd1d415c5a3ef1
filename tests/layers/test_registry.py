"""Layers of one's own: which are registered, and what others know of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minihash import Network, fit
from minihash.callbacks import Callback
from minihash.hashing import xxhash32
from minihash.layers import Layer, Linear, ReLU, register
from minihash.layers.registry import LAYERS, registered

DATA = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3


class Noise(Layer):
    """Adds numbers drawn by the row's number, in training."""

    def __init__(self, dtype: Any = np.float32) -> None:
        super().__init__(dtype)
        self.row: int = 0

    def _forward(self, inputs: np.ndarray, training: bool) -> tuple[np.ndarray, Any]:
        if not training:
            return inputs.copy(), None
        rows = self.row + np.arange(len(inputs))[:, None]
        self.row += len(inputs)
        drawn = np.asarray(xxhash32(rows, np.arange(inputs.shape[1]), 7)) / 2**32
        return inputs + drawn.astype(inputs.dtype), None

    def _backward(self, saved: Any, grad_outputs: np.ndarray, need_grad_inputs: bool) -> np.ndarray:
        return grad_outputs


class Stop(Callback):
    observer = True

    def on_epoch_end(self, network: Any, history: Any) -> bool:
        if len(history) == 2:
            raise ConnectionError
        return False


def trained(**arguments: Any) -> Network:
    network = Network([Noise(), Linear(4, 3, seed=1)])
    fit(network, DATA, epochs=4, batch_size=16, progress=False, **arguments)
    return network


def test_what_a_layer_draws_goes_on_where_a_training_is_resumed(tmp_path: Path) -> None:
    whole = trained()
    with pytest.raises(ConnectionError):
        trained(checkpoint=tmp_path / "state", callbacks=[Stop()])
    resumed = trained(checkpoint=tmp_path / "state", resume=True)
    np.testing.assert_array_equal(resumed.params["1.weight"], whole.params["1.weight"])
    assert resumed.layers[0].row == whole.layers[0].row == 4 * 60


def test_a_name_belongs_to_one_class(monkeypatch: pytest.MonkeyPatch) -> None:
    def define() -> type[Layer]:
        class Own(Layer):
            pass

        return Own

    monkeypatch.delitem(LAYERS, "Own", raising=False)
    first, again = register(define()), register(define())  # a cell of a notebook, run again
    assert LAYERS["Own"] is again and registered(again()) and not registered(first())
    del LAYERS["Own"]
    with pytest.raises(ValueError, match="^a layer ReLU is registered already, wanted another name$"):
        register(type("ReLU", (Layer,), {}))
    assert LAYERS["ReLU"] is ReLU
