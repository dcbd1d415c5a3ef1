"""What `to_c` writes and refuses to write, and the sizes that it states."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_tools import require, run
from helpers import with_nan

from minihash import Network, mlp
from minihash.export import to_c
from minihash.export.c.text import number
from minihash.layers import HashedLinear, Linear, ReLU, Tanh
from minihash.quantization import quantize


class Other(Linear):
    """A layer that C export cannot know."""


@pytest.fixture
def network() -> Network:
    return mlp([8, 6, 3], compression=0.5, seed=1)


@pytest.mark.parametrize(
    "arguments, found",
    [
        ({"network": None}, "network is None, wanted a Network"),
        (
            {"network": Network([Linear(2, 2, dtype="complex128")])},
            "network has dtype complex128, wanted float32, or float64 to round",
        ),
        ({"network": Network([Linear(2, 2), Other(2, 2)])}, r"layers\[1\] is a Other, wanted layers that C"),
        ({"network": Network([ReLU(), Tanh()])}, "network has no layer with weights"),
        ({"network": with_nan()}, "0.weight has NaN or infinity"),
        ({"name": "two words"}, "name is 'two words', wanted a C identifier"),
        ({"name": "_x"}, "name is '_x', wanted a C identifier"),
        ({"name": "main"}, "name is 'main'"),
        ({"name": "math"}, "name is 'math', wanted one that no header and no self-test has"),
        ({"name": "model_selftest"}, "name is 'model_selftest', wanted one that no header"),
        ({"weights": "int2"}, "weights is 'int2', wanted one of 'float32', 'int8', 'int4'"),
        ({"weights": "int8", "training": True}, "training is True and the weights are quantised"),
        ({"network": mlp([3, 2]), "weights": "int8"}, "network has no hashed layer of floats"),
        (
            {"network": quantize(mlp([3, 2], num_buckets=2)), "weights": "int4"},
            "weights is 'int4' and the network is quantised",
        ),
        (
            {"network": quantize(mlp([3, 2], num_buckets=2)), "weights": "float32"},
            "weights is 'float32' and the network is quantised",
        ),
        (
            {"network": mlp([3, 2], output_scale=2), "training": True},
            "training has the loss of a classifier, and the network is for regression",
        ),
        (
            {"network": mlp([3, 1], output_shift=1.7e9, output_scale=10)},
            "output_shift of output 0 is 1.7e.09 with a spread of 10, wanted 8 steps of float32",
        ),
        ({"training": 1}, "training is 1, wanted True or False"),
    ],
)
def test_refusals_write_nothing(
    arguments: dict[str, Any], found: str, network: Network, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=found):
        to_c(**{"network": network, "directory": tmp_path / "c", **arguments})
    assert not (tmp_path / "c").exists()


def test_only_own_files_are_replaced(network: Network, tmp_path: Path) -> None:
    to_c(network, tmp_path)
    to_c(network, tmp_path, name="other")  # main.c and the Makefile are replaced
    assert '"other.h"' in (tmp_path / "main.c").read_text()
    (tmp_path / "main.c").write_text("int main(void) { return 0; }\n")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="main.c is not from minihash export and would be replaced"):
        to_c(network, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_nothing_is_written_by_half(network: Network, tmp_path: Path) -> None:
    (tmp_path / "model_selftest.c").mkdir()
    with pytest.raises(IsADirectoryError):
        to_c(network, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model_selftest.c"]


@pytest.mark.parametrize("count", range(5))
def test_old_files_stay_together_when_the_disk_is_full(
    network: Network, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_c(network, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    calls, fsync = [], os.fsync

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > count:
            raise OSError(errno.ENOSPC, "no space left")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        to_c(mlp([8, 5, 3], compression=0.5, seed=2), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_files_are_ascii_and_the_same_each_time(network: Network, tmp_path: Path) -> None:
    report = to_c(network, tmp_path / "a", training=True)
    to_c(network, tmp_path / "b", training=True)
    assert report.files == ("model.h", "model.c", "model_selftest.c", "main.c", "Makefile")
    for name in report.files:
        content = (tmp_path / "a" / name).read_bytes()
        assert content.isascii() and content.endswith(b"\n") and b"\n\n\n" not in content
        assert content == (tmp_path / "b" / name).read_bytes()
        assert max(map(len, content.splitlines())) <= 110


@pytest.mark.parametrize("value", [0.1, -0.0, 1e-45, 3.4028235e38, 16777216, 1 / 3])
def test_numbers_read_back(value: float) -> None:
    text = number(value)
    assert text.endswith("f") and set(text) & {".", "e"}
    assert np.float32(text[:-1]).tobytes() == np.float32(value).tobytes()


def test_report(tmp_path: Path) -> None:
    layers = [HashedLinear(784, 100, num_buckets=1000, seed=1), ReLU(), Linear(100, 10)]
    report = to_c(Network(layers), tmp_path)
    assert report.flash == 4 * (1000 + 1000 + 10)
    assert report.ram == 4 * (100 + 10)  # the first layer's units, and the outputs of `classify`
    assert (report.multiply_adds, report.additions, report.hashes) == (784 * 100 + 100 * 10, 0, 785 * 100)
    assert (report.inputs, report.outputs) == (784, 10)
    header = (tmp_path / "model.h").read_text()
    assert all(line.rstrip() in header for line in str(report).splitlines())


def test_report_of_tiles(tmp_path: Path) -> None:
    """13 tiles of 99 for 8 segments of inputs; of the other layer as many tiles as rows, of 10 for 10."""
    network = Network([
        HashedLinear(784, 100, num_buckets=1280, tile=99, seed=1),
        ReLU(),
        HashedLinear(100, 10, num_buckets=100, tile=10, seed=2),
    ])
    report = to_c(network, tmp_path)
    entries = 2 * 785 + 101  # two bytes and one for a column's place and sign
    assert report.flash == 4 * (1280 + 100) + entries
    assert report.ram == 4 * (13 * 8 + 10) + 24 * (4 + 1) + 1 + 2  # products, outputs, inputs that wait
    assert report.multiply_adds == 784 * 13 + 100 * 10
    assert (report.additions, report.hashes) == (100 * 8, 100 * 8 + 10 * 11)
    assert "in this order" in (tmp_path / "model.h").read_text()


@pytest.mark.parametrize("tile, order", [(1, True), (4, True), (8, False)])
def test_segments_that_come_as_they_lie_are_announced(tile: int, order: bool, tmp_path: Path) -> None:
    """Where a unit's weights of a segment follow each other, so must the inputs."""
    to_c(Network([HashedLinear(20, 6, num_buckets=56 if tile == 8 else 20, tile=tile)]), tmp_path)
    assert ("in this order" in (tmp_path / "model.h").read_text()) == order


