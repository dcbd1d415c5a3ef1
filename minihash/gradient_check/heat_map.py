"""A picture of a gradient check: where each gradient stands between its error and its tolerance."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from minihash import figures
from minihash.gradient_check.report import ArrayReport, GradientReport


def heat_map(report: GradientReport, path: str | os.PathLike[str]) -> None:
    """Draw log₁₀(error / tolerance) of every gradient, a panel an array; above 0 it is wrong.

    Vectors are wrapped into rows; an array that was checked along directions stays grey.

    Parameters
    ----------
    report : what `check_gradients` returned.
    path : file to write; its ending says png, svg or pdf.

    Raises
    ------
    ImportError without matplotlib; ValueError for another ending; OSError if it cannot be written.
    """
    columns = min(4, len(report.arrays))
    rows = -(-len(report.arrays) // columns)

    def fill(figure: Any) -> None:
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, array in zip(panels, report.arrays):
            image = _panel(axes, array)
        for axes in panels[len(report.arrays) :]:
            axes.set_axis_off()
        bar = figure.colorbar(image, ax=list(panels), label="error / tolerance", shrink=0.8)
        bar.set_ticks([-3, 0, 3], labels=["1/1000", "1", "1000"])

    figures.draw(path, (3.0 * columns + 1, 2.9 * rows), fill)


def _panel(axes: Any, array: ArrayReport) -> Any:
    """Draw one array."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.array(np.log10(array.errors / array.tolerances))
    ratio[np.isneginf(ratio)] = -9.0
    if ratio.ndim != 2:  # a square's rows, filled up with NaN
        width = max(1, int(np.ceil(np.sqrt(ratio.size))))
        ratio = np.append(ratio, np.full(-ratio.size % width, np.nan)).reshape(-1, width)
    axes.set_facecolor("0.8")
    axes.grid(False)
    axes.set(xticks=[], yticks=[], title=f"{array.name}, {array.precision}\n{array.checked}: {array.status}")
    return axes.imshow(ratio, cmap="RdBu_r", vmin=-3, vmax=3, interpolation="nearest", aspect="auto")
