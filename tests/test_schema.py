"""What a network knows of its task and its data, who notes it, and who asks."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from minihash import load, mlp, save
from minihash.datasets.files import open_dataset
from minihash.network import Network
from minihash.schema import LOSSES, Schema

INPUTS = np.random.default_rng(0).normal(size=(40, 2))
YES = (INPUTS[:, 0] > 0).astype(int)
LAYOUT = {"columns": 3, "target": 1, "header": True, "feature_names": ("a", "b"), "standardized": True}


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
        open_dataset(tmp_path / "a.npz", task="multilabel")


@pytest.mark.parametrize("task", LOSSES)
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
