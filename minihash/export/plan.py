"""The order in which a row goes through a network, and the memory that it needs: a plan, as data.

Inputs come one at a time. A layer that gets its inputs so adds each to all its units, which are kept; the
next layer finds them all there, and makes its units one at a time, which again need not be kept; and so on.
So every other hidden layer is kept, in two buffers that take turns. A layer with an inner vector between
inputs and units, such as one of products, takes inputs one by one and gives units one by one: it keeps the
inner vector alone.

Training needs what comes out of every layer, so then all of them are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from minihash.layers import Layer
from minihash.layers.registry import Forms

OUT = "out"  # the array of the network's outputs


@dataclass(frozen=True)
class Activation:
    """How a target writes a function of each unit by itself.

    Attributes
    ----------
    name : its own.
    call : the name of the function.
    code : its definition, or a comment.
    slope : the definition of `<name>_slope`, a function of what came out; "" where it cannot be trained.
    """

    name: str
    call: str
    code: str
    slope: str = ""


@dataclass
class Stage:
    """A layer with weights, and what follows it.

    Attributes
    ----------
    layer : what the target's form made of it. It has the `layer`, a `name` for its functions and arrays, and
        the length of an `inner` vector, or 0.
    activations : between it and the next layer with weights.
    """

    layer: Any
    activations: list[Activation]

    @property
    def outputs(self) -> int:
        return self.layer.layer.out_features


@dataclass(frozen=True)
class Loop:
    """A loop over all values that pass from a layer to the next.

    Attributes
    ----------
    source : the stage whose units they are; None: the network's inputs.
    singly : whether they come or are made one at a time; else they lie in `array`.
    array : where they lie, or what units are made from; "" for inputs.
    taker : the stage that each is added to, in its units or its inner vector; None: they are stored.
    target : the array of either.
    """

    source: Stage | None
    singly: bool
    array: str
    taker: Stage | None
    target: str


@dataclass
class Plan:
    """A network in the order of its computation.

    Attributes
    ----------
    training : whether what comes out of every layer is kept.
    first : activations before the first layer with weights.
    stages : these layers.
    loops : of a forward pass, from the inputs to the array `OUT`.
    buffers : static arrays of floats, name -> length.
    shared : names for the two buffers that take turns, name -> buffer.
    """

    training: bool
    first: list[Activation] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    loops: list[Loop] = field(default_factory=list)
    buffers: dict[str, int] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)

    @property
    def layers(self) -> list[Any]:
        return [stage.layer for stage in self.stages]

    @property
    def outputs(self) -> int:
        return self.stages[-1].outputs


def make_plan(layers: Sequence[Layer], forms: Forms[Any], training: bool = False) -> Plan:
    """Return the plan of a network's layers.

    Parameters
    ----------
    layers : such as `known.check_layers` lets pass.
    forms : what the target has for each kind: an `Activation`; None for what does nothing in predictions; or
        a function of the layer, its position among those with weights, and whether its inputs come one at a
        time, that returns the `layer` of a `Stage`.
    training : whether what comes out of every layer is kept.

    Raises
    ------
    ValueError for a network without weights.
    """
    plan = Plan(training)
    weighted: list[tuple[Layer, Any, list[Activation]]] = []
    for layer in layers:
        form = forms.of(layer)
        if isinstance(form, Activation):
            (weighted[-1][2] if weighted else plan.first).append(form)
        elif form is not None:
            weighted.append((layer, form, []))
    if not weighted:
        raise ValueError("network has no layer with weights, wanted one at least")
    source, singly, array = None, True, ""  # the values at hand, as in a Loop
    for position, (layer, form, activations) in enumerate(weighted):
        stage = Stage(form(layer, position, singly), activations)
        plan.stages.append(stage)
        inner, last = stage.layer.inner, position == len(weighted) - 1
        if inner or singly:  # each of the values is added to the layer
            target = _array(plan, stage, "inner", inner) if inner else _units(plan, stage, last)
            plan.loops.append(Loop(source, singly, array, stage, target))
            source, singly, array = stage, bool(inner), target
        else:  # they all lie there: units are made from them when they are wanted
            source, singly = stage, True
        if singly and (training or last):
            target = _units(plan, stage, last)
            plan.loops.append(Loop(source, singly, array, None, target))
            singly, array = False, target
    return plan


def _units(plan: Plan, stage: Stage, last: bool) -> str:
    """Return an array for the units of a stage."""
    return OUT if last else _array(plan, stage, "out", stage.outputs)


def _array(plan: Plan, stage: Stage, what: str, count: int) -> str:
    """Return an array for `count` floats: for training its own, else one of the two that take turns."""
    name = f"{stage.layer.name}_{what}"
    buffer = name
    if not plan.training:
        buffer = plan.shared[name] = f"buffer{len(plan.shared) % 2}"
    plan.buffers[buffer] = max(count, plan.buffers.get(buffer, 0))
    return name
