"""What a network knows of its task and its data, who notes it, and who asks."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from minihash import mlp
from minihash.network import Network
from minihash.schema import Schema

INPUTS = np.random.default_rng(0).normal(size=(40, 2))


def test_names_of_features_are_no_word() -> None:
    with pytest.raises(ValueError, match="feature_names is 'abcd', wanted a name for each feature"):
        Schema("regression", feature_names="abcd")
    assert Schema("regression", feature_names=["ab", "cd"]).feature_names == ("ab", "cd")


def test_pickles_of_older_networks_have_no_schema() -> None:
    """Those that were pickled before there were schemas lack attributes that newer ones get when made."""
    network = mlp([2, 5, 3], compression=0.5, class_names="abc")
    state = {name: value for name, value in vars(network).items() if name not in ("_schema", "_widest")}
    old = Network.__new__(Network)
    vars(old).update(state)
    again = pickle.loads(pickle.dumps(old))
    assert again.schema is None and again.task == "classification"
    assert (again.predict(INPUTS) == network.predict(INPUTS)).all()
