"""Networks as C99 for devices: a header, a source and what is needed to try them.

The code is the network's own: a function or three a layer, loops of constant length, the hash computed as
they go. c_plan.py has the order of the loops, c_layer.py, c_hashed.py and c_layers.py the layers,
`templates/` the C.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from minihash import checks
from minihash.export import c_programs, c_training
from minihash.export.c_layers import hash_sections
from minihash.export.c_plan import CALLS, FORMS, Plan, activate, make_plan
from minihash.export.c_report import Report
from minihash.export.c_text import LEAST_SCALE, Constant, fill, indent, number
from minihash.export.known import check_numbers
from minihash.files import replacing_all
from minihash.kernels.devices import check_on_host
from minihash.layers import QuantizedHashedLinear
from minihash.network import Network
from minihash.quantization import quantize
from minihash.version import __version__

WEIGHTS = {"float32": None, "int8": 8, "int4": 4}  # bits of quantised ones
#: Of C99, and what minihash's own code includes on AVR: a file of that name would be found instead.
HEADERS = set(
    "assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdarg stdbool "
    "stddef stdint stdio stdlib string tgmath time wchar wctype".split()
)
#: How a streamed inference asks for its inputs.
IN_ORDER = {
    True: "read(0), read(1), ..., each once, in this order. None is kept",
    False: "read(j), each once, in the order of the first layer's segments. A few are kept",
}
MARK = "made by minihash"  # in the first line of every file: only such files are replaced


def to_c(
    network: Network,
    directory: str | os.PathLike[str],
    *,
    name: str = "model",
    weights: str | None = None,
    training: bool = False,
) -> Report:
    """Write a network as self-contained C99, `name.h` and `name.c`, for devices with little memory.

    The stored weights are constants (in flash memory on AVR), the hash is computed as the loops go, and
    nothing is allocated: the memory is static arrays, whose size is in the header. Beside the pair there are
    `name_selftest.c` with golden vectors, an example `main.c` and a `Makefile` for a computer and for AVR.
    The example answers rows of numbers with the names of their classes, or without names with the outputs,
    and so where each output is a label by itself (`network.task` "multilabel").

    Parameters
    ----------
    network : made of hashed and dense layers, ReLU, Tanh and Sigmoid; Dropout is left out. One of float64 is
        rounded to float32 (`Network.astype`). Its input scaling is applied on the device.
    directory : where to; it is made if it is missing.
    name : of the files and in front of the functions; a C identifier.
    weights : how the buckets of hashed layers are kept, "float32", or quantised, "int8" or "int4"
        (`quantization.quantize`); by default as the network has them.
    training : also write `name_train_step`, stochastic gradient descent on single examples. The parameters
        are kept in RAM then, and what comes out of every layer.

    Returns
    -------
    Report : the bytes and the work of each layer; as text, what the header says.

    Raises
    ------
    ValueError, before anything is written, for a network or an argument that C has no form of, and where a
    file of someone else's would be replaced; OSError if the files cannot be written.

    Source: ours; the layout follows emlearn, https://github.com/emlearn/emlearn.
    """
    _check_arguments(name, weights)
    _check_network(network)
    given, network = network, network.astype(np.float32)
    network = _with_weights(network, weights)
    if checks.boolean("training", training) and _bits_of(network):
        raise ValueError("training is True and the weights are quantised, wanted weights of float32")
    plan = make_plan(network.layers, training)
    if training:
        c_training.check(plan)
    scaling = _scaling_tables(network)
    report = Report.of(plan, network, scaling, given.dtype)
    common = {"name": name, "NAME": name.upper(), "version": __version__}
    files = {
        f"{name}.h": _header(plan, report, common),
        f"{name}.c": _source(plan, network, scaling, common),
        f"{name}_selftest.c": c_programs.selftest(network, report.inputs, common),
        "main.c": c_programs.example(network, report.inputs, common),
        "Makefile": fill("Makefile", **common),
    }
    _write(Path(directory), files)
    return replace(report, files=tuple(files))


def _check_arguments(name: Any, weights: Any) -> None:
    if not isinstance(name, str) or not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name) or name == "main":
        raise ValueError(f"name is {name!r}, wanted a C identifier that starts with a letter, and not 'main'")
    if name.lower() in HEADERS or name.endswith("_selftest"):
        raise ValueError(f"name is {name!r}, wanted one that no header and no self-test has")
    if weights is not None:
        checks.choice("weights", weights, tuple(WEIGHTS))


def _check_network(network: Any) -> None:
    if not isinstance(network, Network):
        raise ValueError(f"network is {network!r}, wanted a Network")
    if network.dtype not in (np.float32, np.float64):
        raise ValueError(f"network has dtype {network.dtype}, wanted float32, or float64 to round, for C")
    check_on_host("network", network)
    FORMS.check(network.layers)  # before copies are made, of what is known
    check_numbers(network, np.float32)


def _bits_of(network: Network) -> set[int]:
    """Return the bits of the quantised layers."""
    return {layer.bits for layer in network.layers if isinstance(layer, QuantizedHashedLinear)}


def _with_weights(network: Network, weights: str | None) -> Network:
    """Return the network with its buckets kept as wanted."""
    found = _bits_of(network)
    bits = None if weights is None else WEIGHTS[weights]
    if weights is None or found == {bits} or not found and bits is None:
        return network
    if found:
        raise ValueError(f"weights is {weights!r} and the network is quantised, wanted none: as it is")
    assert bits is not None
    return quantize(network, bits)


# ------------------------------------------------------------------------------------------ the files


def _header(plan: Plan, report: Report, common: dict[str, str]) -> str:
    training = ""
    if plan.training:
        training = fill("training.h", **common, parameters=c_training.count(plan))
    return fill(
        "model.h",
        **common,
        summary=report.summary,
        report="\n".join(f" * {line}".rstrip() for line in str(report).splitlines()),
        inputs=report.inputs,
        outputs=report.outputs,
        flash=report.flash,
        code=report.code,
        ram=report.ram_macro(common["NAME"]),
        reading=IN_ORDER[plan.layers[0].in_order],
        training=training,
    )


def _source(plan: Plan, network: Network, scaling: dict[str, Constant], common: dict[str, str]) -> str:
    parts = [fill("model.c", "head", **common, index=f"uint{8 * plan.index_bytes}_t")]
    parts += [fill("hash.c", section) for section in hash_sections(plan.layers)]
    parts += _activations(plan)
    parts += [table.declaration() for table in scaling.values()]
    scaled = activate(plan.first, _scaled(network, scaling))
    shift_and_scale = {"shift": _shift(network, scaling), "scale": _scale(network, scaling)}
    least = number(LEAST_SCALE)
    parts.append(fill("model.c", "input", **common, **shift_and_scale, least=least, scaled=scaled))
    if plan.training:
        parts.append(c_training.parameters_code(plan, common["name"]))
    for layer in plan.layers:
        parts.append(_title(layer.name, layer.words()))
        parts += [table.declaration() for table in layer.tables]
        if not plan.training:
            parts += [_constant_parameter(layer.name, *item) for item in layer.parameters.items()]
        parts.append(layer.code(plan.training))
    parts.append(_forward(plan, common))
    if plan.training:
        parts.append(c_training.train_code(plan, common["name"]))
    return "\n".join(parts)


def _title(name: str, text: str) -> str:
    rule = f"/* {'-' * (106 - len(name))} {name}"
    return f"{rule}\n *\n * {text}.\n */"


def _constant_parameter(layer: str, kind: str, array: np.ndarray) -> str:
    """Return a layer's weights or biases as a constant, and the name by which its functions read them."""
    constant = Constant(f"{layer}_{kind}_values", array)
    reads = {
        "float32": constant.read("k"),
        "int8": f"(float){constant.read('k')}",
        "uint8": f"unpack({constant.read('(k) >> 1')}, (index_t)(k))",
    }
    return f"{constant.declaration()}#define {layer}_{kind}(k) {reads[array.dtype.name]}\n"


