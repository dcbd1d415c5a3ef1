"""`to_onnx`: what ONNX Runtime computes from the file, against the network itself."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from c_tools import networks
from helpers import with_nan
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from minihash import Network, mlp, testing
from minihash.export import to_onnx
from minihash.export.onnx import writer
from minihash.layers import Dropout, HashedLinear, Layer, Linear, ReLU, Sigmoid, Tanh
from minihash.quantization import quantize
from minihash.schema import Schema

KINDS = (HashedLinear, Linear, ReLU, Tanh, Sigmoid, Dropout)
LEVELS = onnxruntime.GraphOptimizationLevel


class Other(Linear):
    """A layer that ONNX export cannot know."""


def session(path: Path, optimized: bool = False) -> onnxruntime.InferenceSession:
    """The file, checked and loaded."""
    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = LEVELS.ORT_ENABLE_ALL if optimized else LEVELS.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def predict(
    network: Network, inputs: np.ndarray, *, dense: bool = False, optimized: bool = False
) -> np.ndarray:
    """What ONNX Runtime predicts."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        to_onnx(network, path, dense=dense)
        (outputs,) = session(path, optimized).run(["outputs"], {"inputs": inputs.astype(network.dtype)})
    return outputs


def exact_matrix(network: Network, **options: Any) -> np.ndarray:
    """V and the bias, as the graph has them: inputs of a single 1 pick columns out, without rounding."""
    picked = np.vstack([np.zeros((1, network.in_features)), np.eye(network.in_features)])
    return predict(network, picked, **options).T


