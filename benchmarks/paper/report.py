"""What the ledger says: tables beside the paper's numbers, and figures in the paper's form."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from benchmarks.ledger import Ledger, Record
from benchmarks.paper import methods, published
from benchmarks.paper.grids import FIELDS, Cell, Grid, is_dense
from benchmarks.tables import markdown
from minihash import figures
from minihash.files import replacing

HEADER = ("data", "layers", "at", "method", "error, %", "±", "paper", "stored", "budget", "mult.", "epochs")
NORMAL = 1.96  # standard deviations: 95 %
RESULTS = ("stored", "budget", "multiplications", "test_error")


class Results:
    """The records of a plan, by cell.

    Parameters
    ----------
    ledger : where they are; ValueError if one of them is not whole.
    planned : what `reproduce.plan` returned: records with other settings or other data are not looked at.
    """

    def __init__(self, ledger: Ledger, planned: Sequence[Record]) -> None:
        records = {ledger.identity(record): record for record in ledger.records()}
        self.origins = {plan["dataset"]: plan["origin"] for plan in planned}
        self.test_rows = {plan["dataset"]: plan["test_rows"] for plan in planned}
        self._found: dict[Cell, Record] = {}
        for plan in planned:
            record = records.get(ledger.identity(plan))
            if record is None:
                continue
            if lacking := [name for name in RESULTS if name not in record]:
                raise ValueError(f"{ledger.path}: a record lacks {lacking[0]!r}, wanted a result")
            self._found[Cell(**{name: plan[name] for name in FIELDS})] = record

    def of(self, cell: Cell, seeds: Sequence[int]) -> list[Record]:
        """Return the records of a cell, a seed each, as far as they are there."""
        cells = [replace(cell, seed=seed) for seed in dict.fromkeys(seeds)]
        return [self._found[cell] for cell in cells if cell in self._found]


def table(grid: Grid, results: Results, seeds: Sequence[int]) -> str:
    """Return a grid as a Markdown table, the paper's numbers beside ours, and a line on the data.

    Half the width of the 95 % interval of an error e on n test rows is `1.96 √(e (1 − e) / n)`: what another
    test set of that size would change. What another seed would change, several seeds show.
    """
    rows = [_table_row(cell, results, seeds) for cell in grid.cells(seeds[:1])]
    made = [f"{name}: {origin or 'of the user'}" for name, origin in results.origins.items()]
    return markdown(HEADER, rows) + "\n\nData: " + "; ".join(made) + "."


def wide_table(grid: Grid, layers: int, compression: str, results: Results, seeds: Sequence[int]) -> str:
    """Return the part of a table of the paper as it has it: data sets by methods, the paper's in brackets.

    Ours are medians over the seeds with half the width of the interval of `table`; the least is bold.
    """
    rows = []
    for dataset in grid.datasets:
        cells = [Cell(dataset, layers, row, compression, 0, seeds[0]) for row in grid.rows]
        medians = [_median(results.of(cell, seeds)) for cell in cells]
        least = min((error for error in medians if error is not None), default=None)
        texts = [_wide_entry(cell, error, error == least, results) for cell, error in zip(cells, medians)]
        rows.append((dataset.upper(), *texts))
    return markdown((f"{layers} layers, {compression}", *grid.rows), rows)


def _wide_entry(cell: Cell, error: float | None, is_least: bool, results: Results) -> str:
    if error is None:
        return "missing"
    number = f"**{error:.2f}**" if is_least else f"{error:.2f}"
    printed = published.error_of(cell)
    text = f"{number} ± {half_width(error, results.test_rows[cell.dataset]):.2f}"
    return f"{text} ({printed})" if printed else text


def _median(found: list[Record]) -> float | None:
    errors = [record["test_error"] for record in found if record["test_error"] is not None]
    return statistics.median(errors) if errors else None


def half_width(error: float, rows: int) -> float:
    """Return half the width of the 95 % interval of an error in percent, of so many test rows."""
    return NORMAL * math.sqrt(error * (100 - error) / rows)


def _table_row(cell: Cell, results: Results, seeds: Sequence[int]) -> tuple[str, ...]:
    found = results.of(cell, seeds)
    at = f"× {cell.expansion}" if cell.expansion else cell.compression
    place = (cell.dataset, str(cell.layers), at, cell.row)
    if not found:
        return (*place, "missing", "", published.error_of(cell), "", "", "", "")
    first, median = found[0], _median(found)
    over = first["stored"] - first["budget"]
    return (
        *place,
        errors_text([record["test_error"] for record in found]),
        "" if median is None else f"{half_width(median, results.test_rows[cell.dataset]):.2f}",
        published.error_of(cell),
        f"{first['stored']:,}",
        f"{first['budget']:,}" + (f" ({over:+,})" if over else ""),
        f"{first['multiplications']:,}",
        str(first["settings"]["epochs"]),
    )


def errors_text(errors: Sequence[float | None]) -> str:
    """Return the median, and of several all, smallest first: "**2.54** (2.37, 2.54, 2.58)"."""
    known = sorted(error for error in errors if error is not None)
    diverged = "diverged" if len(errors) == 1 else f"{len(errors) - len(known)} diverged"
    each = [f"{error:.2f}" for error in known] + [diverged] * (len(known) < len(errors))
    if len(each) == 1:
        return each[0]
    return f"**{statistics.median(known):.2f}** ({', '.join(each)})"


def write(
    name: str, grid: Grid, results: Results, seeds: Sequence[int], folder: str | os.PathLike[str]
) -> list[Path]:
    """Write a grid's table, and of a figure its pictures, into a folder; return the paths.

    Raises
    ------
    ImportError if there is a figure to draw and no matplotlib; OSError if a file cannot be written.
    """
    paths = [Path(folder, f"{name}.md")]
    parts = [table(grid, results, seeds)]
    if name.startswith("table"):
        (compression,) = grid.compressions
        parts = [wide_table(grid, layers, compression, results, seeds) for layers in grid.layers] + parts
    with replacing(paths[0]) as file:
        file.write(("\n\n".join(parts) + "\n").encode())
    if name.startswith("figure"):
        for ending in ("png", "svg"):
            paths.append(Path(folder, f"{name}.{ending}"))
            draw(grid, results, seeds, paths[-1])
    return paths


def draw(grid: Grid, results: Results, seeds: Sequence[int], path: str | os.PathLike[str]) -> None:
    """Draw error against compression factor, or against expansion: ours in lines, the paper's dotted."""
    parts = [(dataset, layers) for dataset in grid.datasets for layers in grid.layers]

    def fill(figure: Any) -> None:
        for axes, (dataset, layers) in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts):
            for place, row in enumerate(grid.rows):
                color = figures.COLORS[place % len(figures.COLORS)]
                marker = figures.MARKERS[place % len(figures.MARKERS)]
                line = "-" if row in methods.NAMES else "-."  # ours
                style = {"color": color, "marker": marker, "markersize": 4, "linestyle": line}
                ours, papers = _series(grid, results, seeds, dataset, layers, row)
                if is_dense(row) and grid.expands and ours:  # of one width: at all factors the same
                    axes.axhline(ours[0][1], linestyle="--", label=row, color=color)
                else:
                    axes.plot(*_points(ours), label=row, **style)
                axes.plot(*_points(papers), linewidth=1, linestyle=":", alpha=0.6, color=color)
            axes.set(xscale="log", title=f"{dataset}, {layers} layers", ylabel="test error, %")
            _ticks(axes, grid)
        own = "" if set(grid.rows) <= set(methods.NAMES) else "; dash-dotted: ours"
        figure.axes[0].legend(title=f"dotted: the paper{own}", fontsize=8)

    figures.draw(path, (1 + 4.5 * len(parts), 4), fill)


