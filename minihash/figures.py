"""How figures look, and how they are written (matplotlib, extra `plots`).

Colours are told apart by the colour-blind and, with the dashes, in grey.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from minihash.files import replacing

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # of Okabe and Ito
DASHES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P")
SHADES = "cividis"  # from dark to light, the same for everyone
STYLE = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 120,
    "font.size": 10,
    "grid.alpha": 0.3,
    "legend.frameon": False,
}
FORMATS = ("png", "svg", "pdf")


def require_matplotlib() -> Any:
    """Return the module matplotlib; ImportError with the cure if it is missing."""
    try:
        import matplotlib
        import matplotlib.figure
    except ImportError:
        raise ImportError("plots need matplotlib: pip install matplotlib") from None
    return matplotlib


def check_format(path: str | os.PathLike[str]) -> str:
    """Return the format that the ending of `path` names; ValueError if it is none of a picture."""
    ending = os.path.splitext(os.fspath(path))[1][1:].lower()
    if ending not in FORMATS:
        raise ValueError(f"{os.fspath(path)}: ends in {ending!r}, wanted png, svg or pdf")
    return ending


def draw(
    path: str | os.PathLike[str] | None, size: tuple[float, float], fill: Callable[[Any], None]
) -> Any:
    """Let `fill(figure)` draw a figure of `size` inches, write it whole or not at all, and return it.

    Without a path it is returned only, for a notebook to show. No window system is touched. It raises
    ImportError without matplotlib, ValueError as `check_format`, and OSError if the file cannot be written.
    """
    ending = None if path is None else check_format(path)
    matplotlib = require_matplotlib()
    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
        fill(figure)
        if path is not None:
            with replacing(path) as file:
                figure.savefig(file, format=ending)
    return figure
