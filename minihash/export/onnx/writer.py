"""Networks as ONNX: the graph, and the message of protobuf that holds it."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from minihash import checks
from minihash.export.known import check_network, network_of
from minihash.export.onnx.answers import answers
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


def to_onnx(network: Any, path: str | os.PathLike[str], *, dense: bool = False) -> None:
    """Write a network as an ONNX model, all of it or nothing.

    The graph takes raw `inputs` (batch, in_features) of the network's dtype, with any number of rows, and
    returns `outputs` (batch, out_features), logits for a classifier, numbers in the targets' units for a
    regression. That of a classifier returns `probabilities` and `label` too, what `predict_proba` and
    `predict_labels` do; a runtime computes those that it is asked for.

    The graph holds the stored weights and computes the hash with integer operators, so that the file is as
    small as the network. A runtime that folds constants makes dense weights of that when it loads the file
    (docs/onnx.md).

    Parameters
    ----------
    network : of float32 or float64, made of hashed and dense layers, ReLU, Tanh and Sigmoid; Dropout is
        left out. Or an estimator (`minihash.sklearn`), whose `network_` it is. The scaling of inputs and
        outputs is in the graph; its metadata have the task, and as JSON the names of classes and inputs
        (`task`, `class_names`, `feature_names`).
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
    network = network_of(network)
    check_network(network, FORMS, CODES, "float32 or float64")
    nbytes = network.dtype.itemsize * sum(num_written(layer, dense) for layer in network.layers)  # at most
    if nbytes >= LIMIT_BYTES:
        raise ValueError(f"the weights are {nbytes:,} bytes in the file, wanted less than {LIMIT_BYTES:,}")
    onnx = _import_onnx()
    graph, outputs = _graph(network, dense)
    returned = {"outputs": outputs, **answers(graph, outputs, network)}
    content = _model(onnx, network, graph, returned).SerializeToString(deterministic=True)
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
    """Return the graph and its outputs."""
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


def _model(onnx: Any, network: Network, graph: Graph, returned: dict[str, Value]) -> Any:
    """Return the graph as ONNX's protobuf message."""
    helper, batch = onnx.helper, "batch"
    shapes: dict[str, list[Any]] = {
        "inputs": [batch, network.in_features or "features"],
        "outputs": [batch, network.out_features or "features"],
        "probabilities": [batch, 2 if network.task == "binary" else network.out_features],
        "label": [batch, network.out_features] if network.task == "multilabel" else [batch],
    }

    def described(name: str, dtype: np.dtype) -> Any:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), shapes[name])

    nodes = [_node(onnx, node) for node in graph.nodes]
    nodes += [helper.make_node("Identity", [value.name], [name]) for name, value in returned.items()]
    constants = [onnx.numpy_helper.from_array(array, name) for name, array in graph.constants.items()]
    inputs = [described("inputs", network.dtype)]
    outputs = [described(name, value.dtype) for name, value in returned.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "minihash", inputs, outputs, constants),
        opset_imports=[helper.make_operatorsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="minihash",
        producer_version=__version__,
    )
    notes = {} if network.task is None else {"task": network.task}
    features = network.schema.feature_names if network.schema else None
    for name, words in (("class_names", network.class_names), ("feature_names", features)):
        if words is not None:
            notes[name] = json.dumps(words, ensure_ascii=False, allow_nan=False)
    helper.set_model_props(model, notes)
    return model


def _node(onnx: Any, node: Node) -> Any:
    attributes = dict(node.attributes)
    if node.operator == "Cast":
        attributes["to"] = onnx.helper.np_dtype_to_tensor_dtype(attributes["to"])
    return onnx.helper.make_node(node.operator, node.inputs, node.outputs, **attributes)
