"""Docstrings: their examples give what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import minihash

MODULES = [module.name for module in pkgutil.walk_packages(minihash.__path__, "minihash.")]
#: What a user meets first has an example.
SHOWN = (
    *("hashing", "maps", "layers.hashed_linear", "network"),
    *("losses.softmax", "optimizers", "schedules", "training.loop", "quantization", "gradient_check.check"),
)


def examples(name: str) -> list[doctest.DocTest]:
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    return [one for one in found if one.examples]


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith(("__main__", "numba_cuda"))])
def test_examples(name: str) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    said: list[str] = []
    for example in examples(name):
        runner.run(example, out=said.append)
    assert not runner.failures, "".join(said)


@pytest.mark.parametrize("name", SHOWN)
def test_there_is_an_example(name: str) -> None:
    assert examples(f"minihash.{name}")
