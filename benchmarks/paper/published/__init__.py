"""The numbers of Chen et al. 2015, tables 1 and 2 and figures 2 to 4, as CSV."""

from __future__ import annotations

import csv
import functools
from importlib import resources

from benchmarks.paper.grids import Cell


def error_of(cell: Cell) -> str:
    """Return the paper's test error (a percentage, or such as ">4") of a cell; "" where it gives none."""
    return _errors().get((cell.dataset, cell.layers, cell.row, cell.compression, cell.expansion), "")


@functools.cache
def _errors() -> dict[tuple[str, int, str, str, int], str]:
    errors = {}
    for line in _lines("figure2_3_error_vs_compression.csv"):
        dataset, layers, method = line.pop("dataset").lower(), int(line.pop("depth")), line.pop("method")
        errors.update({(dataset, layers, method, at, 0): error for at, error in line.items()})
    for line in _lines("figure4_error_vs_expansion.csv"):
        layers, method = int(line.pop("depth")), line.pop("method")
        errors.update({("mnist", layers, method, "1", int(at)): error for at, error in line.items()})
    for name, compression in (("table1_compression_8.csv", "1/8"), ("table2_compression_64.csv", "1/64")):
        for line in _lines(name):  # last: read from text, where figures are read from curves
            dataset, layers = line.pop("dataset").lower(), int(line.pop("depth"))
            errors.update({(dataset, layers, method, compression, 0): e for method, e in line.items()})
    return errors


def _lines(name: str) -> list[dict[str, str]]:
    text = resources.files("benchmarks.paper.published").joinpath(name).read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))
