"""What the tests of the commands share: a trained model."""

from __future__ import annotations

from pathlib import Path

import pytest

from minihash.cli import main

TINY = ("train", "--epochs", "1", "--hidden", "20")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small network trained for an epoch on mnist-small."""
    path = tmp_path_factory.mktemp("cli") / "model.safetensors"
    assert main([*TINY, "--compression", "1/8", "--out", str(path)]) == 0
    return path
