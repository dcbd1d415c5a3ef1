"""`minihash export`: a model as source code for a device, or as ONNX."""

from __future__ import annotations

import argparse
import os
from typing import Any

from minihash.terminal import say


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `minihash`."""
    about = "write a model as C99, for devices with little memory, or as ONNX"
    parser = subparsers.add_parser("export", help=about)
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="MODEL", help="file written by train --out")
    formats = "c: a header, a source, a self-test, an example, a Makefile; onnx: one file (default: c)"
    parser.add_argument("--format", choices=("c", "onnx"), default="c", help=formats)
    out = "folder to write to, made if it is missing; for onnx the file"
    parser.add_argument("--out", metavar="PATH", required=True, help=out)
    dense = "onnx: write whole matrices, for runtimes without the operators that compute the hash"
    parser.add_argument("--dense", action="store_true", help=dense)
    name = "c: of the files and in front of the functions (default: %(default)s)"
    parser.add_argument("--name", default="model", metavar="NAME", help=name)
    weights = "c: how buckets are kept (default: as the model has them)"
    parser.add_argument("--weights", choices=("float32", "int8", "int4"), help=weights)
    training = "c: also write a function that trains on the device; the weights are in RAM then"
    parser.add_argument("--training", action="store_true", help=training)


def run(args: argparse.Namespace) -> int:
    """Load, write, say what it costs."""
    from minihash.export import to_c, to_onnx
    from minihash.files import check_outputs
    from minihash.persistence import load

    if args.format == "onnx":
        if args.training or args.weights or args.name != "model":
            raise ValueError("--name, --weights and --training are for --format c")
        check_outputs([args.out], args.model)
        to_onnx(load(args.model), args.out, dense=args.dense)
        say(f"wrote {args.out}, {os.path.getsize(args.out):,} bytes")
        return 0
    if args.dense:
        raise ValueError("--dense is for --format onnx")
    arguments = {"name": args.name, "weights": args.weights, "training": args.training}
    report = to_c(load(args.model), args.out, **arguments)
    say(report)
    say(f"wrote {', '.join(report.files)} in {args.out}")
    return 0
