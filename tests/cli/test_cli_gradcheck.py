"""`minihash gradcheck`."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import Fails, Run

from minihash import Dropout, HashedLinear, Linear, Network, Tanh, save
from minihash.gradient_check import check_gradients
from minihash.kernels import panels
from minihash.persistence import load
from minihash.testing import randomize


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a network with dropout, for pixels."""
    layers = [Dropout(0.2), HashedLinear(6, 5, num_buckets=7), Tanh(), Linear(5, 3)]
    save(randomize(Network(layers, input_scale=1 / 255, input_shift=30), 1), tmp_path / "model")
    return tmp_path / "model"


def test_right_gradients(path: Path, run: Run) -> None:
    status, out, err = run("gradcheck", path)
    assert (status, err) == (0, "")
    assert out.startswith("gradient check: ok\n")
    names = ["inputs", "1.weight", "3.weight", "3.bias"]
    assert [line.split()[0] for line in out.splitlines()[3:]] == names + names  # float64, then float32
    assert "  4x6 " in out and all(line.endswith(" ok") for line in out.splitlines()[3:])


def test_options_reach_the_check(path: Path, run: Run) -> None:
    argv = ["gradcheck", path, "--rows", 2, "--max-coordinates", 4, "--directions", 3, "--seed", 5]
    status, out, _ = run(*argv)
    network = load(path)
    inputs = np.random.default_rng(5).normal(size=(2, 6)) / network.input_scale + network.input_shift
    report = check_gradients(network, inputs, max_coordinates=4, directions=3, seed=5)
    assert (status, out) == (0, f"{report}\n") and "3 directions" in out and "  2x6 " in out
    assert run(*argv)[1] == out != run(*argv[:-1], 6)[1]


def test_a_trained_model(model: Path, run: Run) -> None:
    status, out, err = run("gradcheck", model)
    assert (status, err) == (0, "") and out.startswith("gradient check: ok\n")
    assert "8 directions" in out and "every place" in out


def test_wrong_gradients(path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    right = panels.gradients

    def wrong(*arguments: Any) -> None:
        right(*arguments)
        grad_weight = arguments[4]
        grad_weight *= 1.001

    monkeypatch.setattr(panels, "gradients", wrong)
    status, out, err = run("gradcheck", path)
    assert (status, err) == (1, "")
    assert out.startswith("gradient check: 7 wrong\n")
    assert "diagnosis: 1.weight: all 7 wrong buckets are 1.001 times what they should be" in out
    assert out.count("\n    shared by ") == 7


@pytest.mark.parametrize("ending, magic", [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_plot(path: Path, run: Run, ending: str, magic: bytes) -> None:
    picture = path.with_name(f"errors.{ending}")
    status, out, err = run("gradcheck", path, "--plot", picture)
    assert (status, err) == (0, "") and out.endswith(f"drew {picture}\n")
    assert picture.read_bytes().startswith(magic)


def test_wrong_gradients_are_drawn_too(path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tanh, "_backward", lambda self, saved, grad, need: np.full_like(grad, np.nan))
    picture = path.with_name("errors.png")
    status, out, _ = run("gradcheck", path, "--plot", picture)
    assert status == 1 and "claimed nan" in out and picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "argv",
    [
        ["--rows", "0"],
        ["--rows", "-3"],
        ["--rows", "many"],
        ["--max-coordinates", "-1"],
        ["--directions", "0"],
        ["--seed", "-1"],
        ["--seed", str(2**32)],
        ["--plot"],
        ["another"],
    ],
    ids=" ".join,
)
def test_wrong_usage(argv: list[str], path: Path, fails: Fails) -> None:
    line = fails(2, "gradcheck", path, *argv)
    assert argv[0] in line


def test_wrong_files(path: Path, tmp_path: Path, fails: Fails) -> None:
    fails(2, "gradcheck")
    assert "No such file" in fails(1, "gradcheck", tmp_path / "none")
    (tmp_path / "damaged").write_bytes(path.read_bytes()[:-1])
    assert "damaged: not a safetensors file" in fails(1, "gradcheck", tmp_path / "damaged")
    # Told before the work.
    assert "wanted png, svg or pdf" in fails(1, "gradcheck", path, "--plot", tmp_path / "errors.txt")
    assert str(tmp_path / "no") in fails(1, "gradcheck", path, "--plot", tmp_path / "no" / "errors.png")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["damaged", "model"]


def test_a_plot_without_matplotlib(path: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return original(name, *arguments, **keywords)

    original = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", without)
    picture = path.with_name("errors.png")
    assert "plots need matplotlib: pip install" in fails(1, "gradcheck", path, "--plot", picture)
    assert not picture.exists()


def test_an_input_that_the_network_does_not_use(tmp_path: Path, run: Run) -> None:
    network = Network([Linear(3, 2)], input_scale=[1.0, 0.0, 2.0])  # a constant feature, scaled away
    save(randomize(network, 1), tmp_path / "model")
    status, out, err = run("gradcheck", tmp_path / "model")
    assert (status, err) == (0, "") and out.startswith("gradient check: ok\n")
