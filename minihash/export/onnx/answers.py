"""What a classifier says beside its outputs, as operators of ONNX: probabilities and labels."""

from __future__ import annotations

import numpy as np

from minihash.export.onnx.graph import Graph, Value
from minihash.network import Network


def answers(graph: Graph, outputs: Value, network: Network) -> dict[str, Value]:
    """Add probabilities and labels of a classifier's outputs; return them by name, and nothing else.

    `probabilities` (batch, classes) and `label` (batch,), the name of the likeliest class or its number
    where classes have no names; where a row may have several labels, (batch, labels) of 0 and 1. They are
    what `Network.predict_proba` and `predict_labels` return.
    """
    if network.task == "classification":
        label = graph.apply("ArgMax", outputs, dtype=np.int64, axis=1, keepdims=0)
        return {"probabilities": graph.apply("Softmax", outputs, axis=1), "label": _named(label, network)}
    if network.task not in ("binary", "multilabel"):
        return {}
    label = graph.apply("Greater", outputs, 0, dtype=np.bool_).cast(np.int64)
    probabilities = graph.apply("Sigmoid", outputs)
    if network.task == "multilabel":
        return {"probabilities": probabilities, "label": label}
    of_no = graph.apply("Sigmoid", -outputs)
    both = graph.apply("Concat", of_no, probabilities, axis=1)
    return {"probabilities": both, "label": _named(label.reshape(-1), network)}


def _named(label: Value, network: Network) -> Value:
    """Add the names of classes by their numbers, if there are any."""
    if network.class_names is None:
        return label
    names = np.array(network.class_names, object)
    return label.graph.constant("class_names", names).gather(label)
