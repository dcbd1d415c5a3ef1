"""How each network is trained: settings found by search, kept as data in settings.json.

The file is a list of rules, `{"for": {…}, "settings": {…}}`. A rule holds for the cells that have all its
values in "for" (dataset, layers, method, row, compression, expansion); where several hold, the last decides.
"""

from __future__ import annotations

import functools
import json
import os
from dataclasses import asdict, dataclass, replace
from importlib import resources
from typing import Any

from minihash.experiments.grids import ROWS, Cell
from minihash.files import locked, replacing


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
        if all(facts[name] == wanted for name, wanted in rule["for"].items()):
            values.update(rule["settings"])
    return Settings(**values)


@functools.cache
def _rules() -> Any:
    return json.loads(resources.files("minihash.experiments").joinpath("settings.json").read_text("utf-8"))


def merge_rule(rule: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Put a rule into a file of rules, whole or not at all, whoever else does.

    It takes the place of the rule for the same cells. A new one comes after all those that have no more
    conditions than it has, and before those that are more particular.

    Raises
    ------
    ValueError if the file is no list of rules; OSError if it cannot be read or written.
    """
    merged = False
    while not merged:
        with open(path, "rb") as file, locked(file):
            # Another process may have put a new file there while this one waited for the lock of the old.
            merged = os.path.samestat(os.fstat(file.fileno()), os.stat(path))
            if merged:
                rules = _merged(_read_rules(file.read(), path), rule)
                with replacing(path) as new:
                    lines = ",\n".join(f"  {json.dumps(line)}" for line in rules)
                    new.write(f"[\n{lines}\n]\n".encode())


def _read_rules(content: bytes, path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    try:
        rules = json.loads(content)
        if isinstance(rules, list) and all({**rule["for"], **rule["settings"]} for rule in rules):
            return rules
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    raise ValueError(f"{os.fspath(path)}: is no list of rules, as settings.json is")


def _merged(rules: list[dict[str, Any]], rule: dict[str, Any]) -> list[dict[str, Any]]:
    for place, other in enumerate(rules):
        if other["for"] == rule["for"]:
            return [*rules[:place], rule, *rules[place + 1 :]]
    general = [place for place, other in enumerate(rules) if len(other["for"]) <= len(rule["for"])]
    place = general[-1] + 1 if general else 0
    return [*rules[:place], rule, *rules[place:]]
