"""Programs beside a model in C: the self-test with its golden vectors, and the example that answers rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihash.export.c.arithmetic import Numbers
from minihash.export.c.text import LEAST_SCALE, Constant, fill, number, template, values
from minihash.integers import Integers
from minihash.layers import WeightLayer
from minihash.network import Network

VECTORS = 2  # of the self-test
TOLERANCE = 1e-4  # of the self-test, relative to the largest output before it is scaled
FLOAT32 = 2.0**-24  # relative error of a rounding


def selftest(network: Network, inputs: int, numbers: Numbers, common: dict[str, str]) -> str:
    """Return golden vectors: inputs that a formula makes, like those of the data, and their outputs."""
    common = {**common, **numbers.types}
    if numbers.whole is not None:
        return _whole_selftest(numbers.whole, inputs, common)
    pixels = bool((network.input_scale == 1 / 255).all() and not network.input_shift.any())
    outputs = network.scale(_rows(network, inputs, pixels))
    term = 1e-30  # the largest of the last sums: rounding is relative to terms, not to what is left of them
    for layer in network.layers:
        if isinstance(layer, WeightLayer):
            term = max(1e-30, float(np.abs(outputs).max() * np.abs(layer.weight).max()))
        outputs = layer.forward(outputs)
    if not np.isfinite(outputs).all():
        raise ValueError("network has infinite outputs in the range of its scaling, wanted finite ones")
    relative = TOLERANCE * max(term, float(np.abs(outputs).max()))
    tolerance = relative * network.output_scale + 4 * FLOAT32 * np.abs(network.output_shift)
    each = [Constant("tolerance", tolerance.astype(np.float32))] if tolerance.ndim else []
    rows = [f"    {{\n{values(row)}\n    }}," for row in network.to_units(outputs).astype(np.float32)]
    value = fill(template("selftest.c"), "pixel" if pixels else "number", **common).strip()
    fields = {"value": value, "golden": "\n".join(rows), "tables": "".join(map(Constant.declaration, each))}
    limit = each[0].read("i") if each else number(tolerance)
    fields["compare"] = fill(template("selftest.c"), "floats", tolerance=limit).rstrip("\n")
    return fill(template("selftest.c"), **common, **fields, vectors=VECTORS)


def _whole_selftest(whole: Integers, inputs: int, common: dict[str, str]) -> str:
    """Return golden vectors of sums, which must be the same."""
    count = whole.high - whole.low + 1
    rows = whole.sums(whole.low + _bytes(inputs) % count).astype(np.int32)
    value = fill(template("selftest.c"), "whole_number", **common, low=whole.low, count=count).strip()
    golden = "\n".join(f"    {{\n{values(row)}\n    }}," for row in rows)
    fields: dict[str, Any] = {"value": value, "golden": golden, "tables": "", "vectors": VECTORS}
    fields["compare"] = fill(template("selftest.c"), "whole").rstrip("\n")
    return fill(template("selftest.c"), **common, **fields)


def _bytes(inputs: int) -> np.ndarray:
    """Return the bytes (VECTORS, inputs) that the self-test makes its inputs of."""
    j, vector = np.arange(inputs), np.arange(VECTORS)[:, None]
    return (j + 1 + vector * 1000003) * 2654435761 % 2**32 >> 24


def _rows(network: Network, inputs: int, pixels: bool) -> np.ndarray:
    """Return the inputs (VECTORS, inputs) of the self-test, computed in float32 as it does.

    A shift and a scale of standardised data say their means and spreads: numbers from -2 to 2 are scaled
    back.
    """
    byte = _bytes(inputs).astype(np.float32)
    if pixels:
        return byte
    shift, scale = network.input_shift.astype(np.float32), network.input_scale.astype(np.float32)
    counts = np.abs(scale) > np.float32(LEAST_SCALE)
    return (byte - 128) / 64 / np.where(counts, scale, 1) * counts + shift


def example(network: Network, inputs: int, numbers: Numbers, common: dict[str, str]) -> str:
    """Return the program that answers rows: with the names of their classes, or the outputs.

    Of several labels that a row may have, the outputs too: none of them is the likeliest.
    """
    named, whole = network.class_names is not None and network.task != "multilabel", numbers.whole
    common = {**common, **numbers.types}
    written = {"printed": "%.9g", "wide": "double"} if whole is None else {"printed": "%ld", "wide": "long"}
    answer = fill(template("main.c"), "class" if named else "outputs", **common, **written)
    reading = {
        "wanted": "finite number",
        "accepted": "fabsf(value) <= FLT_MAX",
        "accepting": fill(template("main.c"), "floats"),
    }
    if whole is not None:
        between = f"value >= {whole.low} && value <= {whole.high}"
        reading["wanted"] = f"whole number from {whole.low} to {whole.high}"
        reading |= {"accepted": f"{between} && value == (float)(int)value", "accepting": ""}
    return fill(template("main.c"), **common, **reading, inputs=inputs, answer=answer)
