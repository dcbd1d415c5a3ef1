"""save and load: what comes back, that a file is whole or not there, and that a bad one is a ValueError."""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save as serialize

from benchmarks.paper.low_rank_linear import LowRankLinear
from benchmarks.paper.sparse_linear import SparseLinear
from minihash import (
    Dropout,
    HashedLinear,
    Linear,
    Network,
    ReLU,
    Sigmoid,
    Tanh,
    layers,
    mlp,
)
from minihash.hashing import layer_seed
from minihash.maps import BucketMap
from minihash.persistence import LAYERS, load, save

Tensors = dict[str, np.ndarray]
Description = dict[str, Any]


def read(path: Path) -> tuple[Description, Tensors]:
    """The architecture and the tensors of a file, by safetensors alone."""
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["minihash"]), {name: file.get_tensor(name) for name in file.keys()}


def write(path: Path, description: Description | str, tensors: Tensors) -> None:
    text = description if isinstance(description, str) else json.dumps(description)
    path.write_bytes(serialize(tensors, {"minihash": text}))


def assert_equal_networks(actual: Network, expected: Network) -> None:
    assert [type(layer) for layer in actual.layers] == [type(layer) for layer in expected.layers]
    assert [layer.config() for layer in actual.layers] == [layer.config() for layer in expected.layers]
    assert actual.params.keys() == expected.params.keys() == actual.grads.keys()
    for name, array in expected.params.items():
        np.testing.assert_array_equal(actual.params[name], array, strict=True)
        assert actual.params[name].flags.writeable and actual.grads[name].shape == array.shape
    for name in ("input_scale", "input_shift"):
        np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name), strict=True)
    assert actual.class_names == expected.class_names and actual.dtype == expected.dtype
    inputs = np.random.default_rng(1).random((5, expected.in_features))
    np.testing.assert_array_equal(actual.predict(inputs), expected.predict(inputs), strict=True)


