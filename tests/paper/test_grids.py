"""The grids are the paper's, and every number of the paper has its place in them."""

from __future__ import annotations

import csv
from importlib import resources

import pytest

from benchmarks.paper import data as datasets
from benchmarks.paper import published
from benchmarks.paper.commands.tables import NAMES as NAMES_OF_COMMAND
from benchmarks.paper.grids import DATASETS, GRIDS, HALVES, Cell, compression_of, grid
from benchmarks.paper.methods import NAMES
from benchmarks.paper.settings import Settings, settings_from, settings_of

CELLS = [cell for grid in GRIDS.values() for cell in grid.cells([0])]


def test_sizes():
    counts = {name: len(list(grid.cells([0]))) for name, grid in GRIDS.items()}
    assert counts == {"table1": 96, "table2": 96, "figure2": 84, "figure3": 84, "figure4": 44}
    assert set(DATASETS) <= set(datasets.names())
    assert {compression_of(cell) for cell in GRIDS["figure2"].cells([0])} == {2.0**-n for n in range(7)}


def test_the_command_names_them_all():
    assert NAMES_OF_COMMAND == tuple(GRIDS)  # written out there: a parser imports nothing heavy


def test_seeds_come_one_after_the_other():
    seeds = [cell.seed for cell in GRIDS["table1"].cells([3, 1])]
    assert seeds == [3] * 96 + [1] * 96


def test_every_number_of_the_paper_belongs_to_a_cell():
    printed = 0
    for name in ("table1_compression_8", "table2_compression_64", "figure4_error_vs_expansion"):
        file = resources.files("benchmarks.paper.published").joinpath(f"{name}.csv")
        rows = list(csv.reader(file.read_text().splitlines()))[1:]
        printed += sum(len(row) - 2 for row in rows)
    of_tables = [cell for name in ("table1", "table2", "figure4") for cell in GRIDS[name].cells([0])]
    assert sum(bool(published.error_of(cell)) for cell in of_tables) == printed == 96 + 96 + 42
    of_figures = [cell for name in ("figure2", "figure3") for cell in GRIDS[name].cells([0])]
    assert all(published.error_of(cell) for cell in of_figures)


@pytest.mark.parametrize(
    "cell, error",
    [
        (("mnist", 3, "HashNet", "1/64", 0), "2.79"),
        (("mnist", 3, "HashNet", "1/8", 0), "1.45"),
        (("rect", 5, "HashNet_DK", "1/64", 0), "2.64"),
        (("bg-img-rot", 3, "RER", "1/8", 0), "59.29"),
        (("mnist", 3, "LRD", "1/64", 0), "28.99"),  # the table's: the figure says >10
        (("rot", 5, "NN", "1/2", 0), "9.01"),
        (("mnist", 3, "HashNet", "1", 8), "1.61"),
        (("mnist", 5, "RER", "1", 64), ">4"),
        (("mnist", 3, "NN", "1", 8), ""),
        (("mnist-small", 3, "HashNet", "1/64", 0), ""),
        (("mnist", 3, "HashNet, tiles", "1/64", 0), ""),
    ],
)
def test_numbers_of_the_paper(cell, error):
    assert published.error_of(Cell(*cell, seed=7)) == error


def test_parts_and_other_rows_of_a_grid():
    part = grid("table2", ["HashNet, tiles", "NN"], ["mnist-small"], [5])
    cells = list(part.cells([1]))
    assert [(cell.row, cell.dataset, cell.layers, cell.compression) for cell in cells] == [
        ("HashNet, tiles", "mnist-small", 5, "1/64"),
        ("NN", "mnist-small", 5, "1/64"),
    ]
    assert grid("figure2") == GRIDS["figure2"] and grid("figure2").compressions == HALVES


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("table3",), "name is 'table3', wanted "),
        (("table1", ["HashNets"]), "rows is 'HashNets', wanted "),
        (("table1", None, ["mnist", "mnits"]), "datasets is 'mnits', wanted "),
        (("table1", None, None, [4]), "layers is '4', wanted "),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        grid(*arguments)


@pytest.mark.parametrize("name", GRIDS)
def test_every_cell_has_settings(name):
    for cell in GRIDS[name].cells([0]):
        settings = settings_of(cell)
        assert isinstance(settings, Settings) and settings.epochs > 0 and 0 <= settings.dropout < 1


def test_of_rules_that_hold_the_last_decides():
    cell = Cell("rot", 3, "HashNet, tiles", "1/8", 0, 0)
    rules = [
        {"for": {}, "settings": settings_of(cell).as_dict()},
        {"for": {"dataset": "rot", "method": "HashNet"}, "settings": {"epochs": 7, "dropout": 0.5}},
        {"for": {"row": "HashNet, tiles", "compression": "1/8"}, "settings": {"epochs": 9}},
        {"for": {"dataset": "mnist"}, "settings": {"epochs": 11}},
        {"for": {"layers": 5, "dataset": ["rot", "rect"]}, "settings": {"dropout": 0.1}},
        {"for": {"dataset": ["mnist", "rect"]}, "settings": {"dropout": 0.2}},
        {"for": {"layers": 3, "dataset": ["rot", "rect"]}, "settings": {"momentum": 0.7}},
    ]
    found = settings_from(rules, cell)
    assert (found.epochs, found.dropout, found.momentum) == (9, 0.5, 0.7)
    assert found.with_epochs(None) == found and found.with_epochs(2).epochs == 2


def test_methods_come_in_the_papers_order():
    assert GRIDS["table1"].rows == NAMES == ("RER", "LRD", "NN", "DK", "HashNet", "HashNet_DK")
