"""`minihash inspect`: what a model file holds."""

from __future__ import annotations

import argparse
import os
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `minihash`."""
    parser = subparsers.add_parser("inspect", help="show what a model file holds")
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="MODEL", help="file written by train --out")


def run(args: argparse.Namespace) -> int:
    """Load and describe."""
    from minihash.persistence import load

    network = load(args.model)
    print(network.summary())
    print(f"file: {os.path.getsize(args.model):,} bytes")
    for position, layer in enumerate(network.layers):
        print(f"layer {position}: {layer!r}")
    if network.class_names is not None:
        print(f"classes: {', '.join(network.class_names)}")
    print(f"input scale: {_range(network.input_scale)}, input shift: {_range(network.input_shift)}")
    return 0


def _range(values: Any) -> str:
    """Describe one number, or the range of one a feature."""
    low, high = values.min(), values.max()
    return f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"
