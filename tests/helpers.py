"""What several files of tests use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minihash import mlp
from minihash.datasets.inputs import Inputs
from minihash.layers import Linear
from minihash.network import Network

Run = Callable[..., tuple[int, str, str]]  # the fixture `run`: status, stdout and stderr of a command
Fails = Callable[..., str]  # the fixture `fails`: the one line of a command that fails


def integers(shape: Any, dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    """Whole numbers, so that sums are exact in any order."""
    return np.random.default_rng(seed).integers(-6, 7, shape).astype(dtype)


def rows_of(count: int, features: int = 3, seed: int = 0) -> np.ndarray:
    """Rows that are all different: the target, the first, is the row's number."""
    rows = np.random.default_rng(seed).normal(size=(count, 1 + features)).astype(np.float32)
    rows[:, 0] = np.arange(count)
    return rows


def inputs_of(path: Any, features: int, **options: Any) -> np.ndarray:
    """All rows of a file, as a network of so many inputs is given them."""
    rows = Inputs(path, mlp([features, 1]), **options)
    return np.concatenate([chunk.inputs.copy() for chunk in rows])


def with_nan() -> Network:
    """A network whose weights are not finite."""
    layer = Linear(2, 2)
    layer.weight = np.full((2, 2), np.nan)
    return Network([layer])
