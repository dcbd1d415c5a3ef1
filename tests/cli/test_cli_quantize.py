"""`minihash quantize`, and a budget of bytes: what they print, write and refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import Run

from minihash import QuantizedHashedLinear, load, mlp, quantization, save
from minihash.integers import is_whole


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    names = [str(digit) for digit in range(10)]
    save(mlp([784, 12, 10], compression=1 / 8, input_scale=1 / 255, class_names=names), path)
    return path


@pytest.mark.parametrize("bits", ["8", "4"])
def test_rounding(run: Run, model: Path, tmp_path: Path, bits: str) -> None:
    out = tmp_path / "small.safetensors"
    status, said, err = run("quantize", str(model), "--bits", bits, "--out", str(out))
    small = load(out)
    assert (status, err) == (0, "") and said.count("test error") == 2
    assert f"{bits} bits: {small.nbytes:,} bytes" in said and f"saved {out}" in said
    assert {layer.bits for layer in small.layers if isinstance(layer, QuantizedHashedLinear)} == {int(bits)}
    status, said, err = run("inspect", str(out))
    assert (status, err) == (0, "") and f"bits={bits}" in said and f"{small.nbytes:,}" in said


def test_fine_tune(run: Run, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.safetensors"
    for options in ([], ["--final"]):
        status, said, _ = run("quantize", str(model), "--epochs", "1", *options, "--out", str(out))
        errors = [float(line.split()[-2]) for line in said.splitlines() if "test error" in line]
        assert status == 0 and errors[1] < errors[0] - 5  # from untrained weights


@pytest.mark.parametrize("bits", [8, 4])
def test_tiles_are_rounded(run: Run, tmp_path: Path, bits: int) -> None:
    model, out = tmp_path / "tiles.safetensors", tmp_path / "small.safetensors"
    network = mlp([784, 30, 10], compression=1 / 8, tile=[23, 1], input_scale=1 / 255)
    save(network, model)
    assert run("quantize", str(model), "--bits", str(bits), "--out", str(out))[0] == 0
    small = load(out)
    for layer, given in zip(small.layers[::2], network.layers[::2]):
        assert (type(layer), layer.tile) == (QuantizedHashedLinear, given.tile)
        given.weight = quantization.quantized(given.weight, layer.params["scale"][0], bits)
    inputs = np.random.default_rng(0).integers(0, 256, (20, 784))
    assert np.abs(small.predict(inputs) - network.predict(inputs)).max() < 1e-5


def test_a_model_of_other_data_is_rounded_and_not_measured(run: Run, tmp_path: Path) -> None:
    model, out = tmp_path / "other.safetensors", tmp_path / "small.safetensors"
    save(mlp([20, 5, 3], compression=1 / 2), model)
    status, said, err = run("quantize", str(model), "--out", str(out))
    assert (status, err) == (0, "") and "error" not in said and out.exists()
    status, _, err = run("quantize", str(model), "--epochs", "1", "--out", str(out))
    assert status == 1 and "has 20 inputs and 3 outputs, wanted 784 and 10 for mnist-small" in err


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda path: save(mlp([3, 2]), path), "network has no hashed layer of floats"),
        (
            lambda path: save(quantization.quantize(mlp([3, 2], num_buckets=4)), path),
            "network has no hashed layer of floats",
        ),
        (lambda path: None, "No such file"),
        (lambda path: path.write_text("x"), "not a safetensors file"),
    ],
    ids=["dense", "quantised", "missing", "damaged"],
)
def test_refusals_are_one_line_and_write_nothing(
    run: Run, make: Callable, message: str, tmp_path: Path
) -> None:
    model, out = tmp_path / "model.safetensors", tmp_path / "small.safetensors"
    make(model)
    status, said, err = run("quantize", str(model), "--out", str(out))
    assert status == 1 and str(model) in err and message in err and err.count("\n") == 1
    assert not out.exists()


def test_an_unwritable_place_is_refused_first(run: Run, model: Path, tmp_path: Path) -> None:
    status, _, err = run("quantize", str(model), "--out", str(tmp_path / "no" / "small.safetensors"))
    assert status == 1 and "there is no such folder" in err


def test_training_within_a_budget_of_bytes(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "model.safetensors"
    settings = ["--hidden", "16", "--epochs", "1", "--memory-bytes", "4000"]
    status, said, _ = run("train", *settings, "--out", str(out))
    assert status == 0 and 3_900 < load(out).nbytes <= 4_000 and "stored: 3,99" in said
    status, _, err = run("train", "--memory-bytes", "3", "--epochs", "1")
    assert status == 1 and "memory_bytes is 3, wanted 8 <=" in err


@pytest.mark.parametrize("epochs", ["0", "1"])
def test_integers(run: Run, model: Path, tmp_path: Path, epochs: str) -> None:
    out = tmp_path / "whole.safetensors"
    options = ["--integers", "--bits", "4", "--epochs", epochs, "--out", str(out)]
    status, said, err = run("quantize", str(model), *options)
    whole = load(out)
    assert (status, err) == (0, "") and is_whole(whole.layers)
    assert f"4 bits, integers: {whole.nbytes:,} bytes, test error" in said
    before, after = (float(line.split()[-2]) for line in said.splitlines() if "test error" in line)
    assert abs(before - after) < 5 if epochs == "0" else after < before - 5
    status, said, _ = run("evaluate", str(out))
    assert status == 0 and f"test error: {after:.2f} %" in said


def test_integers_of_other_data_are_refused(run: Run, tmp_path: Path) -> None:
    model = tmp_path / "other.safetensors"
    save(mlp([20, 5, 3], compression=1 / 2), model)
    status, _, err = run("quantize", str(model), "--integers", "--out", str(tmp_path / "small.safetensors"))
    assert status == 1 and "has 20 inputs and 3 outputs, wanted 784 and 10 for" in err
    assert not (tmp_path / "small.safetensors").exists()