def _activations(plan: Plan) -> list[str]:
    sections = [name for name in CALLS if name in plan.activations]
    if plan.training:
        behind = {name for stage in plan.stages for name in stage.activations}
        sections += [f"{name}_slope" for name in CALLS if name in behind]
    return [fill("activations.c", section) for section in sections]


def _forward(plan: Plan, common: dict[str, str]) -> str:
    buffers = {**plan.buffers, **(c_training.arrays(plan) if plan.training else {})}
    outputs = plan.stages[-1].outputs
    return fill(
        *("model.c", "forward"),
        **common,
        buffers="".join(f"static float {name}[{count}];\n" for name, count in buffers.items()),
        lines=indent([*plan.pointers, *([""] if plan.pointers else []), *plan.lines]),
        outputs=outputs,
        label=fill("model.c", "label" if outputs > 1 else "label_of_one", outputs=outputs).rstrip("\n"),
    )


# -------------------------------------------------------------------------------------- the input scaling


def _scaling_tables(network: Network) -> dict[str, Constant]:
    """Return the constants of a scaling that differs from feature to feature."""
    scaling = {"shift": network.input_shift, "scale": network.input_scale}
    return {
        name: Constant(f"input_{name}", array.astype(np.float32))
        for name, array in scaling.items()
        if array.ndim
    }


def _shift(network: Network, tables: dict[str, Constant]) -> str:
    """Return the expression of input j's shift."""
    return tables["shift"].read("j") if "shift" in tables else number(network.input_shift)


def _scale(network: Network, tables: dict[str, Constant]) -> str:
    """Return the expression of input j's scale."""
    return tables["scale"].read("j") if "scale" in tables else number(network.input_scale)


def _scaled(network: Network, tables: dict[str, Constant]) -> str:
    """Return the expression of `(raw − input_shift) · input_scale`."""
    shifts = "shift" in tables or network.input_shift != 0
    scales = "scale" in tables or network.input_scale != 1
    expression = f"(raw - {_shift(network, tables)})" if shifts else "raw"
    return f"{expression} * {_scale(network, tables)}" if scales else expression


# -------------------------------------------------------------------------------------------- writing


def _write(directory: Path, files: dict[str, str]) -> None:
    """Write all files, whole: none takes its name before all are on the disk."""
    for name in files:
        path = directory / name
        if path.is_file() and MARK not in path.read_text("utf-8", errors="replace")[:200]:
            raise ValueError(f"{path} is not from minihash export and would be replaced: take another folder")
    directory.mkdir(parents=True, exist_ok=True)
    with replacing_all([directory / name for name in files]) as streams:
        for stream, text in zip(streams, files.values()):
            stream.write(text.encode())
