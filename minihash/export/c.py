"""Networks as C99 for devices: a header, a source and what is needed to try them.

The code is the network's own: a function or three a layer, loops of constant length, the hash computed as
they go. c_plan.py has the order of the loops, c_layers.py the layers, `templates/` the C.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from minihash import checks
from minihash.export import c_training
from minihash.export.c_layers import hash_sections
from minihash.export.c_plan import CALLS, Plan, activate, make_plan
from minihash.export.c_report import Report
from minihash.export.c_text import Constant, fill, indent, number, values
from minihash.files import replacing_all
from minihash.kernels.devices import check_on_host
from minihash.layers import QuantizedHashedLinear, WeightLayer
from minihash.network import Network
from minihash.quantization import quantize
from minihash.version import __version__

WEIGHTS = {"float32": None, "int8": 8, "int4": 4}  # bits of quantised ones
#: Of C99, and what minihash's own code includes on AVR: a file of that name would be found instead.
HEADERS = set(
    "assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdarg stdbool "
    "stddef stdint stdio stdlib string tgmath time wchar wctype".split()
)
MARK = "made by minihash"  # in the first line of every file: only such files are replaced
VECTORS = 2  # of the self-test
TOLERANCE = 1e-4  # of the self-test, relative to the largest output


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

    Parameters
    ----------
    network : of float32, made of hashed, dense, low-rank and sparse layers, ReLU, Tanh and Sigmoid; Dropout
        is left out. Its input scaling is applied on the device.
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
    network = _with_weights(network, weights)
    if checks.boolean("training", training) and _bits_of(network):
        raise ValueError("training is True and the weights are quantised, wanted weights of float32")
    plan = make_plan(network.layers, training)
    if training:
        c_training.check(plan)
    scaling = _scaling_tables(network)
    report = Report.of(plan, network, scaling)
    common = {"name": name, "NAME": name.upper(), "version": __version__}
    files = {
        f"{name}.h": _header(plan, report, common),
        f"{name}.c": _source(plan, network, scaling, common),
        f"{name}_selftest.c": _selftest(network, report.inputs, common),
        "main.c": fill("main.c", **common),
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
    if network.dtype != np.float32:
        raise ValueError(f"network has dtype {network.dtype}, wanted float32 for C")
    check_on_host("network", network)
    scaling = {"input_scale": network.input_scale, "input_shift": network.input_shift}
    for name, array in {**network.params, **scaling}.items():
        if not (np.abs(array) <= np.finfo(np.float32).max).all():
            raise ValueError(f"{name} has NaN or infinity, wanted numbers that are finite in float32")


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
        training=training,
    )


def _source(plan: Plan, network: Network, scaling: dict[str, Constant], common: dict[str, str]) -> str:
    wide = max(layer.largest_index() for layer in plan.layers) >= 2**16
    parts = [fill("model.c", "head", **common, index="uint32_t" if wide else "uint16_t")]
    parts += [fill("hash.c", section) for section in hash_sections(plan.layers)]
    parts += _activations(plan)
    parts += [table.declaration() for table in scaling.values()]
    scaled = activate(plan.first, _scaled(network, scaling))
    parts.append(fill("model.c", "input", scaled=scaled))
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
    constant = Constant(f"{layer}_{kind}_values", np.asarray(array))
    read = constant.read("k")
    if array.dtype == np.int8:
        read = f"(float){read}"
    elif array.dtype == np.uint8:
        read = f"unpack({constant.read('(k) >> 1')}, k)"
    return f"{constant.declaration()}#define {layer}_{kind}(k) {read}\n"


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


def _scaled(network: Network, tables: dict[str, Constant]) -> str:
    """Return the expression of `(raw − input_shift) · input_scale`."""
    expression = "raw"
    if "shift" in tables:
        expression = f"(raw - {tables['shift'].read('j')})"
    elif network.input_shift != 0:
        expression = f"(raw - {number(network.input_shift)})"
    if "scale" in tables:
        expression += f" * {tables['scale'].read('j')}"
    elif network.input_scale != 1:
        expression += f" * {number(network.input_scale)}"
    return expression


# ----------------------------------------------------------------------------------------- the self-test


def _selftest(network: Network, inputs: int, common: dict[str, str]) -> str:
    """Return golden vectors: inputs that a formula makes in the range of the data, and their outputs."""
    shift = np.float32(network.input_shift.mean())
    spread = float(np.abs(network.input_scale).mean())
    step = np.float32(1 / (255 * spread) if spread > 1e-30 else 1)
    j, vector = np.arange(inputs), np.arange(VECTORS)[:, None]
    mixed = (j + 1 + vector * 1000003) * 2654435761 % 2**32
    outputs = network.scale(shift + step * (mixed >> 24).astype(np.float32))
    term = 1e-30  # the largest of the last sums: rounding is relative to terms, not to what is left of them
    for layer in network.layers:
        if isinstance(layer, WeightLayer):
            term = max(1e-30, float(np.abs(outputs).max() * np.abs(layer.weight).max()))
        outputs = layer.forward(outputs)
    if not np.isfinite(outputs).all():
        raise ValueError("network has infinite outputs in the range of its scaling, wanted finite ones")
    rows = [f"    {{\n{values(row)}\n    }}," for row in outputs]
    tolerance = TOLERANCE * max(term, float(np.abs(outputs).max()))
    fields = {"shift": number(shift), "step": number(step), "tolerance": number(tolerance)}
    return fill("selftest.c", **common, **fields, vectors=VECTORS, golden="\n".join(rows))


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
