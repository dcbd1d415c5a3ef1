"""`minihash gradcheck`: check every gradient of a saved network."""

from __future__ import annotations

import argparse
from typing import Any

from minihash.cli.arguments import SEED, integer
from minihash.terminal import say


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `minihash`."""
    parser = subparsers.add_parser("gradcheck", help="check every gradient of a saved network")
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="MODEL", help="file written by train --out")
    parser.add_argument("--rows", type=integer(1), default=4, help="of the random batch (default: 4)")
    about = "size up to which every place of an array is checked (default: 1000)"
    parser.add_argument("--max-coordinates", type=integer(0), default=1000, metavar="N", help=about)
    about = "in each larger array (default: 8)"
    parser.add_argument("--directions", type=integer(1), default=8, metavar="N", help=about)
    parser.add_argument("--seed", type=SEED, default=0, help="of the batch and the directions (default: 0)")
    parser.add_argument("--plot", metavar="FILE", help="draw a heat map of the errors (png, svg or pdf)")


def run(args: argparse.Namespace) -> int:
    """Check and print the report; 1 if a gradient is wrong."""
    import numpy as np

    from minihash import figures
    from minihash.files import check_outputs
    from minihash.gradient_check import check_gradients, heat_map
    from minihash.persistence import load

    check_outputs([args.plot], args.model)
    if args.plot:
        figures.check_format(args.plot)
        figures.require_matplotlib()
    network = load(args.model)
    # Raw inputs that the first layer sees as numbers of order 1.
    rng = np.random.default_rng(args.seed)
    inputs = rng.normal(size=(args.rows, network.in_features or 1))
    inputs = inputs / np.where(network.input_scale == 0, 1, network.input_scale) + network.input_shift
    limits = {"max_coordinates": args.max_coordinates, "directions": args.directions}
    report = check_gradients(network, inputs, seed=args.seed, **limits)
    say(report)
    if args.plot:
        heat_map(report, args.plot)
        say(f"drew {args.plot}")
    return 0 if report.ok else 1