def make_network(**arguments: Any) -> Network:
    """Hashed layer, ReLU, dropout, hashed layer."""
    arguments = {"compression": 0.5, "dropout": 0.2, "input_scale": 1 / 255, "class_names": "abc"} | arguments
    return mlp([6, 4, 3], **arguments)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with that network; a test may spoil it."""
    save(make_network(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.fixture
def tiles_path(tmp_path: Path) -> Path:
    """A file with that network and tiles: K = 14 and 8, 7 and 5 columns, B = 3 and 2."""
    save(make_network(tile=[3, 2]), tmp_path / "tiles.safetensors")
    return tmp_path / "tiles.safetensors"


# Round trips


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Small networks of every kind of layer, with parameters as after training."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=2, max_size=4))
    common = {
        "dtype": draw(st.sampled_from(["float32", "float64"])),
        "initializer": draw(st.sampled_from(["uniform", "normal"])),
    }
    dtype = common["dtype"]
    seeds = draw(st.lists(st.integers(0, 2**32 - 1), min_size=3, max_size=3, unique=True))
    made: list[layers.Layer] = []
    for fan_in, fan_out, seed in zip(sizes, sizes[1:], seeds):
        if draw(st.booleans()):
            made.append(Dropout(draw(st.floats(0, 0.9)), seed=draw(st.integers(0, 2**32 - 1)), dtype=dtype))
        arguments = {**common, "seed": seed, "gain": draw(st.floats(0.1, 3))}
        kind = draw(st.sampled_from([Linear, LowRankLinear, SparseLinear, HashedLinear]))
        if kind is Linear:
            made.append(Linear(fan_in, fan_out, bias=draw(st.booleans()), **arguments))
        elif kind is LowRankLinear:
            made.append(LowRankLinear(fan_in, fan_out, rank=draw(st.integers(1, fan_in)), **arguments))
        elif kind is SparseLinear:
            weights = draw(st.integers(1, fan_in * fan_out))
            made.append(SparseLinear(fan_in, fan_out, num_weights=weights, **arguments))
        else:
            arguments["bias"] = draw(st.sampled_from(["hashed", "free", "none"]))
            arguments["signed"] = draw(st.booleans())
            buckets = draw(st.integers(1, fan_in * fan_out))
            arguments["tile"] = draw(st.just("auto") | st.integers(1, min(fan_in, buckets)))
            made.append(HashedLinear(fan_in, fan_out, num_buckets=buckets, **arguments))
        made.append(draw(st.sampled_from([ReLU, Tanh, Sigmoid]))(dtype))
    numbers = st.floats(-1e6, 1e6)
    per_feature = numbers | st.lists(numbers, min_size=sizes[0], max_size=sizes[0])
    classes = max(2, sizes[-1])
    names = st.lists(st.text(st.characters(codec="utf-8")), min_size=classes, max_size=classes)
    network = Network(
        made,
        input_scale=draw(per_feature),
        input_shift=draw(per_feature),
        class_names=draw(st.none() | names),
    )
    for array in network.params.values():
        array += 0.1 * np.random.default_rng(0).standard_normal(array.shape)
    return network


@settings(max_examples=100)
@given(network=networks())
def test_round_trip(network: Network, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save(network, path)
    assert_equal_networks(load(path), network)
    assert os.listdir(path.parent) == ["model.safetensors"]


def test_every_kind_of_layer_can_be_saved() -> None:
    kinds = {kind for kind in vars(layers).values() if isinstance(kind, type)}
    own = kinds - {layers.Layer, layers.WeightLayer}
    assert own == {kind for kind in LAYERS.values() if kind.__module__.startswith("minihash.")}


def test_a_loaded_network_goes_on_training_like_the_original(path: Path) -> None:
    original, loaded = make_network(), load(path)
    inputs, grad_outputs = np.random.default_rng(0).random((2, 5, 6), np.float32)
    for network in (original, loaded):
        network.forward(inputs, training=True)
        network.backward(grad_outputs[:, :3])
    for name, grad in original.grads.items():
        assert grad.any()
        np.testing.assert_array_equal(loaded.grads[name], grad)


def test_a_name_without_an_ending_and_a_name_as_text(tmp_path: Path, path: Path) -> None:
    network = load(str(path))
    save(network, str(tmp_path / "größe 1"))
    assert_equal_networks(load(str(tmp_path / "größe 1")), network)


def test_size_of_the_file(tmp_path: Path) -> None:
    network = mlp([784, 1000, 10], compression=1 / 64, class_names="0123456789")
    save(network, tmp_path / "model")
    size = os.path.getsize(tmp_path / "model")
    assert size < 60_000
    assert size - 4 * sum(layer.num_buckets for layer in network.layers[::2]) < 2_000
    save(mlp([784, 100, 100, 10], compression=1 / 1000), tmp_path / "model")
    assert os.path.getsize(tmp_path / "model") < 3_000


def test_arrays_of_any_order_are_saved_right(tmp_path: Path) -> None:
    network = Network([Linear(5, 4), HashedLinear(4, 3, num_buckets=6)])
    expected = {name: array.copy() for name, array in network.params.items()}
    dense, hashed = (layer.params for layer in network.layers)
    dense["weight"] = np.asfortranarray(dense["weight"])
    hashed["weight"] = np.repeat(hashed["weight"], 2)[::2]
    assert not dense["weight"].flags.c_contiguous and not hashed["weight"].flags.c_contiguous
    save(network, tmp_path / "model")
    for name, array in load(tmp_path / "model").params.items():
        np.testing.assert_array_equal(array, expected[name])


def test_what_cannot_be_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(ReLU):
        pass

    class Tanh(ReLU):  # the name of another
        pass

    for network, message in (
        (Network([Linear(2, 2), Mine()]), "network has a layer Mine"),
        (Network([Linear(2, 2), Tanh()]), "network has a layer Tanh"),
        (Network([Linear(2, 2, dtype="complex128")]), "network has dtype complex128"),
    ):
        with pytest.raises(ValueError, match=message):
            save(network, tmp_path / "model")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    with pytest.raises(FileNotFoundError, match=f"what was to be written is {elsewhere}/"):
        save(Network([Linear(2, 2)]), tmp_path / "no folder" / "model")
    with pytest.raises(IsADirectoryError):
        save(Network([Linear(2, 2)]), tmp_path)
    assert os.listdir(tmp_path) == ["elsewhere"] and len(list(elsewhere.rglob("*/*"))) == 2


# Whole or not there


@pytest.mark.parametrize("function, error", [
    ("fsync", OSError(28, "No space left on device")),
    ("fsync", KeyboardInterrupt()),
    ("replace", KeyboardInterrupt()),
])
def test_a_failure_leaves_the_old_file(
    path: Path, function: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise error

    before = path.read_bytes()
    monkeypatch.setattr(os, function, fail)
    with pytest.raises(type(error)):
        save(mlp([4, 3]), path)
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


def test_a_full_disk_leaves_the_old_file(path: Path) -> None:
    pytest.importorskip("resource")
    code = (
        "import resource, sys, minihash\n"
        "from minihash.persistence import save\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "try:\n    save(minihash.mlp([100, 50]), sys.argv[1])\n"
        "except OSError as error:\n    print(type(error).__name__)\n"
    )
    before = path.read_bytes()
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("OSError\n", "")
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


def test_the_file_is_on_the_disk_before_it_gets_its_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def spy_fsync(descriptor: int) -> None:
        calls.append(f"fsync of {os.fstat(descriptor).st_size} bytes")
        fsync(descriptor)

    def spy_replace(source: Path, target: Path) -> None:
        assert Path(source).parent == Path(target).parent  # a rename there is atomic
        calls.append(f"replace by {os.path.getsize(source)} bytes")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    network = load(path)
    save(network, path)
    size = os.path.getsize(path)
    assert calls == [f"fsync of {size} bytes", f"replace by {size} bytes"]


# Damaged files


def assert_refused(path: Path, message: str = "") -> None:
    with pytest.raises(ValueError, match=message or None) as caught:
        load(path)
    assert type(caught.value) is ValueError and str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truncated(path: Path) -> None:
    content = path.read_bytes()
    for length in (*range(0, len(content), 7), len(content) - 1):
        path.write_bytes(content[:length])
        assert_refused(path, "not a safetensors file")


def test_longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")
    assert_refused(path)


def test_other_files(path: Path) -> None:
    for content in (b"", b"\0" * 1000, b"\xff" * 1000, b"PK\3\4", os.urandom(1000), b"{}" * 100):
        path.write_bytes(content)
        assert_refused(path, "not a safetensors file")
    for metadata in (None, {"format": "pt"}, {"minihash": ""}, {"minihash": "hello"}):
        path.write_bytes(serialize({"0.weight": np.zeros(3)}, metadata))
        assert_refused(path, "minihash metadata")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="model"):
        load(tmp_path / "model")
    with pytest.raises(IsADirectoryError):
        load(tmp_path)


def test_a_pickle_is_not_run(path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(path.parent / "sprung"),)

    path.write_bytes(pickle.dumps(Trap()))
    assert_refused(path)
    assert os.listdir(path.parent) == [path.name]


DROP = object()  # the change that removes an entry
HASHED = ("layers", 0)
CHANGES: list[tuple[tuple[Any, ...], Any, str]] = [
    (("format",), 4, "has format 4, wanted 1, 2 or 3"),
    (("format",), "1", "has format '1', wanted 1, 2 or 3"),
    (("format",), True, "has format True, wanted 1, 2 or 3"),
    (("format",), [], r"has format \[\], wanted 1, 2 or 3"),
    (("format",), DROP, "has format None, wanted 1, 2 or 3"),
    (("format",), 3, r"its architecture is malformed \(KeyError: 'output_scale'\)"),
    (("output_scale",), 2.0, "has output_scale, wanted none in a file of format 2"),
    (("output_shift",), [1.0], "has output_shift, wanted none in a file of format 2"),
    (("hash",), "xxhash64", "has hash 'xxhash64', wanted 'xxhash32'"),
    (("hash",), DROP, "has hash None"),
    (("layers",), None, "layers are not a list"),
    (("layers",), {}, "layers are not a list"),
    (("layers",), [], "layers is empty"),
    (("layers",), [{"type": "ReLU", "dtype": "float32"}] * 10_001, "layers are not a list of at most 10000"),
    (("layers",), DROP, "layers are not a list"),
    ((*HASHED,), None, ""),
    ((*HASHED,), "ab", ""),
    ((*HASHED,), [], ""),
    ((*HASHED, "type"), "Conv2d", "layer 0 is of the type 'Conv2d', wanted one of"),
    ((*HASHED, "type"), [], ""),
    ((*HASHED, "type"), "Layer", "'Layer'"),
    ((*HASHED, "type"), "Linear", ""),
    ((*HASHED, "unknown"), 1, "unknown"),
    *(((*HASHED, "tile"), value, f"tile is {value}, wanted 1 <= tile < 8") for value in (0, -1, 8, 10**30)),
    ((*HASHED, "tile"), "auto", "layer 0 has tile 'auto', wanted 2"),  # a file holds the length
    ((*HASHED, "tile"), "3", "tile is '3'"),
    ((*HASHED, "tile"), [3], r"tile is \[3\]"),
    ((*HASHED, "tile"), True, "tile is True"),
    ((*HASHED, "tile"), None, "tile is None"),
    ((*HASHED, "tile"), 3.0, "tile is 3.0"),
    ((*HASHED, "tile"), float("nan"), "tile is nan"),
    (("layers", 3, "tile"), 6, "tile is 6, wanted 1 <= tile < 6"),
    ((*HASHED, "map"), "element", "its architecture is malformed"),
    ((*HASHED, "window"), None, "its architecture is malformed"),
    ((*HASHED, "signed"), 1, "signed is 1"),
    ((*HASHED, "bias"), "free", "tensor '0.bias' is missing"),
    ((*HASHED, "bias"), None, "bias is None"),
    ((*HASHED, "initializer"), "zeros", "initializer is 'zeros'"),
    ((*HASHED, "gain"), -1, "gain is -1"),
    ((*HASHED, "gain"), 1e400, "gain is inf"),
    ((*HASHED, "seed"), -1, "seed is -1"),
    ((*HASHED, "seed"), 2**32, f"seed is {2**32}"),
    ((*HASHED, "seed"), None, "seed is None"),
    ((*HASHED, "num_buckets"), 13, r"'0.weight' is F32 of shape \(14,\), wanted float32 of shape \(13,\)"),
    ((*HASHED, "num_buckets"), -1, "tensor '0.weight'"),
    ((*HASHED, "num_buckets"), 2**29, "tensor '0.weight'"),
    ((*HASHED, "num_buckets"), 10**30, "tensor '0.weight'"),
    ((*HASHED, "num_buckets"), 14.0, "num_buckets is 14.0"),
    ((*HASHED, "num_buckets"), "14", "tensor '0.weight'"),
    ((*HASHED, "num_buckets"), None, "tensor '0.weight'"),
    ((*HASHED, "compression"), 0.5, "exactly one"),
    ((*HASHED, "out_features"), 10**9, "layers.3. has in_features 4"),
    ((*HASHED, "out_features"), 2**32, f"out_features is {2**32}"),
    ((*HASHED, "out_features"), 1, "num_buckets is 14"),
    ((*HASHED, "in_features"), 0, "in_features is 0"),
    ((*HASHED, "in_features"), 10**40, "in_features is 1000"),
    ((*HASHED, "dtype"), "float64", "tensor '0.weight' is F32 of shape .*, wanted float64"),
    ((*HASHED, "dtype"), "float16", "float16"),
    ((*HASHED, "dtype"), "complex128", "complex128"),
    ((*HASHED, "dtype"), "O", ""),
    ((*HASHED, "dtype"), None, ""),
    ((*HASHED, "dtype"), 32, ""),
    ((*HASHED, "dtype"), "a", ""),  # NumPy warns of this one
    ((*HASHED, "dtype"), "(1 2)f4,", ""),  # and parses this one as Python
    (("layers", 1, "dtype"), "(1 2)f4,", ""),
    (("layers", 1, "dtype"), "float64", r"layers\[1\] has dtype float64"),
    (("layers", 2, "rate"), 1, "rate is 1"),
    (("layers", 3, "seed"), layer_seed(0, 0), r"layers\[3\] has seed .*, as layers\[0\]"),
    (("input_scale",), float("nan"), "input_scale is not finite"),
    (("input_scale",), [1, 2], "input_scale has shape"),
    (("input_scale",), "x", "input_scale"),
    (("input_scale",), None, "input_scale"),
    (("input_shift",), [[1] * 6], "input_shift has shape"),
    (("input_shift",), [1, [2]], ""),
    (("input_shift",), 10**400, "input_shift"),
    (("class_names",), ["a", "b"], "class_names has 2 names, wanted 3"),
    (("class_names",), 3, ""),
    *(((name,), DROP, "") for name in ("input_scale", "input_shift", "class_names")),
]
REQUIRED = "type dtype in_features out_features num_buckets seed tile signed bias".split()
CHANGES += [((*HASHED, name), DROP, "") for name in REQUIRED]


def names_of(changes: list[tuple[tuple[Any, ...], Any, str]]) -> list[str]:
    return [
        f"{'.'.join(map(str, where))} {'missing' if value is DROP else repr(value)[:20]}"
        for where, value, _ in changes
    ]


def change(path: Path, where: tuple[Any, ...], value: Any) -> None:
    """Change one entry of a file's description."""
    description, tensors = read(path)
    place: Any = description
    for key in where[:-1]:
        place = place[key]
    if value is DROP:
        del place[where[-1]]
    else:
        place[where[-1]] = value
    write(path, description, tensors)


