"""Networks as ONNX: the graph, and the message of protobuf that holds it."""

from __future__ import annotations

import json
import os
from typing import Any

from minihash import checks
from minihash.export.known import check_network
from minihash.export.onnx.forms import FORMS, add_layer, num_written
from minihash.export.onnx.graph import Graph, Node, Value
from minihash.export.onnx.hashed import CODES
from minihash.files import replacing
from minihash.network import Network
from minihash.training.interrupts import held_back
from minihash.version import __version__

OPSET = 18  # the first with BitwiseXor
IR_VERSION = 8  # of the file, the one that came with that opset
LIMIT_BYTES = 2**31 - 2**20  # of the arrays: a protobuf message is smaller than 2 GiB


def to_onnx(network: Network, path: str | os.PathLike[str], *, dense: bool = False) -> None:
    """Write a network as an ONNX model, all of it or nothing.

    The graph takes raw `inputs` (batch, in_features) of the network's dtype, with any number of rows, and
    returns `outputs` (batch, out_features), logits for a classifier, numbers in the targets' units for a
    regression. It holds the stored weights and computes the hash with integer operators, so that the file is
    as small as the network. A runtime that folds constants makes dense weights of that when it loads the file
    (docs/onnx.md).

    Parameters
    ----------
    network : of float32 or float64, made of hashed and dense layers, ReLU, Tanh and Sigmoid; Dropout is
        left out. The scaling of inputs and outputs is in the graph, the names of classes are in its metadata
        (`class_names`, as JSON).
    path : where to; an existing file is replaced.
    dense : write the whole matrices of hashed layers instead, for runtimes without the integer operators;
        the file is as large as the dense network's.

    Raises
    ------
    ValueError, before anything is written, for a network or an argument that ONNX has no form of; ImportError
    without the package onnx; OSError if the file cannot be written.

    Source: ONNX operators, opset 18, https://onnx.ai/onnx/operators.
    """
    checks.boolean("dense", dense)
    check_network(network, FORMS, CODES, "float32 or float64")
    nbytes = network.dtype.itemsize * sum(num_written(layer, dense) for layer in network.layers)  # at most
    if nbytes >= LIMIT_BYTES:
        raise ValueError(f"the weights are {nbytes:,} bytes in the file, wanted less than {LIMIT_BYTES:,}")
    onnx = _import_onnx()
    graph, outputs = _graph(network, dense)
    content = _model(onnx, network, graph, outputs).SerializeToString(deterministic=True)
    with replacing(path) as file:
        file.write(content)


def _import_onnx() -> Any:
    try:
        with held_back():  # an exception of a signal in the middle of this import aborts the process
            import onnx
        return onnx
    except ImportError:
        raise ImportError("ONNX export needs the package onnx: pip install onnx") from None


def _graph(network: Network, dense: bool) -> tuple[Graph, Value]:
    """Return the graph and its last value."""
    graph = Graph()
    value = Value(graph, "inputs", network.dtype)
    if network.input_shift.ndim or network.input_shift != 0:
        value = value - graph.constant("input_shift", network.input_shift.astype(network.dtype))
    if network.input_scale.ndim or network.input_scale != 1:
        value = value * graph.constant("input_scale", network.input_scale.astype(network.dtype))
    for position, layer in enumerate(network.layers):
        value = add_layer(graph, layer, position, value, dense)
    if network.scales_outputs:
        value = value * graph.constant("output_scale", network.output_scale.astype(network.dtype))
        value = value + graph.constant("output_shift", network.output_shift.astype(network.dtype))
    return graph, value


def _model(onnx: Any, network: Network, graph: Graph, outputs: Value) -> Any:
    """Return the graph as ONNX's protobuf message."""
    helper = onnx.helper

    def described(name: str, features: int | None) -> Any:
        kind = helper.np_dtype_to_tensor_dtype(network.dtype)
        return helper.make_tensor_value_info(name, kind, ["batch", features or "features"])

    nodes = [_node(onnx, node) for node in graph.nodes]
    nodes.append(helper.make_node("Identity", [outputs.name], ["outputs"]))
    constants = [onnx.numpy_helper.from_array(array, name) for name, array in graph.constants.items()]
    sides = [described("inputs", network.in_features)], [described("outputs", network.out_features)]
    model = helper.make_model(
        helper.make_graph(nodes, "minihash", *sides, constants),
        opset_imports=[helper.make_operatorsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="minihash",
        producer_version=__version__,
    )
    notes = {} if network.task is None else {"task": network.task}
    if network.class_names is not None:
        notes["class_names"] = json.dumps(network.class_names, ensure_ascii=False, allow_nan=False)
    helper.set_model_props(model, notes)
    return model


def _node(onnx: Any, node: Node) -> Any:
    attributes = dict(node.attributes)
    if node.operator == "Cast":
        attributes["to"] = onnx.helper.np_dtype_to_tensor_dtype(attributes["to"])
    return onnx.helper.make_node(node.operator, node.inputs, node.outputs, **attributes)
