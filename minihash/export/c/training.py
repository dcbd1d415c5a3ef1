"""Training in C: parameters in RAM, the backward pass, the arrays it needs."""

from __future__ import annotations

from minihash.export.c.text import fill, indent, template, values
from minihash.export.plan import Plan


def check(plan: Plan, regression: bool) -> None:
    """Raise a ValueError for a network that cannot be trained on the device."""
    for stage in plan.stages:
        if len(stage.activations) > 1:
            names = " and ".join(activation.name for activation in stage.activations)
            raise ValueError(f"training wants one activation after a layer, found {names} after one")
        for activation in stage.activations:
            if not activation.slope:
                raise ValueError(f"training wants the slope of an activation, {activation.name} has none")
    if regression:
        raise ValueError("training has the loss of a classifier, and the network is for regression")
    if plan.outputs == 1:
        raise ValueError("training has the loss of a classifier, wanted 2 outputs at least")


def arrays(plan: Plan) -> dict[str, int]:
    """Return the static arrays of training beside those of `forward`: name -> floats."""
    deltas = {f"{stage.layer.name}_delta": stage.outputs for stage in plan.stages}
    last = plan.stages[-1]
    return {f"{last.layer.name}_out": last.outputs, **deltas}


def floats(plan: Plan) -> int:
    """Return how many floats training keeps in RAM beside those of `forward`, without momentum."""
    return count(plan) + sum(arrays(plan).values()) + 1  # the learning rate


def count(plan: Plan) -> int:
    """Return the number of all parameters."""
    return sum(array.size for layer in plan.layers for array in layer.parameters.values())


def parameters_code(plan: Plan, common: dict[str, str]) -> str:
    """Return the definition of the parameters, and their names in each layer."""
    lines, names, offset = [], [], 0
    for layer in plan.layers:
        for kind, array in layer.parameters.items():
            lines += [f"    /* {layer.name}_{kind} */", values(array)]
            step = "step" if kind == "weight" else f"{kind}_step"
            names.append(f"#define {layer.name}_{kind}(k) parameters[{offset} + (k)]")
            names.append(f"#define {layer.name}_{step}(k, grad) step({offset} + (k), grad)")
            offset += array.size
    code = fill(template("training.c"), "parameters", **common, count=offset, values="\n".join(lines))
    return code + "\n" + "\n".join(names) + "\n"


def train_code(plan: Plan, common: dict[str, str]) -> str:
    """Return the functions of training."""
    last = plan.stages[-1]
    return fill(
        *(template("training.c"), "train"),
        **common,
        count=count(plan),
        outputs=last.outputs,
        last=last.layer.name,
        lines=indent(_backward(plan)),
    )


def _backward(plan: Plan) -> list[str]:
    """Return the lines that go from the last layer to the first."""
    lines = []
    for stage in reversed(plan.stages):
        layer, delta = stage.layer, f"{stage.layer.name}_delta"
        for activation in stage.activations:
            lines.append(f"for (index_t i = 0; i < {stage.outputs}; i++)")
            lines.append(f"    {delta}[i] *= {activation.name}_slope({layer.name}_out[i]);")
        before = f"layer{layer.position - 1}"
        arrays = (f"{before}_out", f"{before}_delta") if layer.position else ("x", "")
        lines += layer.backward(*arrays)
    return lines