@pytest.mark.parametrize("where, value, message", CHANGES, ids=names_of(CHANGES))
def test_wrong_architecture(path: Path, where: tuple[Any, ...], value: Any, message: str) -> None:
    change(path, where, value)
    assert_refused(path, message)


def test_a_file_says_the_length_of_tiles(path: Path, tiles_path: Path) -> None:
    for file, tiles in ((path, [1, 1]), (tiles_path, [3, 2])):
        description, _ = read(file)
        hashed = description["layers"][::3]
        assert description["format"] == 2 and [layer["tile"] for layer in hashed] == tiles
        assert not any({"map", "window"} & layer.keys() for layer in description["layers"])
        assert_equal_networks(load(file), make_network(tile=tiles))


def first_format(path: Path, **changes: Any) -> Tensors:
    """Write a file as minihash 0.1 did; return its tensors."""
    rng = np.random.default_rng(3)
    hashed = {"map": "element", "window": None, "dtype": "float64", "initializer": "uniform", "gain": 1.0}
    layers = [
        {"type": "HashedLinear", "in_features": 6, "out_features": 4, "num_buckets": 9, "seed": 7,
         "signed": True, "bias": "hashed", **hashed, **changes},
        {"type": "ReLU", "dtype": "float64"},
        {"type": "QuantizedHashedLinear", "in_features": 4, "out_features": 3, "num_buckets": 5, "seed": 8,
         "signed": False, "bias": "free", "bits": 8, **hashed},
    ]  # fmt: skip
    description = {"format": 1, "engine": "minihash 0.1.0", "hash": "xxhash32", "layers": layers}
    description |= {"input_scale": 1.0, "input_shift": 0.0, "class_names": None, "schema": None}
    tensors = {
        "0.weight": rng.normal(size=9),
        "2.codes": rng.integers(-127, 128, 5, np.int8),
        "2.scale": np.array([0.01]),
        "2.bias": rng.normal(size=3),
    }
    write(path, description, tensors)
    return tensors


