"""`minihash inspect`: what a model file holds."""

from __future__ import annotations

import argparse
import math
import os
import textwrap
from typing import TYPE_CHECKING, Any

from minihash.terminal import say

if TYPE_CHECKING:
    from minihash.network import Network
    from minihash.schema import Schema

UNITS = 24  # images
WIDTH = 90  # letters of the names of features


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `minihash`."""
    parser = subparsers.add_parser("inspect", help="show what a model file holds")
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="MODEL", help="file written by train --out")
    about = "draw the first layer's weights as images of some units, of square inputs (png, svg or pdf)"
    parser.add_argument("--plot", metavar="FILE", help=about)


def run(args: argparse.Namespace) -> int:
    """Load and describe."""
    from minihash import figures
    from minihash.files import check_outputs
    from minihash.persistence import load

    check_outputs([args.plot], args.model)
    if args.plot:
        figures.check_format(args.plot)
        figures.require_matplotlib()
    network = load(args.model)
    say(network.summary())
    say(f"file: {os.path.getsize(args.model):,} bytes")
    for position, layer in enumerate(network.layers):
        say(f"layer {position}: {layer!r}")
    if network.class_names is not None:
        say(f"classes: {', '.join(network.class_names)}")
    if network.schema is not None:
        say("\n".join(_describe(network.schema)))
    say(f"input scale: {_range(network.input_scale)}, input shift: {_range(network.input_shift)}")
    if network.scales_outputs:
        say(f"output scale: {_range(network.output_scale)}, output shift: {_range(network.output_shift)}")
    if args.plot:
        _plot(network, args.plot)
        say(f"drew {args.plot}")
    return 0


def _describe(schema: Schema) -> list[str]:
    """Return what the network was trained for, and on what columns, in lines."""
    lines = [f"task: {schema.task}"]
    if schema.columns is not None:
        header = f"{'with' if schema.header else 'without'} a header"
        lines.append(f"table: {schema.columns} columns, {header}; the target is column {schema.target}")
    if schema.feature_names is not None:
        names = textwrap.shorten(", ".join(schema.feature_names), WIDTH, placeholder=" …")
        lines.append(f"features: {len(schema.feature_names)}: {names}")
    return [*lines, *(["features are standardised"] if schema.standardized else [])]


def _plot(network: Network, path: str) -> None:
    """Draw weights of the first layer that has some."""
    from minihash import plots

    layer = next(layer for layer in network.layers if layer.params)
    side = math.isqrt(layer.in_features or 0)
    if side**2 != layer.in_features:
        raise ValueError(f"--plot is for square images, and the network has {layer.in_features} inputs")
    plots.virtual_weights(layer, range(min(UNITS, layer.out_features or 0)), (side, side), path)


def _range(values: Any) -> str:
    """Describe one number, or the range of several."""
    low, high = values.min(), values.max()
    return f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"
