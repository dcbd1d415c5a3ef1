"""Networks as C99 for devices: a header, a source and what is needed to try them.

The code is the network's own: a function or three a layer, loops of constant length, the hash computed as
they go. The texts are in templates/.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from minihash import checks
from minihash.export.c import programs
from minihash.export.c import training as c_training
from minihash.export.c.arithmetic import Numbers, numbers_of, plan_of
from minihash.export.c.forms import FORMS
from minihash.export.c.report import Report
from minihash.export.c.source import Scaling, header, source
from minihash.export.c.text import fill, template
from minihash.export.known import check_network, network_of
from minihash.export.plan import make_plan
from minihash.files import replacing_all
from minihash.layers import QuantizedHashedLinear
from minihash.network import Network
from minihash.quantization import quantize
from minihash.version import __version__

WEIGHTS = {"float32": None, "int8": 8, "int4": 4}  # bits of quantised ones
BITS = (8, 4)
#: Of C99, and what minihash's own code includes on AVR: a file of that name would be found instead.
HEADERS = set(
    "assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdarg stdbool "
    "stddef stdint stdio stdlib string tgmath time wchar wctype".split()
)
MARK = "made by minihash"  # in the first line of every file: only such files are replaced


def to_c(
    network: Any,
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
    network : made of hashed and dense layers, ReLU, Tanh and Sigmoid; Dropout is left out. Or an estimator
        (`minihash.sklearn`), whose `network_` it is. One of float64 is rounded to float32
        (`Network.astype`). Inputs and outputs are scaled on the device: inputs are raw, and outputs of a
        regression in the units of its targets. The header of a classifier has the names of its classes.
    directory : where to; it is made if it is missing.
    name : of the files and in front of the functions; a C identifier.
        One of integers (`quantize(rows=…)`) becomes C without a float: inputs and sums are whole numbers, and
        the sums are those of Python to the last bit.
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
    network = given = network_of(network)
    numbers = numbers_of(network) if isinstance(network, Network) else Numbers()
    if numbers.whole is None:
        check_network(network, FORMS, BITS, "float32, or float64 to round,", np.float32)
        network = network.astype(np.float32)
    network = _with_weights(network, weights)
    if checks.boolean("training", training) and _bits_of(network):
        raise ValueError("training is True and the weights are quantised, wanted weights of float32")
    scaling = Scaling.of(network)
    if numbers.whole is None:
        plan, tables = make_plan(network.layers, FORMS, training), scaling.tables
    else:
        plan, tables = plan_of(numbers.whole)
    if training:
        c_training.check(plan, network.task == "regression" or network.scales_outputs)
    report = Report.of(plan, network, tables, given.dtype, numbers.whole is not None)
    common = {"name": name, "NAME": name.upper(), "version": __version__}
    files = {
        f"{name}.h": header(network, plan, report, numbers, common),
        f"{name}.c": source(plan, scaling, numbers, common),
        f"{name}_selftest.c": programs.selftest(network, report.inputs, numbers, common),
        "main.c": programs.example(network, report.inputs, numbers, common),
        "Makefile": fill(template("Makefile"), **common),
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


def _bits_of(network: Network) -> set[int]:
    """Return the bits of the quantised layers."""
    return {layer.bits for layer in network.layers if isinstance(layer, QuantizedHashedLinear)}


def _with_weights(network: Network, weights: str | None) -> Network:
    """Return the network with its buckets kept as wanted."""
    found, bits = _bits_of(network), WEIGHTS[weights] if weights else None
    if found and weights and found != {bits}:
        raise ValueError(f"weights is {weights!r} and the network is quantised, wanted none: as it is")
    return quantize(network, bits) if bits and not found else network


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
