"""The loops of a plan in C: the function `forward`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from minihash.export.plan import OUT, Activation, Loop, Plan


def activate(activations: Sequence[Activation], expression: str) -> str:
    """Return the expression after some activations."""
    for activation in activations:
        expression = f"{activation.call}({expression})"
    return expression


def forward_lines(plan: Plan, scaled: str) -> list[str]:
    """Return the lines of `forward`: names for the shared buffers, and a loop for each of the plan's.

    scaled : the expression of output i from `out[i]`, or "".
    """
    lines = [f"number_t *const {name} = {buffer};" for name, buffer in plan.shared.items()]
    if lines:
        lines.append("")
    for loop in plan.loops:
        words, value = _values(loop)
        target = loop.target
        if loop.taker is None:
            assert loop.source is not None  # inputs are not stored
            use = "the outputs" if target == OUT else "kept for the training"
            lines += [f"/* {words}: {use}. */", *_store(loop.source.outputs, target, value("i"))]
            continue
        layer = loop.taker.layer
        use = f"each is added to the {'inner vector' if layer.inner else 'units'} of layer {layer.position}"
        taken = value if loop.source is None else _as_value(value)
        lines += [f"/* {words}: {use}. */", *layer.take(target, taken)]
        finished = activate(loop.taker.activations, layer.finished(f"{target}[i]"))
        if not layer.inner and finished != f"{target}[i]":
            lines += _store(loop.taker.outputs, target, finished)
    if scaled:
        lines += ["/* The outputs in the units of the targets. */", *_store(plan.outputs, OUT, scaled)]
    return lines


def _as_value(value: Callable[[str], str]) -> Callable[[str], str]:
    """Return the same expression as a factor of products, for which whole numbers are shorter than sums."""
    return lambda index: f"(value_t){value(index)}"


def _values(loop: Loop) -> tuple[str, Callable[[str], str]]:
    """Return what passes through a loop, in words, and the expression of one at an index."""
    if loop.source is None:
        return "The inputs, as they come", lambda index: f"input(x, read, {index})"
    layer, activations = loop.source.layer, loop.source.activations
    words = f"The units of layer {layer.position}"
    if not loop.singly:
        return words, lambda index: f"{loop.array}[{index}]"

    def unit(index: str) -> str:
        return activate(activations, f"{layer.name}_unit({loop.array}, {index})")

    return f"{words}, one at a time", unit


def _store(count: int, array: str, value: str) -> list[str]:
    """Return the loop that stores the values of all i."""
    return [f"for (index_t i = 0; i < {count}; i++)", f"    {array}[i] = {value};"]