def test_the_first_format_is_read(tmp_path: Path) -> None:
    tensors = first_format(tmp_path / "old")
    inputs = np.random.default_rng(0).normal(size=(5, 6))
    hidden = naive.hashed_forward(inputs, tensors["0.weight"], naive.element(7, 9), 4).clip(min=0)
    weight, free = tensors["2.codes"] * 0.01, tensors["2.bias"]
    lookup = naive.element(8, 5, signed=False)
    ref = naive.hashed_forward(hidden, weight, lookup, 3, bias="free", free=free)
    network = load(tmp_path / "old")
    np.testing.assert_allclose(network.predict(inputs), ref, rtol=1e-12)
    assert [layer.tile for layer in network.layers[::2]] == [1, 1]
    save(network, tmp_path / "new")
    assert read(tmp_path / "new")[0]["format"] == 2
    np.testing.assert_array_equal(load(tmp_path / "new").predict(inputs), network.predict(inputs))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"map": "window", "window": 3}, "layer 0 has the map 'window', which minihash had .*: wanted tiles"),
        ({"map": "window"}, "layer 0 has the map 'window', which minihash had .*: wanted tiles"),
        ({"map": "blocks"}, "layer 0 has map 'blocks' and window None, wanted 'element' and None$"),
        ({"map": []}, r"layer 0 has map \[\] and window None, wanted 'element' and None$"),
        ({"map": None}, "layer 0 has map None and window None, wanted 'element' and None$"),
        ({"window": 3}, "layer 0 has map 'element' and window 3, wanted 'element' and None$"),
        ({"window": False}, "layer 0 has map 'element' and window False, wanted 'element' and None$"),
        ({"tile": 3}, "layer 0 has a tile, wanted none in a file of format 1$"),
        ({"tile": 1}, "layer 0 has a tile, wanted none in a file of format 1$"),
    ],
)
def test_other_maps_of_the_first_format_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    first_format(tmp_path / "old", **changes)
    assert_refused(tmp_path / "old", message)


