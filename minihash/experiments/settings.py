"""How each network is trained: settings kept as data, in settings.json.

The file is a list of rules, `{"for": {…}, "settings": {…}}`. A rule holds for the cells that have all its
values in "for" (dataset, layers, method, row, compression, expansion, seed), or one of a list of values;
where several hold, the last decides. "found" says what search found a rule (docs/search.md); it is for
readers, and the others are chosen by hand.
"""

from __future__ import annotations

import functools
import json
from dataclasses import asdict, dataclass, replace
from importlib import resources
from typing import Any

from minihash.experiments.grids import ROWS, Cell


@dataclass(frozen=True)
class Settings:
    """Of one training.

    Parameters
    ----------
    learning_rate : the peak of a one-cycle schedule.
    momentum : Adam's β₁.
    weight_decay : λ of the L2 penalty.
    input_dropout, dropout : rates of inputs and of hidden units.
    epochs, batch_size : of `fit`.
    temperature, teacher_weight : of `losses.distillation`, in the methods that have a teacher.
    """

    learning_rate: float
    momentum: float
    weight_decay: float
    input_dropout: float
    dropout: float
    epochs: int
    batch_size: int
    temperature: float
    teacher_weight: float

    as_dict = asdict

    def __post_init__(self) -> None:
        for name, kind in self.__annotations__.items():  # 0 and 0.0 are one setting, in a ledger too
            object.__setattr__(self, name, {"int": int, "float": float}[kind](getattr(self, name)))

    def with_epochs(self, epochs: int | None) -> Settings:
        """Return these settings with another number of epochs, unless that is None."""
        return self if epochs is None else replace(self, epochs=epochs)


def settings_of(cell: Cell) -> Settings:
    """Return how the network of a cell is trained: what the rules say, the last that holds first."""
    return settings_from(_rules(), cell)


def settings_from(rules: Any, cell: Cell) -> Settings:
    """Return what a list of rules says of a cell."""
    facts = {**cell.as_dict(), "method": ROWS[cell.row].method}
    values: dict[str, Any] = {}
    for rule in rules:
        if unknown := [*(rule["for"].keys() - facts), *(rule["settings"].keys() - Settings.__annotations__)]:
            raise ValueError(f"the rule {rule} has {unknown[0]!r}, which is no setting and no fact of a cell")
        if all(_holds(facts[name], wanted) for name, wanted in rule["for"].items()):
            values.update(rule["settings"])
    return Settings(**values)


def _holds(fact: Any, wanted: Any) -> bool:
    return fact in wanted if isinstance(wanted, list) else fact == wanted


@functools.cache
def _rules() -> Any:
    return json.loads(resources.files("minihash.experiments").joinpath("settings.json").read_text("utf-8"))