Points = list[tuple[float, float]]


def _series(
    grid: Grid, results: Results, seeds: Sequence[int], dataset: str, layers: int, row: str
) -> tuple[Points, Points]:
    """Return the points of one line of a figure, ours and the paper's."""
    one = grid._replace(datasets=(dataset,), layers=(layers,), rows=(row,))
    ours: Points = []
    papers: Points = []
    for cell in one.cells(seeds[:1]):
        at = float(cell.expansion or Fraction(cell.compression))
        if found := results.of(cell, seeds):
            median = _median(found)
            ours += [] if median is None else [(at, median)]
        printed = published.error_of(cell)
        if printed and not printed.startswith(">"):
            papers.append((at, float(printed)))
    return ours, papers


def _points(points: Points) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _ticks(axes: Any, grid: Grid) -> None:
    """Label the factors as the paper does, and errors in plain numbers."""
    if grid.expands:
        axes.set_xticks(grid.expansions, map(str, grid.expansions), fontsize=8)
        axes.set_xlabel("expansion factor")
    else:
        places = [float(Fraction(at)) for at in grid.compressions]
        axes.set_xticks(places, grid.compressions, fontsize=8)
        axes.set_xlabel("compression factor")
    axes.minorticks_off()
    if not axes.lines or not any(len(line.get_ydata()) for line in axes.lines):
        return  # nothing is known yet, and a logarithmic axis wants something
    axes.set_yscale("log")
    axes.minorticks_off()
    axes.yaxis.get_major_locator().set_params(subs=(1, 2, 5))
    axes.yaxis.set_major_formatter("{x:g}")
