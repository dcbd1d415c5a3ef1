"""What all tests share: the Hypothesis profile, the number of threads left as it was, commands."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from minihash import datasets, testing, virtual_matrix
from minihash.cli import main
from minihash.kernels import panels, threads
from minihash.terminal import TERMINATIONS

testing.load_profile(os.environ.get("MINIHASH_PROFILE", "dev"))


@pytest.fixture
def set_num_threads():
    """`threads.set_num_threads`, undone after the test."""
    yield threads.set_num_threads
    threads.set_num_threads(None)


@pytest.fixture
def heard() -> Iterator[None]:
    """SIGINT and SIGHUP interrupt, though a job in the background ignores the one, under nohup the other."""
    before = {one: signal.signal(one, signal.default_int_handler) for one in (signal.SIGINT, *TERMINATIONS)}
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


@pytest.fixture
def share_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share products wherever there are fewer tiles than rows, however small they are."""
    monkeypatch.setattr(panels, "SMALL_WORK", 0)
    monkeypatch.setattr(virtual_matrix, "ADDITION", 0)


@pytest.fixture
def parser() -> argparse.ArgumentParser | None:
    """The parser of `run`: None for that of `minihash`."""
    return None


@pytest.fixture
def run(
    capfd: pytest.CaptureFixture[str], parser: argparse.ArgumentParser | None
) -> Callable[..., tuple[int, str, str]]:
    """Run a command with arguments: the exit status, what it printed, and what it said on stderr."""

    def run(*argv: Any) -> tuple[int, str, str]:
        capfd.readouterr()
        try:
            status = main([str(argument) for argument in argv], parser)
        except SystemExit as stop:
            status = int(stop.code or 0)
        finally:
            threads.set_num_threads(None)
        return status, *capfd.readouterr()

    return run


@pytest.fixture
def fails(run: Callable[..., tuple[int, str, str]]) -> Callable[..., str]:
    """Run a command with arguments that must fail, before any work; return its one line."""

    def fails(status: int, *argv: Any) -> str:
        found, out, err = run(*argv)
        assert (found, out) == (status, "")
        assert err.startswith(("minihash", "python -m benchmarks.")) and ": error: " in err
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
