"""The header and the source of a network in C, put together from templates and layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minihash.export.c import training
from minihash.export.c.arithmetic import Numbers, words_of
from minihash.export.c.layer import CLayer, index_bytes
from minihash.export.c.loops import activate, forward_lines
from minihash.export.c.names import classes_code, inputs_comment, is_classifier
from minihash.export.c.report import Report
from minihash.export.c.text import LEAST_SCALE, Constant, fill, indent, number, template
from minihash.export.plan import Plan
from minihash.network import Network

#: How a streamed inference asks for its inputs.
IN_ORDER = {
    True: "read(0), read(1), ..., each once, in this order. None is kept",
    False: "read(j), each once, in the order of the first layer's segments. A few are kept",
}
MODEL = template("model.c")


@dataclass(frozen=True)
class Scaling:
    """The scaling in C: its tables, where it differs from feature to feature, and expressions.

    `shift` and `scale` are those of input j, `scaled` is `(raw − shift) · scale` without what does nothing.
    `outputs` is `out[i] · scale + shift`, or "" if that does nothing.
    """

    tables: list[Constant]
    shift: str
    scale: str
    scaled: str
    outputs: str

    @classmethod
    def of(cls, network: Network) -> Scaling:
        """Return the scaling of a network."""
        tables: list[Constant] = []
        shift = _each(tables, "input_shift", network.input_shift, "j")
        scale = _each(tables, "input_scale", network.input_scale, "j")
        scaled = "raw"
        if network.input_shift.ndim or network.input_shift != 0:
            scaled = f"(raw - {shift})"
        if network.input_scale.ndim or network.input_scale != 1:
            scaled = f"{scaled} * {scale}"
        outputs = ""
        if network.scales_outputs:
            factor = _each(tables, "output_scale", network.output_scale, "i")
            outputs = f"out[i] * {factor} + {_each(tables, 'output_shift', network.output_shift, 'i')}"
        return cls(tables, shift, scale, scaled, outputs)


def _each(tables: list[Constant], name: str, array: np.ndarray, index: str) -> str:
    """Return the expression of a number, or of one of an array, which becomes one of the tables."""
    if not array.ndim:
        return number(array)
    tables.append(Constant(name, array.astype(np.float32)))
    return tables[-1].read(index)


def header(network: Network, plan: Plan, report: Report, numbers: Numbers, common: dict[str, str]) -> str:
    """Return the header: what the functions do, and what they cost."""
    parameters, whole, text = training.count(plan), numbers.whole, template("model.h")
    words = words_of(network, whole) if whole else {}
    floats = is_classifier(network) and not whole
    return fill(
        text,
        **common,
        **numbers.types,
        what=fill(text, numbers.section, **common, **words).rstrip("\n"),
        unscaled="" if whole else fill(text, "unscaled", **common) + "\n",
        arithmetic="no float is used." if whole else "no double is used.",
        summary=report.summary,
        report="\n".join(f" * {line}".rstrip() for line in str(report).splitlines()),
        inputs=report.inputs,
        outputs=report.outputs,
        flash=report.flash,
        code=report.code,
        ram=report.ram_macro(common["NAME"]),
        reading=IN_ORDER[plan.layers[0].in_order],
        includes="#include <math.h>\n" * floats + "#include <stdint.h>",
        names=inputs_comment(network),
        classes=classes_code(network, floats, common),
        training=fill(template("training.h"), **common, parameters=parameters) if plan.training else "",
    )


def source(plan: Plan, scaling: Scaling, numbers: Numbers, common: dict[str, str]) -> str:
    """Return the source: constants and functions of the scaling and of every layer, then the network's."""
    index, math = f"uint{8 * index_bytes(plan.layers)}_t", "" if numbers.whole else "#include <math.h>\n"
    parts = [fill(MODEL, "head", **common, **numbers.types, index=index, math=math)]
    parts += [fill(template("hash.c"), section) for section in _hash_sections(plan.layers)]
    if numbers.whole:
        biases = [fill(MODEL, "bias_of")] * any(layer.layer.bias == "hashed" for layer in plan.layers)
        using = [*biases, *_activations(plan)]
        parts += [fill(MODEL, "floor")] * any("shift_down(" in code for code in using) + using
        parts.append(fill(MODEL, "whole_input", **numbers.types))
    else:
        parts += _activations(plan)
        parts += [table.declaration() for table in scaling.tables]
        fields = {"shift": scaling.shift, "scale": scaling.scale, "least": number(LEAST_SCALE)}
        parts.append(fill(MODEL, "input", **common, **fields, scaled=activate(plan.first, scaling.scaled)))
    if plan.training:
        parts.append(training.parameters_code(plan, common))
    for layer in plan.layers:
        parts.append(_title(layer.name, layer.words()))
        parts += [table.declaration() for table in layer.tables]
        if not plan.training:
            parts += [_constant_parameter(layer.name, *item) for item in layer.parameters.items()]
        parts.append(layer.code(plan.training))
    parts.append(_forward(plan, "" if numbers.whole else scaling.outputs, numbers, common))
    if plan.training:
        parts.append(training.train_code(plan, common))
    return "\n".join(parts)


def _hash_sections(layers: list[CLayer]) -> list[str]:
    """Return the sections of hash.c that some layers need."""
    largest = max(layer.draws_from for layer in layers)
    needed = {
        "hash": any(layer.hashes for layer in layers),
        "scale16": 0 < largest < 2**16,
        "scale32": largest >= 2**16,
        "unpack": any(layer.is_packed() for layer in layers),
    }
    return [section for section, need in needed.items() if need]


def _activations(plan: Plan) -> list[str]:
    """Return the functions of activations, and their slopes where layers before them are trained."""
    behind = [activation for stage in plan.stages for activation in stage.activations]
    functions = dict.fromkeys(activation.code for activation in [*plan.first, *behind])
    slopes = dict.fromkeys(activation.slope for activation in behind if plan.training)
    return [*functions, *slopes]


def _title(name: str, text: str) -> str:
    rule = f"/* {'-' * (106 - len(name))} {name}"
    return f"{rule}\n *\n * {text}.\n */"


def _constant_parameter(layer: str, kind: str, array: np.ndarray) -> str:
    """Return a layer's weights or biases as a constant, and the name by which its functions read them."""
    constant = Constant(f"{layer}_{kind}_values", array)
    reads = {
        "float32": constant.read("k"),
        "int32": constant.read("k"),
        "int8": f"(weight_t){constant.read('k')}",
        "uint8": f"UNPACK({constant.read('(k) >> 1')}, k)",
    }
    return f"{constant.declaration()}#define {layer}_{kind}(k) {reads[array.dtype.name]}\n"


def _forward(plan: Plan, scaled: str, numbers: Numbers, common: dict[str, str]) -> str:
    buffers = {**plan.buffers, **(training.arrays(plan) if plan.training else {})}
    return fill(
        *(MODEL, "forward"),
        **{**common, **numbers.types},
        buffers="".join(f"static number_t {name}[{count}];\n" for name, count in buffers.items()),
        lines=indent(forward_lines(plan, scaled)),
        outputs=plan.outputs,
        label=fill(MODEL, "label" if plan.outputs > 1 else "label_of_one", outputs=plan.outputs).rstrip("\n"),
    )
