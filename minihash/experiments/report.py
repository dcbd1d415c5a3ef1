"""What the ledger says: tables beside the paper's numbers, and figures in the paper's form."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from minihash import figures
from minihash.experiments import paper
from minihash.experiments.grids import Cell, Grid
from minihash.experiments.ledger import Ledger, Record
from minihash.files import replacing

MARKERS = ("o", "s", "^", "D", "v", "x")
HEADER = ("data", "layers", "at", "method", "error, %", "paper", "stored", "budget", "mult.", "epochs")
FIELDS = ("dataset", "layers", "row", "compression", "expansion", "seed")


class Results:
    """Records by cell; of a cell with several records (other settings or epochs) the newest counts.

    Parameters
    ----------
    ledger : where they are.
    epochs : look only at those with so many epochs; None: at all.
    """

    def __init__(self, ledger: Ledger, epochs: int | None = None) -> None:
        self._found: dict[Cell, Record] = {}
        for record in ledger.records():
            if epochs is None or record["settings"]["epochs"] == epochs:
                cell = Cell(**{name: record[name] for name in FIELDS})
                self._found.pop(cell, None)
                self._found[cell] = record

    def of(self, cell: Cell, seeds: Sequence[int]) -> list[Record]:
        """Return the records of a cell, a seed each, as far as they are there."""
        cells = [replace(cell, seed=seed) for seed in seeds]
        return [self._found[cell] for cell in cells if cell in self._found]


def table(grid: Grid, results: Results, seeds: Sequence[int]) -> str:
    """Return a grid as a Markdown table: a line a row of it, with its spread, beside the paper's number."""
    lines: list[tuple[str, ...]] = [HEADER, ("---",) * len(HEADER)]
    for first in grid.cells(seeds[:1]):
        found = results.of(first, seeds)
        at = f"× {first.expansion}" if first.expansion else first.compression
        place = (first.dataset, str(first.layers), at, first.row)
        if not found:
            lines.append((*place, "missing", paper.error_of(first), "", "", "", ""))
            continue
        newest = found[-1]
        over = newest["stored"] - newest["budget"]
        lines.append(
            (
                *place,
                errors_text([record["test_error"] for record in found]),
                paper.error_of(first),
                f"{newest['stored']:,}",
                f"{newest['budget']:,}" + (f" ({over:+,})" if over else ""),
                f"{newest['multiplications']:,}",
                str(newest["settings"]["epochs"]),
            )
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def errors_text(errors: Sequence[float]) -> str:
    """Return the median, and of several all: "2.54 (2.37, 2.54, 2.58)"."""
    if len(errors) == 1:
        return f"{errors[0]:.2f}"
    return f"**{statistics.median(errors):.2f}** ({', '.join(f'{error:.2f}' for error in sorted(errors))})"


def write(
    name: str, grid: Grid, results: Results, seeds: Sequence[int], folder: str | os.PathLike[str]
) -> list[Path]:
    """Write a grid's table, and of a figure its pictures, into a folder; return the paths.

    Raises
    ------
    ImportError if there is a figure to draw and no matplotlib; OSError if a file cannot be written.
    """
    paths = [Path(folder, f"{name}.md")]
    with replacing(paths[0]) as file:
        file.write((table(grid, results, seeds) + "\n").encode())
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
                style = {"color": color, "marker": MARKERS[place % len(MARKERS)], "markersize": 4}
                ours, papers = _series(grid, results, seeds, dataset, layers, row)
                if len(ours) == 1:
                    axes.axhline(ours[0][1], linestyle="--", label=row, color=color)
                else:
                    axes.plot(*_points(ours), label=row, **style)
                axes.plot(*_points(papers), linewidth=1, linestyle=":", alpha=0.6, color=color)
            axes.set(xscale="log", yscale="log", title=f"{dataset}, {layers} layers", ylabel="test error, %")
            _ticks(axes, grid)
        figure.axes[0].legend(title="dotted: the paper", fontsize=8)

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
            ours.append((at, statistics.median(record["test_error"] for record in found)))
        printed = paper.error_of(cell)
        if printed and not printed.startswith(">"):
            papers.append((at, float(printed)))
    return ours, papers


def _points(points: Points) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _ticks(axes: Any, grid: Grid) -> None:
    """Label the factors as the paper does, and errors in plain numbers."""
    if grid.expansions == (0,):
        places = [float(Fraction(at)) for at in grid.compressions]
        axes.set_xticks(places, grid.compressions, fontsize=8)
        axes.set_xlabel("compression factor")
    else:
        axes.set_xticks(grid.expansions, map(str, grid.expansions), fontsize=8)
        axes.set_xlabel("expansion factor")
    axes.minorticks_off()
    axes.yaxis.get_major_locator().set_params(subs=(1, 2, 5))
    axes.yaxis.set_major_formatter("{x:g}")
