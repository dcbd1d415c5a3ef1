"""Rules for settings.json, made of what searches found."""

from __future__ import annotations

import json
import os
from typing import Any

from benchmarks.locks import locked
from benchmarks.paper.grids import ROWS, Cell
from minihash import strict_json
from minihash.files import naming, replacing
from minihash.search import Found

Rule = dict[str, Any]


def rule_of(cell: Cell, found: Found) -> Rule:
    """Return what was found as a rule of settings.json: of the settings only those that were searched.

    Other rows of the same method, such as "HashNet, tiles", get the settings of the method too, until there
    is a rule of their own.
    """
    method = ROWS[cell.row].method
    row = {} if cell.row == method else {"row": cell.row}
    settings = found.settings.as_dict()
    return {
        "for": {
            "dataset": cell.dataset,
            "layers": cell.layers,
            "method": method,
            **row,
            "compression": cell.compression,
            "expansion": cell.expansion,
        },
        "settings": {name: settings[name] for name in found.names},
        "found": {**found.describe(), "seed": cell.seed},
    }


def merge_rule(rule: Rule, path: str | os.PathLike[str]) -> None:
    """Put a rule into a file of rules, whole or not at all, whoever else does.

    It takes the place of the rule for the same cells. A new one comes after those that have no more
    conditions than it has, and so before those that are more particular.

    Raises
    ------
    ValueError if the file is no list of rules; OSError if it cannot be read or written.
    """
    done = False
    while not done:
        with open(path, "rb") as file, locked(file):
            # Another process may have put a new file there while this one waited for the lock of the old.
            done = os.path.samestat(os.fstat(file.fileno()), os.stat(path))
            if done:
                rules = _merged(read_rules(path), rule)
                with replacing(path) as new:
                    lines = ",\n".join(f"  {strict_json.dumps(line)}" for line in rules)
                    new.write(f"[\n{lines}\n]\n".encode())


def read_rules(path: str | os.PathLike[str]) -> list[Rule]:
    """Return the rules of a file such as settings.json.

    Raises
    ------
    ValueError if it is no list of rules; OSError if it cannot be read.
    """
    with naming(path), open(path, "rb") as file:
        content = file.read()
    try:
        rules = json.loads(content)
        if isinstance(rules, list) and all({**rule["for"], **rule["settings"]} for rule in rules):
            return rules
    except (ValueError, LookupError, TypeError):
        pass
    raise ValueError(f"{os.fspath(path)}: is no list of rules, wanted one such as settings.json")


def _merged(rules: list[Rule], rule: Rule) -> list[Rule]:
    for place, other in enumerate(rules):
        if other["for"] == rule["for"]:
            return [*rules[:place], rule, *rules[place + 1 :]]
    general = [place for place, other in enumerate(rules, 1) if len(other["for"]) <= len(rule["for"])]
    place = max(general, default=0)
    return [*rules[:place], rule, *rules[place:]]
