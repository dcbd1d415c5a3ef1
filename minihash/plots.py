"""Pictures, drawn with matplotlib (extra `plots`): colour-blind safe, readable in grey, one style."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from minihash.files import replacing
from minihash.training import History

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # Okabe and Ito's palette
STYLE = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 120,
    "font.size": 10,
    "grid.alpha": 0.3,
    "legend.frameon": False,
}


def require_matplotlib() -> Any:
    """Return matplotlib without a window system; ImportError with the cure if it is missing."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plots need matplotlib: pip install 'minihash[plots]'") from None
    return matplotlib, Figure


def check_format(path: str | os.PathLike[str]) -> str:
    """Return the format that the ending of `path` names; ValueError if it is none of a picture."""
    ending = os.path.splitext(os.fspath(path))[1][1:].lower()
    if ending not in ("png", "svg", "pdf"):
        raise ValueError(f"{os.fspath(path)}: ends in {ending!r}, wanted png, svg or pdf")
    return ending


def learning_curves(histories: Mapping[str, History], path: str | os.PathLike[str]) -> None:
    """Draw training loss and validation error over the epochs, a line a run.

    Parameters
    ----------
    histories : name of the run -> its history.
    path : file to write; its ending says png, svg or pdf.

    Raises
    ------
    ImportError without matplotlib; ValueError for another ending; OSError if it cannot be written.
    """
    ending = check_format(path)
    matplotlib, Figure = require_matplotlib()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        loss_axes, error_axes = figure.subplots(1, 2)
        for (name, history), color, dash in zip(histories.items(), COLORS, ("-", "--", ":", "-.")):
            style = {"color": color, "linestyle": dash, "label": name}
            loss_axes.plot(history["epoch"], history["loss"], **style)
            if "validation_error" in history.records[0]:
                errors = [100 * error for error in history["validation_error"]]
                error_axes.plot(history["epoch"], errors, **style)
        for axes in (loss_axes, error_axes):
            axes.xaxis.get_major_locator().set_params(integer=True)
        loss_axes.set(xlabel="epoch", ylabel="training loss", yscale="log")
        error_axes.set(xlabel="epoch", ylabel="validation error (%)", yscale="log")
        error_axes.yaxis.set_major_formatter("{x:g}")
        error_axes.yaxis.set_minor_formatter("{x:g}")
        loss_axes.legend()
        with replacing(path) as file:
            figure.savefig(file, format=ending)