@pytest.mark.parametrize("name", ["map", "window"])
def test_each_format_says_its_own(tmp_path: Path, path: Path, name: str) -> None:
    first_format(tmp_path / "old")
    description, tensors = read(tmp_path / "old")
    value = description["layers"][0].pop(name)
    write(tmp_path / "old", description, tensors)
    assert_refused(tmp_path / "old", "architecture is malformed")
    description, tensors = read(path)
    description["layers"][0][name] = value
    write(path, description, tensors)
    assert_refused(path, "architecture is malformed")


def test_a_map_that_a_file_would_not_make_again_is_not_saved(tmp_path: Path) -> None:
    class Other(BucketMap):
        pass

    layer = HashedLinear(4, 3, num_buckets=5)
    layer.bucket_map = Other(5, 0, 5)
    with pytest.raises(ValueError, match="^network has a map Other that model files do not know$"):
        save(Network([layer]), tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("depth", [100, 950, 990, 100_000])
@pytest.mark.parametrize("key", ["format", "hash", "layers", "input_scale", "class_names"])
def test_deep_json(path: Path, key: str, depth: int) -> None:
    description, tensors = read(path)
    text = json.dumps({**description, key: "here"}).replace('"here"', "[" * depth + "]" * depth)
    write(path, text, tensors)
    assert_refused(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "5", "NaN", '"a"', "{}", '{"format": 1', "9" * 5000])
