"""What a network knows of its task and its data, who notes it, and who asks."""

from __future__ import annotations

import functools
import pickle

import numpy as np
import pytest

from minihash import evaluate, fit, load, losses, mlp, save
from minihash.datasets.file_dataset import read_table
from minihash.network import Network
from minihash.optimizers import SGD
from minihash.quantization import fine_tune
from minihash.schema import Schema
from minihash.tasks import LOSS_OF_TASK

INPUTS = np.random.default_rng(0).normal(size=(40, 2))
YES = (INPUTS[:, 0] > 0).astype(int)
LABELS = (INPUTS > 0).astype(int)  # several a row
LAYOUT = {"columns": 3, "target": 1, "header": True, "feature_names": ("a", "b"), "standardized": True}
fit = functools.partial(fit, epochs=1, progress=False)


# ------------------------------------------------------------------------------------------------ schemas


def test_names_of_features_are_no_word() -> None:
    with pytest.raises(ValueError, match="feature_names is 'abcd', wanted a name for each feature"):
        Schema("regression", feature_names="abcd")
    assert Schema("regression", feature_names=["ab", "cd"]).feature_names == ("ab", "cd")


@pytest.mark.parametrize("task, outputs, wanted", [("binary", 2, "one"), ("multilabel", 1, "several")])
def test_a_task_wants_its_outputs(task: str, outputs: int, wanted: str) -> None:
    message = f"task is '{task}' and the network has {outputs} outputs, wanted {wanted}"
    with pytest.raises(ValueError, match=f"^{message}$"):
        mlp([2, outputs]).schema = Schema(task)


def test_rows_of_a_file_have_one_target(tmp_path) -> None:
    np.savez(tmp_path / "a.npz", inputs=INPUTS, labels=YES)
    with pytest.raises(ValueError, match="task is 'multilabel', wanted "):
        read_table(tmp_path / "a.npz", task="multilabel")


@pytest.mark.parametrize("task", LOSS_OF_TASK)
def test_a_file_of_a_model_has_it_all(task: str, tmp_path) -> None:
    network = mlp([2, 1 if task == "binary" else 3])
    network.schema = Schema(task, **LAYOUT)
    save(network, tmp_path / "model.safetensors")
    assert load(tmp_path / "model.safetensors").schema == network.schema


def test_pickles_of_older_networks_have_no_schema() -> None:
    """Those that were pickled before there were schemas lack attributes that newer ones get when made."""
    network = mlp([2, 5, 3], compression=0.5, class_names="abc")
    state = {name: value for name, value in vars(network).items() if name not in ("_schema", "_widest")}
    old = Network.__new__(Network)
    vars(old).update(state)
    again = pickle.loads(pickle.dumps(old))
    assert again.schema is None and again.task == "classification"
    assert (again.predict(INPUTS) == network.predict(INPUTS)).all()


# ------------------------------------------------------------------------------------------------- fit


@pytest.mark.parametrize("loss, outputs, task", [
    ("softmax_cross_entropy", 3, "classification"),
    ("binary_cross_entropy", 1, "binary"),
    ("binary_cross_entropy", 3, "multilabel"),
    ("mean_squared_error", 1, "regression"),
])
def test_a_network_knows_what_it_was_trained_for(loss: str, outputs: int, task: str) -> None:
    targets = np.zeros(8, int) if loss == "softmax_cross_entropy" else np.zeros((8, outputs))
    network, rows = mlp([2, outputs]), (np.ones((8, 2)), targets)
    assert network.task is None
    fit(network, rows, loss=loss)
    assert network.task == task
    # Nobody need say it again.
    twin = network.with_layers([layer.copy() for layer in network.layers])
    assert evaluate(network, rows) == evaluate(network, rows, loss=loss)
    fit(network, rows)
    fit(twin, rows, loss=loss)
    assert network.task == task and (network.predict(INPUTS) == twin.predict(INPUTS)).all()


def test_distillation_is_for_classes() -> None:
    network = mlp([2, 2])
    loss = functools.partial(losses.distillation, temperature=2.0)
    fit(network, (INPUTS, losses.distillation_targets(YES, np.zeros((40, 2)))), loss=loss)
    assert network.task == "classification"
    assert evaluate(network, (INPUTS, YES)).keys() == {"loss", "error"}


def test_another_loss_is_another_task() -> None:
    network = mlp([2, 1])
    network.schema = Schema("regression", **LAYOUT)
    fit(network, (INPUTS, YES))
    assert network.schema == Schema("regression", **LAYOUT)
    fit(network, (INPUTS, YES), loss="binary_cross_entropy")
    assert network.schema == Schema("binary", **LAYOUT)
    assert evaluate(network, (INPUTS, YES)).keys() == {"loss", "error", "auc"}
    # To measure with another loss is no training.
    assert evaluate(network, (INPUTS, YES), loss="mean_squared_error").keys() == {
        *("loss", "r2", "mae", "rmse")
    }
    assert network.task == "binary"


def test_a_loss_of_ones_own_changes_no_task() -> None:
    network = mlp([2, 1], compression=0.5)
    for known in (None, Schema("binary")):
        network.schema = known
        fit(network, (INPUTS, YES), loss=lambda outputs, targets: losses.mean_squared_error(outputs, targets))
        assert network.schema is known


@pytest.mark.parametrize("outputs, loss, wanted", [
    (2, "mean_squared_error", "softmax_cross_entropy"),
    (1, "mean_squared_error", "binary_cross_entropy"),
    (1, "softmax_cross_entropy", "binary_cross_entropy"),
])
def test_names_of_classes_contradict_a_loss(outputs: int, loss: str, wanted: str) -> None:
    network = mlp([2, outputs], class_names=["no", "yes"])
    before = network.params["0.weight"].copy()
    with pytest.raises(ValueError, match=f"loss is '{loss}' and the network has names .*, wanted '{wanted}'"):
        fit(network, (INPUTS, np.zeros((40, outputs))), loss=loss)
    assert network.schema is None and (network.params["0.weight"] == before).all()


@pytest.mark.parametrize("outputs, task", [(1, "binary"), (2, "classification")])
def test_names_of_classes_agree_with_the_loss_of_their_task(outputs: int, task: str) -> None:
    network = mlp([2, outputs], class_names=["no", "yes"])
    fit(network, (INPUTS, YES), loss=LOSS_OF_TASK[task])
    assert network.task == task


def test_names_may_be_those_of_labels() -> None:
    network = mlp([2, 2], class_names=["left", "right"])
    assert network.task == "classification"
    fit(network, (INPUTS, LABELS), loss="binary_cross_entropy")
    assert network.task == "multilabel"


def test_a_fine_tune_has_the_loss_of_the_task() -> None:
    network = mlp([2, 8, 1], compression=0.5)
    fit(network, (INPUTS, YES), loss="binary_cross_entropy")
    small, history = fine_tune(network, (INPUTS, YES), (INPUTS, YES), epochs=2, progress=False)
    assert small.task == "binary" and "validation_auc" in history.records[-1]

    class Broken(SGD):
        def step(self, params, grads) -> None:
            raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        fine_tune(network, (INPUTS, YES), loss="mean_squared_error", optimizer=Broken())
    assert network.task == "binary"
