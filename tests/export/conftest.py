"""Networks that several tests of exported C use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minihash import datasets, fit, mlp
from minihash.export import to_c
from minihash.network import Network
from minihash.optimizers import Adam


@pytest.fixture(scope="session")
def digits() -> datasets.Dataset:
    return datasets.load("mnist-small")


@pytest.fixture(scope="session")
def trained(digits: datasets.Dataset) -> Network:
    """784-24-10 at 1/8, trained for two epochs: small enough for a simulated chip."""
    network = mlp([784, 24, 10], compression=1 / 8, input_scale=1 / 255)
    fit(network, digits.train, epochs=2, optimizer=Adam(0.003), seed=0)
    return network


@pytest.fixture(scope="session")
def exported(trained: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its C."""
    folder = tmp_path_factory.mktemp("c")
    to_c(trained, folder)
    return folder


@pytest.fixture(scope="session")
def images(digits: datasets.Dataset) -> np.ndarray:
    """A thousand test digits, raw."""
    return digits.test[0][:1000].astype(np.float32)