def test_malformed_json(path: Path, text: str) -> None:
    write(path, text, read(path)[1])
    assert_refused(path)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"0.weight": None}, "tensor '0.weight' is missing"),
        ({"3.weight": None}, "tensor '3.weight' is missing"),
        ({"0.weight": np.zeros(15, np.float32)}, r"'0.weight' is F32 of shape \(15,\), wanted .* \(14,\)"),
        ({"0.weight": np.zeros((14, 1), np.float32)}, r"'0.weight' is F32 of shape \(14, 1\)"),
        ({"0.weight": np.zeros((), np.float32)}, r"'0.weight' is F32 of shape \(\)"),
        ({"0.weight": np.zeros(14)}, "'0.weight' is F64"),
        ({"0.weight": np.zeros(14, np.float16)}, "'0.weight' is F16"),
        ({"0.weight": np.zeros(14, np.int32)}, "'0.weight' is I32"),
        ({"0.weight": np.zeros(14, bool)}, "'0.weight' is BOOL"),
        ({"0.bias": np.zeros(4, np.float32)}, "tensor '0.bias' belongs to no layer"),
        ({"1.weight": np.zeros(4, np.float32)}, "tensor '1.weight' belongs to no layer"),
        ({"": np.zeros(0, np.float32)}, "tensor '' belongs to no layer"),
    ],
)
def test_wrong_tensors(path: Path, change: dict[str, Any], message: str) -> None:
    description, tensors = read(path)
    tensors.update(change)
    write(path, description, {name: array for name, array in tensors.items() if array is not None})
    assert_refused(path, message)


