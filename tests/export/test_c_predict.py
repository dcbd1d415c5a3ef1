"""Exported C predicts what Python predicts: real digits, drawn architectures, two compilers, sanitizers."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_tools import HARNESS, SANITIZERS, WARNINGS, Library, close, networks, predict_with, require, run
from hypothesis import assume, given

from minihash import Network, mlp, testing
from minihash.export import to_c
from minihash.layers import HashedLinear, Linear, ReLU, Sigmoid, Tanh
from minihash.quantization import quantize

pytestmark = pytest.mark.slow  # needs compilers

EVERY_LAYER = [
    HashedLinear(20, 40, num_buckets=100, seed=1),
    ReLU(),
    HashedLinear(40, 30, num_buckets=90, seed=2, bias="free"),
    Tanh(),
    Linear(30, 20, bias=False, seed=3),
    Sigmoid(),
    HashedLinear(20, 25, num_buckets=75, bias="none", seed=4),
    ReLU(),
    HashedLinear(25, 15, num_buckets=60, signed=False, seed=5),
    ReLU(),
    HashedLinear(15, 12, num_buckets=20, tile=6, seed=7),  # products of four tiles are shared
    Tanh(),
    HashedLinear(12, 14, num_buckets=60, tile=4, seed=8),  # fifteen tiles: more than units
    ReLU(),
    Linear(14, 10, seed=6),
]


def test_digits(trained: Network, exported: Path, images: np.ndarray) -> None:
    library = Library(exported, trained)
    wanted = trained.predict(images)
    assert library.selftest() == 0
    assert close(library.predict(images), wanted)
    assert library.classify(images) == wanted.argmax(axis=1).tolist()


def test_large_untrained_network(images: np.ndarray, tmp_path: Path) -> None:
    network = mlp([784, 1000, 10], compression=1 / 64, input_scale=1 / 255, input_shift=3.0)
    to_c(network, tmp_path)
    assert close(Library(tmp_path, network, "-O2").predict(images[:100]), network.predict(images[:100]))


def test_weights_beyond_16_bits(tmp_path: Path) -> None:
    network = mlp([300, 300, 3], num_buckets=[70_000, 500])
    to_c(network, tmp_path)
    inputs = np.random.default_rng(0).normal(size=(5, 300))
    assert "uint32_t index_t" in (tmp_path / "model.c").read_text()
    assert close(Library(tmp_path, network).predict(inputs), network.predict(inputs))


@given(network=networks(), seed=testing.seeds())
def test_drawn_networks(network: Network, seed: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        report = to_c(network, name)
        inputs = np.random.default_rng(seed).normal(size=(4, report.inputs))
        library = Library(Path(name), network)
        wanted = network.predict(inputs)
        found = library.predict(inputs)
        assert close(found, wanted)
        for x, out in zip(inputs, found):
            streamed, asked = library.predict_stream(x)
            assert np.array_equal(streamed, out) and sorted(asked) == list(range(report.inputs))
            promised = "in this order" in Path(name, "model.h").read_text()
            assert asked == sorted(asked) or not promised
        assert library.selftest() == 0


@pytest.mark.parametrize("bits", [8, 4])
@given(network=networks(), seed=testing.seeds())
def test_drawn_networks_quantised(bits: int, network: Network, seed: int) -> None:
    """C agrees with what minihash predicts from the same codes."""
    assume(any(isinstance(layer, HashedLinear) for layer in network.layers))
    small = quantize(network, bits)
    with tempfile.TemporaryDirectory() as name:
        report = to_c(network, name, weights=f"int{bits}")
        inputs = np.random.default_rng(seed).normal(size=(4, report.inputs))
        library = Library(Path(name), small)
        wanted, found = small.predict(inputs), library.predict(inputs)
        assert close(found, wanted)
        for x, out in zip(inputs, found):
            assert np.array_equal(library.predict_stream(x)[0], out)
        assert library.selftest() == 0


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_digits_quantised(trained: Network, weights: str, images: np.ndarray, tmp_path: Path) -> None:
    small = quantize(trained, {"int8": 8, "int4": 4}[weights])
    codes = [layer.params["codes"] for layer in small.layers if layer.params]
    saved = to_c(trained, tmp_path).flash - to_c(small, tmp_path).flash
    assert saved == trained.nbytes - sum(array.nbytes for array in codes)
    library, wanted = Library(tmp_path, small), small.predict(images)
    assert close(library.predict(images), wanted)
    assert library.classify(images) == wanted.argmax(axis=1).tolist()


@pytest.mark.parametrize("optimized", ["-O0", "-O3"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("training", [False, True])
def test_compilers_have_no_complaint(compiler: str, optimized: str, training: bool, tmp_path: Path) -> None:
    require(compiler)
    to_c(Network(EVERY_LAYER), tmp_path, training=training)
    sources = [tmp_path / name for name in ("model.c", "model_selftest.c", "main.c")]
    for momentum in ("", "-DMODEL_MOMENTUM")[: 1 + training]:
        flags = [*WARNINGS, optimized, *filter(None, [momentum])]
        run(compiler, *flags, "-o", tmp_path / "main", *sources, "-lm")
    for weights in ("int8", "int4") if not training else ():
        to_c(Network(EVERY_LAYER), tmp_path, weights=weights)
        run(compiler, *WARNINGS, optimized, "-o", tmp_path / "main", *sources, "-lm")
        run(tmp_path / "main", stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_sanitizers(compiler: str, tmp_path: Path) -> None:
    require(compiler)
    network = Network(EVERY_LAYER, input_scale=np.linspace(1, 2, 20))
    to_c(network, tmp_path)
    sources = [HARNESS / "predict.c", tmp_path / "model.c", tmp_path / "model_selftest.c"]
    run(compiler, *WARNINGS, *SANITIZERS, f"-I{tmp_path}", "-o", tmp_path / "predict", *sources, "-lm")
    inputs = np.random.default_rng(0).normal(size=(10, 20)).astype(np.float32)
    assert close(predict_with([tmp_path / "predict"], inputs, 10), network.predict(inputs))


@pytest.mark.parametrize("bias", ["hashed", "free"])
def test_more_inputs_of_a_segment_than_wait_for_each_other(bias: str, tmp_path: Path) -> None:
    """Up to 24 share a hash: here are 60 in a segment, all, some and none of them 0."""
    layer = HashedLinear(119, 5, num_buckets=400, tile=60, seed=3, bias=bias)
    network = Network([layer, ReLU(), Linear(5, 3)])
    to_c(network, tmp_path)
    library = Library(tmp_path, network, "-fsanitize=undefined", "-fno-sanitize-recover=all")
    inputs = np.random.default_rng(0).normal(size=(40, 119))
    inputs *= np.random.default_rng(1).random(inputs.shape) < np.linspace(0, 1, 40)[:, None]
    assert close(library.predict(inputs), network.predict(inputs))
    assert close(library.predict(inputs[::-1]), network.predict(inputs[::-1]))  # nothing stays behind


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_sanitizers_of_quantised_weights(compiler: str, bits: int, tmp_path: Path) -> None:
    """The last of an odd number of codes among them."""
    require(compiler)
    network = quantize(mlp([20, 9, 3], num_buckets=[51, 7], bias="free"), bits)
    to_c(network, tmp_path)
    program = tmp_path / "predict"
    sources = [HARNESS / "predict.c", tmp_path / "model.c", tmp_path / "model_selftest.c"]
    run(compiler, *WARNINGS, *SANITIZERS, f"-I{tmp_path}", "-o", program, *sources, "-lm")
    inputs = np.random.default_rng(0).normal(size=(10, 20))
    assert close(predict_with([program], inputs, 3), network.predict(inputs))


@pytest.mark.parametrize("scale", [1e-5, 1.0])
def test_the_self_test_notices_a_changed_weight_of_any_size(scale: float, tmp_path: Path) -> None:
    network = mlp([8, 6, 3], compression=0.5, seed=1)
    for array in network.params.values():
        array *= np.float32(scale)
    for folder in (tmp_path / "right", tmp_path / "wrong"):
        to_c(network, folder)
    assert Library(tmp_path / "right", network).selftest() == 0
    path = tmp_path / "wrong" / "model.c"
    text = path.read_text()
    first = re.search(r"layer1_weight_values.*\{\n\s+(\S+),", text)
    assert first
    path.write_text(text.replace(first[1], "0.0f"))
    assert Library(tmp_path / "wrong", network).selftest() != 0


@pytest.mark.parametrize("scale, shift", [(5.0, 3e6), ([1e-3, 4.0], [20.0, 3e6])])
def test_the_self_test_notices_a_change_of_scaled_outputs(scale: Any, shift: Any, tmp_path: Path) -> None:
    """A quarter of a spread, beside a shift that float32 can just hold."""
    network = mlp([6, 5, 2], num_buckets=8, output_scale=scale, output_shift=shift)
    moved = network.output_shift + 0.25 * network.output_scale
    to_c(network, tmp_path)
    to_c(Network(network.layers, output_scale=scale, output_shift=moved), tmp_path / "moved")
    assert Library(tmp_path, network).selftest() == 0
    shutil.copy(tmp_path / "model_selftest.c", tmp_path / "moved")
    assert Library(tmp_path / "moved", network).selftest() == 1


def test_the_self_test_notices_a_changed_weight(tmp_path: Path) -> None:
    network = Network([HashedLinear(5, 4, num_buckets=3, seed=1)])
    to_c(network, tmp_path)
    path = tmp_path / "model.c"
    number = f"{network.params['0.weight'][0]!s}f"
    assert number in path.read_text()
    path.write_text(path.read_text().replace(number, "9.0f"))
    assert Library(tmp_path, network).selftest() == 1
