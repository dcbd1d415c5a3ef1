"""Pictures of training (extra `plots`)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from minihash import figures
from minihash.training import History


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

    def fill(figure: Any) -> None:
        loss_axes, error_axes = figure.subplots(1, 2)
        runs = zip(histories.items(), figures.COLORS, figures.DASHES)
        for (name, history), color, dash in runs:
            style = {"color": color, "linestyle": dash, "label": name}
            if len(history) == 1:
                style["marker"] = "o"
            loss_axes.plot(history["epoch"], history["loss"], **style)
            if "validation_error" in history.records[0]:
                errors = [100 * error for error in history["validation_error"]]
                error_axes.plot(history["epoch"], errors, **style)
        loss_axes.set(xlabel="epoch", ylabel="training loss", yscale="log")
        error_axes.set(xlabel="epoch", ylabel="validation error (%)", yscale="log")
        for axes in (loss_axes, error_axes):
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.yaxis.get_major_locator().set_params(subs=(1, 2, 5))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")
        loss_axes.legend()

    figures.draw(path, (8, 3.2), fill)
