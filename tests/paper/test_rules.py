"""Rules: what a search found is what `settings_from` says of the same cells, and of no others."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest

from benchmarks.paper.grids import Cell
from benchmarks.paper.rules import merge_rule, read_rules, rule_of
from benchmarks.paper.search import SPACE, Found
from benchmarks.paper.settings import settings_from, settings_of

CELL = Cell("mnist", 3, "HashNet", "1/8", 0, 4)
START = settings_of(CELL)
SEARCHED = dict(zip(SPACE, (0.01, 0.85, 1e-5, 0.2, 0.4)))
SETTINGS = replace(START, **SEARCHED)
FOUND = Found(SETTINGS, tuple(SPACE), 0.01234, 60, 21)


@pytest.fixture
def path(tmp_path):
    """A file with one rule for all cells."""
    (tmp_path / "settings.json").write_text(json.dumps([{"for": {}, "settings": START.as_dict()}]))
    return tmp_path / "settings.json"


def test_a_round_trip(path):
    merge_rule(rule_of(CELL, FOUND), path)
    rules = read_rules(path)
    assert settings_from(rules, CELL) == SETTINGS
    assert settings_from(rules, replace(CELL, seed=9, row="HashNet, tiles")) == SETTINGS
    others = {"dataset": "rot", "layers": 5, "row": "NN", "compression": "1/64", "expansion": 2}
    for name, value in others.items():
        assert settings_from(rules, replace(CELL, **{name: value})) == START
    assert rules[1]["settings"] == SEARCHED and path.read_text().count("\n") == 4
    assert rules[1]["found"] == {
        "validation_error": 1.234,
        "trials": 60,
        "pruned": 21,
        "epochs": START.epochs,
        "seed": 4,
    }


def test_epochs_that_were_searched_are_set(path):
    settings = replace(SETTINGS, epochs=17)
    merge_rule(rule_of(CELL, Found(settings, (*SPACE, "epochs"), 0.01, 60, 21)), path)
    assert settings_from(read_rules(path), CELL) == settings


def test_a_rule_is_replaced_by_the_next_for_the_same_cells(path):
    for rate in (0.01, 0.02):
        merge_rule(rule_of(CELL, FOUND._replace(settings=replace(SETTINGS, learning_rate=rate))), path)
    assert settings_from(read_rules(path), CELL).learning_rate == 0.02 and len(read_rules(path)) == 2


@pytest.mark.parametrize("first", [0, 1])
def test_a_rows_own_rule_decides_whichever_came_first(path, first):
    tiles = replace(CELL, row="HashNet, tiles")
    rules = [rule_of(tiles, FOUND._replace(settings=replace(SETTINGS, momentum=0.8))), rule_of(CELL, FOUND)]
    for rule in (rules[first], rules[1 - first]):
        merge_rule(rule, path)
    assert settings_from(read_rules(path), tiles).momentum == 0.8
    assert settings_from(read_rules(path), CELL).momentum == 0.85


def test_many_at_once_lose_nothing(path):
    cells = [replace(CELL, dataset=f"set {number}") for number in range(8)]
    threads = [threading.Thread(target=merge_rule, args=(rule_of(cell, FOUND), path)) for cell in cells]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_rules(path)) == 9
    assert [entry.name for entry in path.parent.iterdir()] == ["settings.json"]


@pytest.mark.parametrize(
    "content", ["", "{", "{}", "[1]", "[{}]", '[{"for": {}}]', '[{"for": {}, "settings": 3}]']
)
def test_other_files_are_left_alone(path, content):
    path.write_text(content)
    with pytest.raises(ValueError, match="settings.json: is no list of rules"):
        merge_rule(rule_of(CELL, FOUND), path)
    assert path.read_text() == content
