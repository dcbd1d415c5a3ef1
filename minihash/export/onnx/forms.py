"""What ONNX has a form of, by kind of layer: a function that adds its operators to a graph.

A form is called as `form(layer, inputs, **params)` with `Value`s: the inputs (batch, in_features) and the
layer's parameters by their names. It returns the outputs (batch, out_features).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minihash.export.onnx.graph import Graph, Value, product
from minihash.export.onnx.hashed import hashed_linear, quantized_hashed_linear
from minihash.layers import Dropout, HashedLinear, Layer, Linear, QuantizedHashedLinear, ReLU, Sigmoid, Tanh
from minihash.layers.registry import Forms

FORMS: Forms[Callable[..., Value]] = Forms("ONNX")
FORMS.register(HashedLinear)(hashed_linear)
FORMS.register(QuantizedHashedLinear)(quantized_hashed_linear)


@FORMS.register(Linear)
def linear(layer: Layer, inputs: Value, weight: Value, bias: Value | None = None) -> Value:
    """Add a layer whose weight is its whole matrix."""
    return product(inputs, weight, bias)


FORMS.register(ReLU)(lambda layer, inputs: inputs.graph.apply("Relu", inputs))
FORMS.register(Tanh)(lambda layer, inputs: inputs.graph.apply("Tanh", inputs))
FORMS.register(Sigmoid)(lambda layer, inputs: inputs.graph.apply("Sigmoid", inputs))
FORMS.register(Dropout)(lambda layer, inputs: inputs)  # it does nothing in predictions


def add_layer(graph: Graph, layer: Layer, position: int, inputs: Value, dense: bool) -> Value:
    """Add the layer at a position of the network; return its outputs.

    With `dense`, hashed layers are written as their whole matrix.
    """
    form, params = FORMS.of(layer), layer.params
    if dense and _is_hashed(layer):
        form, params = linear, _whole(layer)
    values = {name: graph.constant(f"{position}.{name}", array) for name, array in params.items()}
    return form(layer, inputs, **values)


def num_written(layer: Layer, dense: bool) -> int:
    """Return how many weights of a layer the file holds."""
    if dense and _is_hashed(layer):
        assert layer.in_features is not None and layer.out_features is not None
        return layer.out_features * (layer.in_features + 1)
    return layer.num_parameters


def _is_hashed(layer: Layer) -> bool:
    """Tell whether it is the package's own: a subclass may compute something else than its matrix says."""
    return type(layer) in (HashedLinear, QuantizedHashedLinear)


def _whole(layer: Any) -> dict[str, Any]:
    """Return the parameters of the dense layer that computes what a hashed one does."""
    whole = {"weight": layer.virtual_weight_matrix()}
    return whole if layer.bias == "none" else {**whole, "bias": layer.virtual_bias()}
