"""`minihash predict`: labels and probabilities of new rows, as CSV."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from typing import TYPE_CHECKING, Any, TextIO

from minihash.cli.arguments import add_device_arguments

if TYPE_CHECKING:
    import numpy as np

    from minihash.network import Network


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `minihash`."""
    parser = subparsers.add_parser("predict", help="classify the rows of a file, as CSV")
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="MODEL", help="file written by train --out")
    parser.add_argument(
        "inputs",
        metavar="INPUTS",
        help="raw inputs (pixels 0 to 255): idx, idx.gz, npy, or npz with one array or one named inputs",
    )
    parser.add_argument("--out", metavar="FILE", help="write the CSV here instead of to the terminal")
    add_device_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Load, predict, write."""
    from minihash.datasets.inputs import read_inputs
    from minihash.files import replacing
    from minihash.persistence import load

    network = load(args.model).to(args.device, deterministic=args.deterministic)
    rows = read_inputs(args.inputs)
    try:
        outputs = network.predict(rows)
    except ValueError as error:
        raise ValueError(f"{args.inputs}: {error}") from None
    if args.out is None:
        _write(sys.stdout or io.StringIO(), network, outputs)
        return 0
    with replacing(args.out) as binary:
        file = io.TextIOWrapper(binary, "utf-8", newline="")
        _write(file, network, outputs)
        file.detach()  # flushed, but left open for `replacing`
    return 0


def _write(file: TextIO, network: Network, outputs: np.ndarray) -> None:
    """Write a row per input: label and class probabilities, or the outputs of a network without classes."""
    from minihash import losses

    writer = csv.writer(file, lineterminator="\n")
    if network.class_names is None:
        writer.writerow(f"output {k}" for k in range(outputs.shape[1]))
        writer.writerows([f"{value:.6g}" for value in row] for row in outputs)
        return
    probabilities = losses.class_probabilities(outputs)
    writer.writerow(["label", *(f"p({name})" for name in network.class_names)])
    for row in probabilities:
        label = network.class_names[row.argmax()]
        writer.writerow([label, *(f"{probability:.6f}" for probability in row)])
