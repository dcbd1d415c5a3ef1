"""Pictures of networks and of their training (extra `plots`), in one style (figures.py).

Each function draws to a file, whose ending says png, svg or pdf, or, without a path, returns the figure of
matplotlib only, for a notebook to show. All raise ImportError without matplotlib, ValueError for another
ending and OSError if the file cannot be written.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minihash import checks, figures
from minihash.layers import HashedLinear, Layer
from minihash.training import History

Path = str | os.PathLike[str] | None
PER_ROW = 6  # images of units
MOST_NUMBERS = 20  # classes whose counts are written into the picture
HATCHES = ("", "//", "..", "xx", "--", "oo")


def learning_curves(histories: Mapping[str, History], path: Path = None) -> Any:
    """Draw training loss and, with validation rows, their error or loss over the epochs, a line a run.

    Parameters
    ----------
    histories : name of the run -> its history, of one epoch at least; what is NaN is left out of a line.
    path : file to write, or None.
    """
    for name, history in histories.items():
        if not len(history):
            raise ValueError(f"history of {name!r} has no epoch, wanted one at least")
    names = {name for history in histories.values() for name in history.records[0]}
    classes = "validation_error" in names
    validated = classes or "validation_loss" in names
    figure_of, percent = ("validation_error", 100) if classes else ("validation_loss", 1)

    def fill(figure: Any) -> None:
        panels = figure.subplots(1, 1 + validated, squeeze=False)[0]
        loss_axes, error_axes = panels[0], panels[-1]
        for (name, history), color, dash in zip(histories.items(), figures.COLORS, figures.DASHES):
            marker = "o" if len(history) == 1 else None
            style = {"color": color, "linestyle": dash, "label": name, "marker": marker}
            loss_axes.plot(history["epoch"], history["loss"], **style)
            if figure_of in history.records[0]:
                values = [percent * value for value in history[figure_of]]
                error_axes.plot(history["epoch"], values, **style)
        if validated:
            error_axes.set(xlabel="epoch", ylabel=figure_of.replace("_", " ") + " (%)" * classes)
        loss_axes.set(xlabel="epoch", ylabel="training loss")
        for axes in panels:
            axes.xaxis.get_major_locator().set_params(integer=True)
            # Of zeros and NaN a logarithmic axis shows nothing.
            if any(value > 0 for line in axes.lines for value in line.get_ydata()):
                axes.set_yscale("log")
                _label(axes.yaxis, "{x:g}")
        loss_axes.legend()

    return figures.draw(path, (8, 3.2), fill)


def bucket_map(
    layer: HashedLinear, units: Sequence[int], shape: tuple[int, int], path: Path = None
) -> Any:
    """Draw which bucket each input's weight is looked up in, h(i, j), an image a unit.

    A shade is a bucket, or of a layer of tiles the tile τ(i, g(j)); a dot says that the sign ξ(i, j) is −1.

    Parameters
    ----------
    layer : hashed, of inputs that are an image.
    units : output units i.
    shape : rows and columns of the image; their product is the layer's in_features.
    path : file to write, or None.

    Raises
    ------
    ValueError if the layer, a unit or the shape does not fit.
    """
    if not isinstance(layer, HashedLinear):
        raise ValueError(f"layer is a {type(layer).__name__}, wanted a HashedLinear")
    _check_units(layer, units, shape)
    map = layer.bucket_map
    tiles, _, signs = map.draw(np.asarray(units)[:, None], np.arange(layer.in_features))

    def mark(axes: Any, place: int) -> None:
        rows, columns = np.nonzero(signs[place].reshape(shape) < 0)
        size = min(6.0, 60 / max(shape))
        edge = {"markeredgecolor": "black", "markeredgewidth": 0.3}
        axes.plot(columns, rows, ".", color="white", markersize=size, **edge)

    name = "bucket" if map.tile == 1 else "tile"
    return _images(tiles.reshape(-1, *shape), units, (0, max(1, map.tiles - 1)), name, path, mark)


def virtual_weights(layer: Layer, units: Sequence[int], shape: tuple[int, int], path: Path = None) -> Any:
    """Draw the weights V[i, ·] of units as images, light where they are positive and dark where negative.

    Parameters
    ----------
    layer : hashed or dense, of inputs that are an image.
    units, shape, path : as in `bucket_map`.

    Raises
    ------
    ValueError if a unit or the shape does not fit, or the layer has no weights.
    """
    _check_units(layer, units, shape)
    virtual = getattr(layer, "virtual_weight_matrix", None)
    matrix = layer.device.get(layer.params["weight"]) if virtual is None else virtual()
    images = matrix[list(units)].reshape(-1, *shape)
    limit = float(np.abs(images).max()) or 1.0
    return _images(images, units, (-limit, limit), "weight", path)


def confusion_matrix(matrix: np.ndarray, names: Sequence[str], path: Path = None) -> Any:
    """Draw how often rows of each class are taken for which: a row a class, in shares of its rows.

    Parameters
    ----------
    matrix : (classes, classes) counts, as `training.evaluation.confusion` returns them.
    names : of the classes.
    path : file to write, or None.
    """
    counts = np.asarray(checks.array("matrix", matrix))
    if counts.shape != (len(names), len(names)):
        raise ValueError(f"matrix has shape {counts.shape}, wanted ({len(names)}, {len(names)}) as names")
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))

    def fill(figure: Any) -> None:
        axes = figure.subplots()
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        figure.colorbar(image, label="share of the class's rows")
        places = range(len(names))
        axes.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(places, names)
        axes.set(xlabel="predicted", ylabel="is")
        for i, j in itertools.product(places, places) if len(names) <= MOST_NUMBERS else ():
            color = "white" if shares[i, j] > 0.5 else "black"
            number = f"{counts[i, j]:,}" if counts[i, j] else ""
            axes.text(j, i, number, ha="center", va="center", color=color)

    side = max(4.0, 0.45 * len(names))
    return figures.draw(path, (side + 1.5, side), fill)


def error_against_bytes(curves: Mapping[str, Sequence[tuple[float, float]]], path: Path = None) -> Any:
    """Draw the error of networks over the bytes that they store, both on logarithmic axes.

    Parameters
    ----------
    curves : name of a kind of network -> its (bytes, error in percent), a point each.
    path : file to write, or None.
    """

    def fill(figure: Any) -> None:
        axes = figure.subplots()
        styles = zip(curves.items(), figures.COLORS, figures.MARKERS, itertools.cycle(figures.DASHES))
        for (name, points), color, marker, dash in styles:
            axes.plot(*zip(*sorted(points)), color=color, marker=marker, linestyle=dash, label=name)
        axes.set(xscale="log", yscale="log", xlabel="stored bytes", ylabel="error (%)")
        _label(axes.xaxis, "{x:,.0f}")
        _label(axes.yaxis, "{x:g}")
        axes.legend()

    return figures.draw(path, (5.4, 3.6), fill)


def step_times(steps: Mapping[str, Mapping[str, float]], path: Path = None) -> Any:
    """Draw where the time of training steps goes, a bar a step.

    Parameters
    ----------
    steps : name of a step -> its parts -> milliseconds, such as `benchmarks.speed.breakdown` finds them.
    path : file to write, or None.
    """
    parts = list(dict.fromkeys(part for times in steps.values() for part in times))

    def fill(figure: Any) -> None:
        axes = figure.subplots()
        ends = np.zeros(len(steps))
        for part, color, hatch in zip(parts, itertools.cycle(figures.COLORS), itertools.cycle(HATCHES)):
            lengths = np.array([max(0.0, times.get(part, 0.0)) for times in steps.values()])
            style = {"color": color, "hatch": hatch, "edgecolor": "white"}
            axes.barh(range(len(steps)), lengths, left=ends, label=part, **style)
            ends += lengths
        axes.set_yticks(range(len(steps)), list(steps))
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(xlabel="milliseconds a step")
        figure.legend(ncols=len(parts), loc="outside upper center")

    return figures.draw(path, (7, 1.2 + 0.45 * len(steps)), fill)


def _label(axis: Any, form: str) -> None:
    """Label a logarithmic axis at 1, 2 and 5."""
    axis.get_major_locator().set_params(subs=(1, 2, 5))
    axis.set_major_formatter(form)
    axis.set_minor_formatter("")


def _check_units(layer: Layer, units: Sequence[int], shape: tuple[int, int]) -> None:
    if not layer.params or layer.in_features is None or layer.out_features is None:
        raise ValueError(f"layer is a {type(layer).__name__}, wanted one with weights")
    if len(shape) != 2 or shape[0] * shape[1] != layer.in_features:
        raise ValueError(f"shape is {tuple(shape)}, wanted two numbers whose product is {layer.in_features}")
    if not len(units):
        raise ValueError("units is empty, wanted one at least")
    for unit in units:
        checks.integer("units", unit, 0, layer.out_features)


def _images(
    images: np.ndarray,
    units: Sequence[int],
    limits: tuple[float, float],
    name: str,
    path: Path,
    mark: Callable[[Any, int], None] = lambda axes, place: None,
) -> Any:
    """Draw images of units beside each other, with one scale of shades for all."""
    columns = min(PER_ROW, len(images))
    rows = -(-len(images) // columns)

    def fill(figure: Any) -> None:
        grid = figure.subplots(rows, columns, squeeze=False)
        for place, axes in enumerate(grid.flat):
            axes.set_axis_off()
            if place < len(images):
                shown = axes.imshow(images[place], figures.SHADES, vmin=limits[0], vmax=limits[1])
                axes.set_title(f"unit {units[place]}", fontsize=9)
                mark(axes, place)
        figure.colorbar(shown, ax=grid, label=name, shrink=0.8)

    return figures.draw(path, (1.6 * columns + 1, 1.7 * rows + 0.2), fill)
