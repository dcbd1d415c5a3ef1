"""`benchmarks.speed`: what they print and write, without measuring for long."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import Run
from strict_card import StrictCard

from benchmarks.speed import breakdown, cases, gpu_cases
from benchmarks.speed.timing import Ratio, Samples
from minihash.kernels import devices, numpy_cpu
from minihash.layers import HashedLinear

pytestmark = pytest.mark.slow  # measures


def test_samples_compare_sides_round_by_round() -> None:
    calls: list[str] = []
    samples = Samples({name: lambda name=name: calls.append(name) for name in "ab"}, budget=0, sample=1e-6)
    assert calls[0] == "a" and {len(values) for values in samples.seconds.values()} == {7}
    samples.seconds = {"a": [1.0, 4.0, 3.0], "b": [2.0, 2.0, 2.0]}
    assert samples.ratio("a", "b") == Ratio(1.5, 1.0, 1.75, 3.0, 2.0, 3)


@pytest.mark.parametrize("tile", [1, 30])
def test_the_parts_of_a_step(tile: int) -> None:
    layer = HashedLinear(300, 200, compression=1 / 8, tile=tile)
    assert not layer.matrix.shares  # products of panels have these parts
    inputs, grad_outputs = np.ones((50, 300), np.float32), np.ones((50, 200), np.float32)
    step = cases.layer_step(layer, inputs, grad_outputs)
    parts = breakdown.breakdown(step, budget=0)
    assert list(parts) == ["products", "hash", "gather", "scatter"] and parts["products"] > 0
    step()
    wanted = layer.grads["weight"].copy()
    layer.grads["weight"][...] = 0
    step()  # all kernels work again
    np.testing.assert_array_equal(layer.grads["weight"], wanted)


def test_a_wrong_layer_is_not_timed() -> None:
    class Wrong(HashedLinear):
        def _backward(self, *arguments):
            grad_inputs = super()._backward(*arguments)
            self.grads["weight"][3] *= 1.5
            return grad_inputs

    layer = Wrong(20, 10, num_buckets=10)
    inputs, grad_outputs = np.random.default_rng(0).normal(size=(2, 4, 20)).astype(np.float32)
    with pytest.raises(AssertionError):
        cases.check_layer(layer, inputs, grad_outputs[:, :10].copy())


def test_the_cases_of_a_card(monkeypatch) -> None:
    card = StrictCard(numpy_cpu)
    monkeypatch.setattr(devices, "get", lambda name, deterministic=False: card)
    results = list(gpu_cases.layer_case(40, 3, 0))
    sides = [result.side for result in results]
    assert sides[:3] == ["element", "tiles", "element, deterministic"]
    assert all(result.base == "CuPy dense" and result.ratio.ratio > 0 for result in results)
    assert card.waited >= 4 * 2 + 4 * 7  # every step is waited for


def test_list(run: Run) -> None:
    status, out, err = run("--list")
    assert (status, err) == (0, "") and {"square-128", "small", "memory"} <= set(out.split())
    assert run("--device", "cuda", "--list")[1].split() == list(gpu_cases.SHAPES)


def test_figures_are_printed_written_and_drawn(run: Run, tmp_path: Path, monkeypatch) -> None:
    def case(budget):
        ratio = Ratio(0.9, 0.8, 1.0, 9e-3, 1e-2, 7)
        yield cases.Result("a case", "element", "dense", 2, ratio, 1.0, {"products": 1.0, "hash": 2.0})
        yield cases.Result("a case", "tiles", "dense", 2, ratio, 0.5)

    monkeypatch.setattr(cases, "all_cases", lambda: {"one": case})
    lines, picture = tmp_path / "figures.jsonl", tmp_path / "figures.svg"
    status, out, err = run("one", "--out", lines, "--plot", picture)
    assert (status, err) == (0, "")
    assert "0.9 (0.8 … 1)" in out and "1.00, 2.00" in out and " met" in out and "missed" in out
    first, second = map(json.loads, lines.read_text().splitlines())
    assert first["ratio"]["ratio"] == 0.9 and second["side"] == "tiles"
    assert {"processor", "cores", "versions", "date"} <= first["machine"].keys()
    assert picture.read_bytes().startswith(b"<?xml")


def test_wrong_arguments(run: Run, tmp_path: Path) -> None:
    status, _, err = run("fastest")
    assert status == 1 and err.startswith("python -m benchmarks.speed: error: CASE is 'fastest', wanted")
    status, _, err = run("small", "--out", tmp_path / "none" / "x.jsonl")
    assert status == 1 and err.count("\n") == 1


def test_without_pytorch(run: Run, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    status, _, err = run("small")
    wanted = "python -m benchmarks.speed: error: bench compares with PyTorch: pip install torch\n"
    assert (status, err) == (1, wanted)


def test_two_outputs_of_one_name(fails: Callable[..., str], tmp_path: Path) -> None:
    new = tmp_path / "new"
    assert "is to be written twice" in fails(1, "--out", new, "--plot", new)
