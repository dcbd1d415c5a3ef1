"""The numbers that exported C computes with: floats, or whole numbers (integers.py)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minihash.export.c.forms import FORMS
from minihash.export.c.text import Constant, fill, template
from minihash.export.plan import Activation, Plan, make_plan
from minihash.integers import Integers, Stage, integers_of, is_whole
from minihash.network import Network

MODEL = template("model.c")


@dataclass(frozen=True)
class Numbers:
    """Types of C, and what the arithmetic needs.

    Attributes
    ----------
    input_t, value_t, weight_t, number_t : types of inputs as they come, of factors of products, of sums.
    whole : the network in whole numbers; None where it computes in floats.
    """

    input_t: str = "float"
    value_t: str = "float"
    weight_t: str = "float"
    number_t: str = "float"
    whole: Integers | None = None

    @property
    def types(self) -> dict[str, str]:
        """What placeholders of templates stand for."""
        names = ("input_t", "value_t", "weight_t", "number_t")
        return {name: getattr(self, name) for name in names}

    @property
    def section(self) -> str:
        """The section of templates that is for them."""
        return "floats" if self.whole is None else "whole"


def numbers_of(network: Network) -> Numbers:
    """Return what a network computes with."""
    if not is_whole(network.layers):
        return Numbers()
    whole = integers_of(network.layers)
    return Numbers("uint8_t" if whole.high > 127 else "int8_t", "int16_t", "int8_t", "int32_t", whole)


def plan_of(whole: Integers) -> tuple[Plan, list[Constant]]:
    """Return the plan of a network in whole numbers, and the tables of its activations."""
    plan = make_plan([stage.layer for stage in whole.stages], FORMS)
    tables: list[Constant] = []
    for position, (planned, stage) in enumerate(zip(plan.stages, whole.stages)):
        planned.layer.in_whole_numbers(stage)
        planned.activations = list(_rounding(stage, position, tables))
    return plan, tables


def _rounding(stage: Stage, position: int, tables: list[Constant]) -> Iterator[Activation]:
    """Yield what becomes of the sums of a stage: the rounding, and tables behind it, which are added."""
    if not stage.multiplier:
        return
    call, section = f"round{position}", "round_relu" if stage.low == 0 else "round"
    facts = {"multiplier": stage.multiplier, "shift": stage.shift, "low": stage.low, "high": stage.high}
    ratio = f"{stage.multiplier / 2**stage.shift:.6g}"
    yield Activation(call, call, fill(MODEL, section, call=call, ratio=ratio, **facts))
    for place, (lowest, table) in enumerate(stage.tables):
        call = f"function{position}_{place}"
        tables.append(Constant(f"{call}_values", table.astype("uint8" if table.max() > 127 else "int8")))
        code = fill(MODEL, "look_up", call=call, read=tables[-1].read(f"z - ({lowest})"))
        yield Activation(call, call, f"{tables[-1].declaration()}{code}")


def words_of(network: Network, whole: Integers) -> dict[str, Any]:
    """Return what the header says of inputs and outputs."""
    shift = _number_or(network.input_shift, "the feature's own")
    scale = _number_or(network.input_scale / whole.scale, "the feature's own")
    unit = _number_or(whole.stages[-1].scale * network.output_scale, "a number for each")
    more = _number_or(network.output_shift, "a number for each")
    return {
        "low": whole.low,
        "high": whole.high,
        "shift": shift,
        "scale": scale,
        "unit": f"{unit}, plus {more}" if network.output_shift.any() else unit,
    }


def _number_or(array: np.ndarray, words: str) -> str:
    return words if array.ndim else f"{float(array):.9g}"