def operators(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


@settings(max_examples=15)
@given(networks(), st.booleans(), st.booleans(), testing.seeds())
def test_networks_of_all_layers(network: Network, dense: bool, optimized: bool, seed: int) -> None:
    inputs = np.random.default_rng(seed).normal(size=(7, network.in_features)).astype(np.float32)
    found, wanted = predict(network, inputs, dense=dense, optimized=optimized), network.predict(inputs)
    assert found.dtype == np.float32 and found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1e-5 * max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize("bits", [8, 4])
@settings(max_examples=15)
@given(networks(), st.booleans(), testing.seeds())
def test_quantised_networks(bits: int, network: Network, dense: bool, seed: int) -> None:
    assume(any(isinstance(layer, HashedLinear) for layer in network.layers))
    small = quantize(network, bits)
    inputs = np.random.default_rng(seed).normal(size=(7, network.in_features)).astype(np.float32)
    found, wanted = predict(small, inputs, dense=dense), small.predict(inputs)
    assert np.abs(found - wanted).max() <= 1e-5 * max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize("bits", [8, 4])
def test_the_file_of_a_quantised_network_is_small(bits: int, tmp_path: Path) -> None:
    small = quantize(mlp([784, 1000, 10], compression=1 / 8), bits)
    to_onnx(small, tmp_path / "model.onnx")
    assert small.nbytes <= (tmp_path / "model.onnx").stat().st_size <= small.nbytes + 6000


@settings(max_examples=15)
@given(st.data(), testing.layers(KINDS), st.booleans())
def test_layers_of_float64(data: st.DataObject, layer: Layer, dense: bool) -> None:
    network, inputs = Network([layer]), data.draw(testing.batches(layer))
    found, wanted = predict(network, inputs, dense=dense), network.predict(inputs)
    assert found.dtype == np.float64
    assert np.abs(found - wanted).max() <= 1e-12 * max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize("tile", [1, 7, 23])  # 23: products are shared
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("optimized", [True, False])
def test_v_is_the_same_to_the_bit(tile: int, signed: bool, optimized: bool) -> None:
    options = {"compression": 1 / 5, "seed": 2**32 - 1, "signed": signed, "tile": tile}
    layer = HashedLinear(60, 40, bias="none", **options)
    found = exact_matrix(Network([layer]), optimized=optimized)[:, 1:]
    assert np.array_equal(found, layer.virtual_weight_matrix())


def test_shared_products_make_no_matrix(tmp_path: Path) -> None:
    """Nothing that the graph computes is a quarter as large as V, which the element map's graph makes."""
    largest = {}
    for tile in (1, "auto"):
        network = mlp([200, 300, 10], compression=1 / 64, tile=tile, seed=4)
        to_onnx(network, tmp_path / "model.onnx")
        model = onnx.load(tmp_path / "model.onnx")
        names = [name for node in model.graph.node for name in node.output]
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        found = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        values = found.run(names, {"inputs": np.zeros((1, 200), np.float32)})
        largest[tile] = max(value.size for value in values)
    assert largest[1] >= 200 * 300 and largest["auto"] < 200 * 300 / 4


@pytest.mark.parametrize("bias", ["hashed", "free"])
def test_biases_are_the_same_to_the_bit(bias: str) -> None:
    layer = HashedLinear(13, 20, compression=0.4, seed=5, bias=bias)
    if bias == "free":
        layer.params["bias"][...] = np.linspace(-1, 1, 20)
    assert np.array_equal(exact_matrix(Network([layer]))[:, 0], layer.virtual_bias())


@pytest.mark.parametrize("signed", [True, False])
def test_many_buckets(signed: bool) -> None:
    """Above 2¹⁶ a bucket needs 64 bits: `hash · 2K` overflows 32, and halves of the hash are not enough."""
    layer = HashedLinear(300, 400, num_buckets=99_991, seed=7, signed=signed, bias="none")
    assert np.array_equal(exact_matrix(Network([layer]))[:, 1:], layer.virtual_weight_matrix())


@pytest.mark.parametrize("size", [1, 2, 12266, 2**16 + 1, 2**30 - 1, 2**31 - 2])
def test_the_largest_scales(size: int, tmp_path: Path) -> None:
    """`(hash · size) >> 32` where no test has the memory for so many buckets: as a graph of its own."""
    from minihash.export.onnx.graph import Graph, Value
    from minihash.export.onnx.hashed import scale_to_range
    from minihash.hashing import scale_to_range as reference

    graph = Graph()
    buckets = scale_to_range(Value(graph, "hashed", np.dtype(np.uint32)), size)
    helper, kinds = onnx.helper, onnx.TensorProto
    model = helper.make_model(
        helper.make_graph(
            [writer._node(onnx, node) for node in graph.nodes],
            "scale",
            [helper.make_tensor_value_info("hashed", kinds.UINT32, ["n"])],
            [helper.make_tensor_value_info(buckets.name, kinds.INT64, ["n"])],
            [onnx.numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
        ),
        opset_imports=[helper.make_operatorsetid("", writer.OPSET)],
        ir_version=writer.IR_VERSION,
    )
    onnx.save(model, tmp_path / "scale.onnx")
    hashed = np.random.default_rng(0).integers(0, 2**32, 1000, dtype=np.uint32)
    hashed[:3] = 0, 2**31, 2**32 - 1
    (found,) = session(tmp_path / "scale.onnx").run(None, {"hashed": hashed})
    assert np.array_equal(found, reference(hashed, size))


def test_the_file_is_as_small_as_the_network(tmp_path: Path) -> None:
    network = mlp([784, 1000, 10], compression=1 / 64, input_scale=1 / 255)
    to_onnx(network, tmp_path / "hashed.onnx")
    to_onnx(network, tmp_path / "dense.onnx", dense=True)
    assert network.nbytes < (tmp_path / "hashed.onnx").stat().st_size < 60_000
    assert 4 * 795_010 < (tmp_path / "dense.onnx").stat().st_size < 4 * 795_010 + 1000
    inputs = np.random.default_rng(0).integers(0, 256, (20, 784))
    for dense in (False, True):
        error = np.abs(predict(network, inputs, dense=dense) - network.predict(inputs)).max()
        assert error < 1e-5


@pytest.mark.parametrize("rows", [0, 1, 300])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_outputs_of_a_regression_are_in_units(rows: int, dtype: str) -> None:
    scale, shift = np.array([1e3, 0.01]), np.array([2e5, -0.5])
    network = mlp([12, 9, 2], compression=0.5, output_scale=scale, output_shift=shift, dtype=dtype)
    inputs = np.random.default_rng(1).normal(size=(rows, 12)).astype(dtype)
    found = predict(network, inputs)
    assert found.dtype == dtype and found.shape == (rows, 2)
    assert (np.abs(found - network.predict(inputs)) <= 1e-4 * scale).all()


def test_a_trained_network_gives_the_same_labels(trained: Network, images: np.ndarray) -> None:
    assert np.array_equal(predict(trained, images).argmax(axis=1), trained.predict(images).argmax(axis=1))


@pytest.mark.parametrize("rows", [0, 1, 300])
def test_any_number_of_rows(rows: int) -> None:
    network = mlp([12, 9, 3], compression=0.5)
    inputs = np.random.default_rng(1).normal(size=(rows, 12)).astype(np.float32)
    assert np.allclose(predict(network, inputs), network.predict(inputs), atol=1e-5)


def test_dense_needs_ordinary_operators_alone(tmp_path: Path) -> None:
    layers = [HashedLinear(8, 7, compression=0.5), Tanh(), HashedLinear(7, 6, num_buckets=9, tile=3, seed=1)]
    network = Network([*layers, ReLU(), Linear(6, 2)], input_scale=2.0, input_shift=1.0)
    to_onnx(network, tmp_path / "dense.onnx", dense=True)
    assert operators(tmp_path / "dense.onnx") == {"Sub", "Mul", "Gemm", "Tanh", "Relu", "Identity"}
    to_onnx(network, tmp_path / "hashed.onnx")
    assert {"Range", "BitShift", "BitwiseXor", "Gather"} <= operators(tmp_path / "hashed.onnx")


@pytest.mark.parametrize("layers", [[Dropout(0.5)], [ReLU()]])
def test_networks_without_weights(layers: list, tmp_path: Path) -> None:
    inputs = np.array([[-1, 2, 3]], np.float32)
    assert np.array_equal(predict(Network(layers), inputs), Network(layers).predict(inputs))


def test_names_of_classes_are_metadata(tmp_path: Path) -> None:
    names = ("null", "één", '"2"')
    to_onnx(mlp([4, 3], compression=0.5, class_names=names), tmp_path / "model.onnx")
    found = session(tmp_path / "model.onnx")
    assert tuple(json.loads(found.get_modelmeta().custom_metadata_map["class_names"])) == names
    assert found.get_modelmeta().custom_metadata_map["task"] == "classification"
    assert found.get_modelmeta().producer_name == "minihash"
    assert [(value.name, value.shape) for value in found.get_inputs()] == [("inputs", ["batch", 4])]
    wanted = [("outputs", ["batch", 3]), ("probabilities", ["batch", 3]), ("label", ["batch"])]
    assert [(value.name, value.shape) for value in found.get_outputs()] == wanted


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("names", [True, False])
@pytest.mark.parametrize("task, units", [("classification", 3), ("binary", 1), ("multilabel", 3)])
def test_probabilities_and_labels(task: str, units: int, names: bool, dtype: str, tmp_path: Path) -> None:
    named = ["één", "b", "c"][: max(2, units)] if names else None
    network = mlp([5, 9, units], compression=0.5, seed=3, class_names=named, dtype=dtype)
    network.schema = Schema(task, feature_names=tuple("abcde"))
    inputs = np.random.default_rng(0).normal(scale=40, size=(60, 5)).astype(dtype)
    to_onnx(network, tmp_path / "model.onnx")
    found = session(tmp_path / "model.onnx")
    label, probabilities = found.run(["label", "probabilities"], {"inputs": inputs})
    wanted = network.predict_labels(inputs)
    assert label.tolist() == wanted.tolist() and len(np.unique(wanted)) >= 2
    assert label.dtype == (object if names and task != "multilabel" else np.int64)
    assert probabilities.dtype == dtype
    np.testing.assert_allclose(probabilities, network.predict_proba(inputs), atol=1e-6)
    assert json.loads(found.get_modelmeta().custom_metadata_map["feature_names"]) == list("abcde")


@pytest.mark.parametrize("task", ["regression", None])
def test_other_networks_have_outputs_alone(task: Any, tmp_path: Path) -> None:
    network = mlp([5, 3])
    network.schema = task and Schema(task)
    to_onnx(network, tmp_path / "model.onnx")
    assert [value.name for value in session(tmp_path / "model.onnx").get_outputs()] == ["outputs"]


def test_the_same_bytes_each_time_and_the_network_is_left_as_it_was(tmp_path: Path) -> None:
    network = mlp([8, 6, 3], compression=0.5)
    before = {name: array.copy() for name, array in network.params.items()}
    to_onnx(network, tmp_path / "a.onnx")
    to_onnx(network, tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert all(np.array_equal(before[name], array) for name, array in network.params.items())


@pytest.mark.parametrize(
    "arguments, found",
    [
        ({"network": None}, "network is None, wanted a Network"),
        ({"network": Network([Linear(2, 2, dtype="complex128")])}, "network has dtype complex128, wanted"),
        ({"network": Network([Linear(2, 2), Other(2, 2)])}, r"layers\[1\] is a Other, wanted layers"),
        ({"network": with_nan()}, "0.weight has NaN or infinity"),
        ({"network": Network([Linear(2, 2)], input_scale=1e300)}, "input_scale has NaN or infinity"),
        (
            {"network": Network([Linear(2, 2)], output_shift=[0, 1.7e9], output_scale=[1, 10])},
            "output_shift of output 1 is 1.7e.09 with a spread of 10, wanted 8 steps of float32",
        ),
        ({"network": Network([Linear(2, 2)], output_scale=1e300)}, "output_scale has NaN or infinity"),
        ({"dense": 1}, "dense is 1, wanted True or False"),
        (
            {"network": Network([HashedLinear(2**20, 2**10, num_buckets=9)]), "dense": True},
            "the weights are 4,294,971,392 bytes in the file, wanted less than",
        ),
    ],
)
def test_refusals_write_nothing(arguments: dict[str, Any], found: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=found) as error:
        to_onnx(**{"network": Network([Linear(2, 2)]), "path": tmp_path / "model.onnx", **arguments})
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_the_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, path = Network([Linear(2, 2)]), tmp_path / "model.onnx"
    with pytest.raises(FileNotFoundError):
        to_onnx(network, tmp_path / "none" / "model.onnx")
    to_onnx(network, path)
    before = path.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="the disk is full"):
        to_onnx(network, path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"] and path.read_bytes() == before


def test_without_the_package(tmp_path: Path) -> None:
    """Importing the export does not need it, and a missing one is said in a line."""
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "import minihash; from minihash.export import to_onnx\n"
        "try:\n    to_onnx(minihash.mlp([2, 2]), sys.argv[1])\n"
        "except ImportError as error:\n    print(error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model.onnx")]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found == "ONNX export needs the package onnx: pip install onnx\n"
    assert not list(tmp_path.iterdir())
