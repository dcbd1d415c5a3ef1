"""A data set so small that a network of any method is trained on it in no time."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from benchmarks.paper import data, runs
from benchmarks.paper.__main__ import paper_parser
from minihash.datasets import Dataset


def make_part(rows, seed):
    """Digits of 3 classes that differ in their brightest pixels, 20 features."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, rows)
    inputs = rng.integers(0, 90, (rows, 20))
    inputs[np.arange(rows), labels * 5] += 150
    return inputs.astype(np.uint8), labels


@pytest.fixture
def tiny(monkeypatch):
    """The data set, which `data.load` returns whatever it is asked for; hidden layers have 12 units."""
    parts = make_part(150, 1), make_part(50, 2), make_part(100, 3)
    dataset = Dataset("tiny", *parts, input_scale=1 / 255, class_names=("a", "b", "c"))
    monkeypatch.setattr(data, "load", lambda *arguments, **named: dataset)
    monkeypatch.setattr(runs, "UNITS", 12)
    monkeypatch.setattr(runs, "STORED_UNITS", 4)
    return dataset


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    """`run` and `fails` are of `python -m benchmarks.paper` here."""
    return paper_parser()
