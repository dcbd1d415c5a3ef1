"""What the tests of the commands share: a way to run them, and a trained model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minihash import datasets
from minihash.cli import main
from minihash.kernels import threads

TINY = ("train", "--epochs", "1", "--hidden", "20")


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `minihash` with arguments: the exit status, what it printed, and what it said on stderr."""

    def run(*argv: Any) -> tuple[int, str, str]:
        capfd.readouterr()
        try:
            status = main([str(argument) for argument in argv])
        except SystemExit as stop:
            status = int(stop.code or 0)
        finally:
            threads.set_num_threads(None)
        return status, *capfd.readouterr()

    return run


@pytest.fixture
def fails(run: Callable[..., tuple[int, str, str]]) -> Callable[..., str]:
    """Run `minihash` with arguments that must fail, before any work; return its one line."""

    def fails(status: int, *argv: Any) -> str:
        found, out, err = run(*argv)
        assert (found, out) == (status, "")
        assert err.startswith("minihash") and ": error: " in err
        assert err.count("\n") == 1 and err.endswith("\n")
        return err

    return fails


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> datasets.Dataset:
    """What `datasets.load` returns: 500 rows of mnist-small to train on, 100 each to validate and to test."""

    def load(*argv: Any) -> datasets.Dataset:
        whole = original(*argv)
        parts = {
            name: tuple(array[:rows] for array in getattr(whole, name))
            for name, rows in (("train", 500), ("validation", 100), ("test", 100))
        }
        return replace(whole, **parts)

    original = datasets.load
    monkeypatch.setattr(datasets, "load", load)
    return load()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small network trained for an epoch on mnist-small."""
    path = tmp_path_factory.mktemp("cli") / "model.safetensors"
    assert main([*TINY, "--compression", "1/8", "--out", str(path)]) == 0
    return path