def test_layers_of_shared_products_keep_those_alone(tmp_path: Path) -> None:
    layers = [HashedLinear(784, 300, num_buckets=588, tile=196), ReLU()]
    layers.append(HashedLinear(300, 10, num_buckets=150, tile=75, seed=1))
    report = to_c(Network(layers), tmp_path)
    assert report.ram == 4 * (3 * 5 + 2 * 5 + 10)  # tiles · segments of each, and the outputs of `classify`


def test_every_other_layer_is_kept(tmp_path: Path) -> None:
    network = mlp([20, 100, 200, 30, 40, 10], compression=0.5)
    assert to_c(network, tmp_path).ram == 4 * (100 + 30 + 10)


def test_the_statics_are_what_the_report_says(tmp_path: Path) -> None:
    require("gcc", "size")
    report = to_c(mlp([20, 100, 200, 30, 10], compression=0.5), tmp_path)
    run("gcc", "-std=c99", "-Os", "-c", "-o", tmp_path / "model.o", tmp_path / "model.c")
    _, data, bss = map(int, run("size", tmp_path / "model.o").splitlines()[1].split()[:3])
    assert report.ram <= data + bss < report.ram + 64  # arrays are aligned


def test_float64_is_rounded(tmp_path: Path) -> None:
    """As `Network.astype` does, and the report and the header say so."""
    network = mlp([8, 6, 3], compression=0.5, seed=1, input_shift=0.25, dtype="float64")
    report = to_c(network, tmp_path / "rounded")
    to_c(network.astype("float32"), tmp_path / "float32")
    assert "numbers: float32, rounded from float64" in str(report)
    assert "rounded from float64" in (tmp_path / "rounded" / "model.h").read_text()
    for name in ("model.c", "model_selftest.c", "main.c"):
        first, second = ((tmp_path / folder / name).read_bytes() for folder in ("rounded", "float32"))
        assert first == second
    to_c(network, tmp_path / "small", weights="int4")


def test_what_float32_cannot_hold_is_not_rounded(tmp_path: Path) -> None:
    network = Network([Linear(2, 2, dtype="float64")])
    network.layers[0].params["bias"][0] = 1e300
    with pytest.raises(ValueError, match="0.bias has NaN or infinity, wanted .* finite in float32"):
        to_c(network, tmp_path / "c")
    assert not (tmp_path / "c").exists()
