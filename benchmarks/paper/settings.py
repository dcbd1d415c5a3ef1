"""How each network is trained: settings kept as data, in settings.json.

The file is a list of rules, `{"for": {…}, "settings": {…}}`. A rule holds for the cells that have all its
values in "for" (dataset, layers, method, row, compression, expansion, seed), or one of a list of values;
where several hold, the last decides. "found" says what search found a rule (docs/search.md); it is for
readers, and the others are chosen by hand.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, fields
from importlib import resources
from typing import Any

from benchmarks.paper.grids import ROWS, Cell
from minihash import search


@dataclass(frozen=True)
class Settings(search.Settings):
    """Of one training.

    Parameters
    ----------
    temperature, teacher_weight : of `losses.distillation`, in the methods that have a teacher.
    learning_rate, … : as in `minihash.search.Settings`.
    """

    temperature: float = 4.0
    teacher_weight: float = 0.7

    def __post_init__(self) -> None:
        for field in fields(self):  # 0 and 0.0 are one setting, in a ledger too
            kind: Any = type(field.default)
            object.__setattr__(self, field.name, kind(getattr(self, field.name)))


NAMES = {field.name for field in fields(Settings)}


def settings_of(cell: Cell) -> Settings:
    """Return how the network of a cell is trained: what the rules say, the last that holds first."""
    return settings_from(_rules(), cell)


def settings_from(rules: Any, cell: Cell) -> Settings:
    """Return what a list of rules says of a cell."""
    facts = {**cell.as_dict(), "method": ROWS[cell.row].method}
    values: dict[str, Any] = {}
    for rule in rules:
        if unknown := [*(rule["for"].keys() - facts), *(rule["settings"].keys() - NAMES)]:
            raise ValueError(f"the rule {rule} has {unknown[0]!r}, which is no setting and no fact of a cell")
        if all(_holds(facts[name], wanted) for name, wanted in rule["for"].items()):
            values.update(rule["settings"])
    return Settings(**values)


def _holds(fact: Any, wanted: Any) -> bool:
    return fact in wanted if isinstance(wanted, list) else fact == wanted


@functools.cache
def _rules() -> Any:
    return json.loads(resources.files("benchmarks.paper").joinpath("settings.json").read_text("utf-8"))
