"""`minihash evaluate`: the error of a saved network on a data set."""

from __future__ import annotations

import argparse
from typing import Any

from minihash.cli.arguments import add_data_arguments, add_device_arguments


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `minihash`."""
    parser = subparsers.add_parser("evaluate", help="measure a saved network on a data set")
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="MODEL", help="file written by train --out")
    parser.add_argument("--part", default="test", choices=("train", "validation", "test"), help="of the data")
    add_data_arguments(parser)
    add_device_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Load, measure, print."""
    from minihash import datasets
    from minihash.persistence import load
    from minihash.training import evaluate

    network = load(args.model).to(args.device, deterministic=args.deterministic)
    dataset = datasets.load(args.data, args.data_dir)
    result = evaluate(network, getattr(dataset, args.part))
    print(f"{args.part} loss: {result['loss']:.4f}")
    print(f"{args.part} error: {100 * result['error']:.2f} %")
    return 0
