"""The order in which a network is computed on a device, and the memory that it needs.

Inputs come one at a time. A layer that gets its inputs so adds each to all its units, which are kept; the
next layer finds them all there, and makes its units one at a time, which again need not be kept; and so on.
So every other hidden layer is kept, in two buffers that take turns; a layer with an inner vector
(c_layer.py) keeps that alone.

Training needs what comes out of every layer, so then all of them are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from minihash.export.c_layer import CLayer
from minihash.export.c_layers import LAYERS
from minihash.export.known import Forms
from minihash.layers import Dropout, Layer, ReLU, Sigmoid, Tanh, WeightLayer

#: Names in C; what does nothing in predictions has none.
ACTIVATIONS: dict[type[Layer], str] = {ReLU: "relu", Tanh: "tanh", Sigmoid: "sigmoid", Dropout: ""}
FORMS = Forms("C", (*LAYERS, *ACTIVATIONS), (8, 4))
CALLS = {"relu": "relu", "tanh": "tanhf", "sigmoid": "sigmoid"}


@dataclass
class Stage:
    """A layer with weights, and the activations that follow it."""

    layer: CLayer
    activations: list[str] = field(default_factory=list)

    @property
    def outputs(self) -> int:
        return self.layer.layer.out_features


@dataclass
class Plan:
    """A network in the order of its computation.

    Attributes
    ----------
    first : activations before the first layer with weights.
    stages : these layers.
    training : whether what comes out of every layer is kept.
    buffers : static arrays of floats, name -> length.
    pointers : declarations of names for the two buffers that take turns.
    lines : of the function `forward`.
    """

    training: bool
    first: list[str] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    buffers: dict[str, int] = field(default_factory=dict)
    pointers: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def layers(self) -> list[CLayer]:
        return [stage.layer for stage in self.stages]

    @property
    def index_bytes(self) -> int:
        """Bytes of what counts units and weights."""
        return 4 if max(layer.largest_index() for layer in self.layers) >= 2**16 else 2

    @property
    def activations(self) -> set[str]:
        return {*self.first, *(name for stage in self.stages for name in stage.activations)}


def make_plan(layers: Sequence[Layer], training: bool) -> Plan:
    """Return the plan of a network's layers.

    Parameters
    ----------
    layers : such as `FORMS.check` lets pass.

    Raises
    ------
    ValueError for a network without weights.
    """
    plan = Plan(training)
    kept = False  # whether the inputs of the layer at hand are all there
    for layer in layers:
        if isinstance(layer, WeightLayer):
            plan.stages.append(Stage(LAYERS[type(layer)](layer, len(plan.stages), not kept)))
            kept = training or not (kept or plan.layers[-1].inner)
        elif name := ACTIVATIONS[type(layer)]:
            (plan.stages[-1].activations if plan.stages else plan.first).append(name)
    if not plan.stages:
        raise ValueError("network has no layer with weights, wanted one at least")
    _write_forward(plan)
    return plan


def activate(names: Sequence[str], expression: str) -> str:
    """Return the expression after some activations."""
    for name in names:
        expression = f"{CALLS[name]}({expression})"
    return expression


@dataclass
class _Values:
    """Numbers on their way: how many, what they are, the expression of one, and the array if all are kept."""

    count: int
    words: str
    at: Callable[[str], str]
    array: str = ""


def _write_forward(plan: Plan) -> None:
    """Write the loops of the plan, one for all values that pass from a layer to the next."""
    inputs = plan.layers[0].layer.in_features
    values = _Values(inputs, "The inputs, as they come", lambda index: f"input(x, read, {index})")
    for stage in plan.stages:
        last = stage is plan.stages[-1]
        if stage.layer.inner or not values.array:
            values = _take_singly(plan, stage, values, last)
        else:
            values = _units(stage, values.array)
        if not values.array and (plan.training or last):
            target = "out" if last else _buffer(plan, f"{stage.layer.name}_out", values.count)
            use = "the outputs" if last else "kept for the training"
            plan.lines += [f"/* {values.words}: {use}. */", _head("i", values.count)]
            plan.lines.append(f"    {target}[i] = {values.at('i')};")
            values = _array(stage, target)


def _take_singly(plan: Plan, stage: Stage, values: _Values, last: bool) -> _Values:
    """Write the loop that gives a layer its inputs one by one; return what comes out of the layer."""
    layer = stage.layer
    if layer.inner:
        target = _buffer(plan, f"{layer.name}_inner", layer.inner)
    else:
        target = "out" if last else _buffer(plan, f"{layer.name}_out", stage.outputs)
    use = f"each is added to the {'inner vector' if layer.inner else 'units'} of layer {layer.position}"
    plan.lines += [f"/* {values.words}: {use}. */", *layer.take(target, values.at)]
    if layer.inner:
        return _units(stage, target)
    activated = activate(stage.activations, layer.finished(f"{target}[i]"))
    if activated != f"{target}[i]":
        plan.lines += [_head("i", stage.outputs), f"    {target}[i] = {activated};"]
    return _array(stage, target)


def _units(stage: Stage, inputs: str) -> _Values:
    """Return the units of a layer as they are made from an array."""
    layer = stage.layer
    words = f"The units of layer {layer.position}, one at a time"

    def unit(index: str) -> str:
        return activate(stage.activations, f"{layer.name}_unit({inputs}, {index})")

    return _Values(stage.outputs, words, unit)


def _array(stage: Stage, array: str) -> _Values:
    """Return the units of a layer as they lie in an array."""
    words = f"The units of layer {stage.layer.position}"
    return _Values(stage.outputs, words, lambda index: f"{array}[{index}]", array)


def _head(index: str, count: int) -> str:
    return f"for (index_t {index} = 0; {index} < {count}; {index}++)"


def _buffer(plan: Plan, name: str, count: int) -> str:
    """Return an array for `count` floats: for training its own, else one of the two that take turns."""
    shared = name if plan.training else f"buffer{len(plan.pointers) % 2}"
    plan.buffers[shared] = max(count, plan.buffers.get(shared, 0))
    if not plan.training:
        plan.pointers.append(f"float *const {name} = {shared};")
    return name