def write_raw(path: Path, header: Any, data: bytes) -> None:
    """Write what safetensors would not: any header, with any data behind it."""
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.mark.parametrize(
    "kind, size",
    [
        *(("HashedLinear", 2**29), ("Linear", 40_000), ("Linear", 2**31)),
        *(("SparseLinear", 2**30), ("LowRankLinear", 40_000), ("LowRankLinear", 2**31)),
    ],
)
@pytest.mark.parametrize("honest", [True, False], ids=["header as the data", "header as the claim"])
def test_what_a_file_claims_is_not_allocated(path: Path, kind: str, size: int, honest: bool) -> None:
    common = {"type": kind, "dtype": "float32", "seed": 1, "initializer": "uniform", "gain": 1.0}
    layer: dict[str, Any] = {**common, "in_features": size, "out_features": size}
    shape = [size, size]
    if kind == "HashedLinear":
        layer |= {"bias": "none", "num_buckets": size, "tile": 1, "signed": True}
        shape = [size]
    elif kind == "SparseLinear":
        layer |= {"num_weights": size}
        shape = [size]
    else:
        layer |= {"bias": False} if kind == "Linear" else {"rank": size}
    description, _ = read(path)
    description.update(layers=[layer], class_names=None)
    data = bytes(4000)
    stated = [1000] if honest else shape
    end = len(data) if honest else 4 * int(np.prod([float(n) for n in shape]))
    header = {
        "__metadata__": {"minihash": json.dumps(description)},
        "0.weight": {"dtype": "F32", "shape": stated, "data_offsets": [0, end]},
    }
    write_raw(path, header, data)
    tracemalloc.start()
    try:
        assert_refused(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000, f"{peak} bytes for a file of {os.path.getsize(path)}"


def test_loading_allocates_nothing_for_the_places_of_columns(tiles_path: Path) -> None:
    change(tiles_path, (*HASHED, "in_features"), 2**31)
    tracemalloc.start()
    try:
        assert load(tiles_path).in_features == 2**31
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000, f"{peak} bytes for a file of {os.path.getsize(tiles_path)}"


@pytest.mark.parametrize("length", [0, 1, 2**20, 2**31, 2**40, 2**63, 2**64 - 1])
def test_wrong_length_of_the_header(path: Path, length: int) -> None:
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    assert_refused(path, "not a safetensors file")


def test_overlapping_tensors(path: Path) -> None:
    description, tensors = read(path)
    weight = {"dtype": "F32", "shape": [14], "data_offsets": [0, 56]}
    other = {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]}
    header = {"__metadata__": {"minihash": json.dumps(description)}, "0.weight": weight, "3.weight": other}
    write_raw(path, header, tensors["0.weight"].tobytes())
    assert_refused(path)


@settings(max_examples=400)
@given(data=st.data())
def test_mutated_bytes_load_or_are_a_value_error(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(MODEL)
    values = st.integers(0, 255) | st.sampled_from(b'0123456789-.eE"[]{},:ntf\\ ')
    for _ in range(data.draw(st.integers(1, 4))):
        place, change = data.draw(st.integers(0, len(content) - 1)), data.draw(st.sampled_from("sdi"))
        if change == "s":
            content[place] = data.draw(values)
        elif change == "d":
            del content[place : place + data.draw(st.integers(1, 9))]
        else:
            content[place:place] = bytes(data.draw(st.lists(values, min_size=1, max_size=9)))
        if change != "s" and data.draw(st.booleans()):  # with the length right again
            length = struct.unpack("<Q", MODEL[:8])[0] + len(content) - len(MODEL)
            content[:8] = struct.pack("<Q", max(0, length))
    path = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    path.write_bytes(content)
    try:
        load(path)
    except ValueError as error:
        assert str(path) in str(error)


def _model() -> bytes:
    network = Network(
        [
            *(Dropout(0.1), Linear(3, 4), Tanh(), HashedLinear(4, 3, num_buckets=5, bias="free")),
            HashedLinear(3, 3, num_buckets=6, seed=1, tile=2),
        ],
        input_scale=[1, 2, 3],
        class_names=["a", "b", "c"],
    )
    tensors = {name: np.ascontiguousarray(array) for name, array in network.params.items()}
    description = {
        "format": 2,
        "hash": "xxhash32",
        "layers": [{"type": type(layer).__name__, **layer.config()} for layer in network.layers],
        "input_scale": network.input_scale.tolist(),
        "input_shift": 0.0,
        "class_names": network.class_names,
    }
    return serialize(tensors, {"minihash": json.dumps(description)})


MODEL = _model()


def test_the_mutated_model_was_a_good_one(path: Path) -> None:
    path.write_bytes(MODEL)
    assert load(path).out_features == 3
