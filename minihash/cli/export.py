"""`minihash export`: a model as source code for a device."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `minihash`."""
    parser = subparsers.add_parser("export", help="write a model as C99, for devices with little memory")
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="MODEL", help="file written by train --out")
    formats = "c: a header, a source, a self-test, an example, a Makefile (default: %(default)s)"
    parser.add_argument("--format", choices=("c",), default="c", help=formats)
    folder = "folder to write to, made if it is missing"
    parser.add_argument("--out", metavar="DIR", required=True, help=folder)
    name = "of the files and in front of the functions (default: %(default)s)"
    parser.add_argument("--name", default="model", metavar="NAME", help=name)
    training = "also write a function that trains on the device; the weights are in RAM then"
    parser.add_argument("--training", action="store_true", help=training)


def run(args: argparse.Namespace) -> int:
    """Load, write, say what it costs."""
    from minihash.export import to_c
    from minihash.persistence import load

    report = to_c(load(args.model), args.out, name=args.name, training=args.training)
    print(report)
    print(f"wrote {', '.join(report.files)} in {args.out}")
    return 0
