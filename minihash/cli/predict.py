"""`minihash predict`: labels and probabilities of new rows, as CSV."""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

from minihash.cli.arguments import add_device_arguments, add_layout_arguments

if TYPE_CHECKING:
    import numpy as np

    from minihash.network import Network


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `minihash`."""
    parser = subparsers.add_parser("predict", help="classify the rows of a file, as CSV")
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="MODEL", help="file written by train --out")
    about = "raw inputs (pixels 0 to 255): idx, idx.gz, npy, or npz with one array or one named inputs; a "
    about += "CSV file or a store, also of more rows than fit the memory"
    parser.add_argument("inputs", metavar="INPUTS", help=about)
    add_layout_arguments(parser)
    parser.add_argument("--out", metavar="FILE", help="write the CSV here instead of to the terminal")
    add_device_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Load, predict, write."""
    from minihash.cli.data_sets import layout
    from minihash.datasets.inputs import input_chunks
    from minihash.files import check_outputs, replacing
    from minihash.persistence import load

    check_outputs([args.out], args.model, args.inputs)
    network = load(args.model).to(args.device, deterministic=args.deterministic)

    def left_out(column: int) -> None:
        print(f"minihash: {args.inputs}: column {column} is left out, as the target", file=sys.stderr)

    how = layout(args, args.inputs, network, targets=False)
    chunks = input_chunks(args.inputs, network.in_features, **how, report=left_out)
    outputs = _predict(network, chunks, args.inputs)
    if args.out is None:
        first = next(outputs, None)  # what is wrong with a file is found before the first line
        begun = itertools.chain([] if first is None else [first], outputs)
        _warn_of_letters(network)
        _write(sys.stdout or io.StringIO(), network, begun)
        return 0
    with replacing(args.out) as binary:
        file = io.TextIOWrapper(binary, "utf-8", newline="")
        _write(file, network, outputs)
        file.detach()  # flushed, but left open for `replacing`
    return 0


def _predict(network: Network, chunks: Iterator[np.ndarray], path: str) -> Iterator[np.ndarray]:
    for chunk in chunks:
        try:
            outputs = network.predict(chunk)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        yield outputs


def _write(file: TextIO, network: Network, outputs: Iterator[np.ndarray]) -> None:
    """Write a row per input: label and class probabilities, or the outputs of a network without classes.

    Of several labels that a row may have, the probabilities alone.
    """
    from minihash import losses

    writer = csv.writer(file, lineterminator="\n")
    names = _classes(network)
    if names is None:
        writer.writerow(f"output {k}" for k in range(network.out_features or 0))
        for chunk in _until_nobody_reads(file, outputs):
            writer.writerows([f"{value:.6g}" for value in row] for row in chunk)
        return
    labelled = network.task != "multilabel"  # of whose labels a row may have several, or none
    writer.writerow(["label"] * labelled + [f"p({name})" for name in names])
    for chunk in _until_nobody_reads(file, outputs):
        for row in losses.class_probabilities(chunk, network.task):
            label = [names[row.argmax()]] * labelled
            writer.writerow([*label, *(f"{probability:.6f}" for probability in row)])


def _classes(network: Network) -> tuple[str, ...] | None:
    """Return the classes' names, or their numbers; None of a network without them, or with several labels."""
    outputs = network.out_features or 0
    known = network.task == "classification" or network.task == "binary" and outputs == 1
    if network.class_names is not None or not known:
        return network.class_names
    return tuple(map(str, range(max(2, outputs))))


def _until_nobody_reads(file: Any, outputs: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield outputs until the reader of the terminal's pipe, such as `head`, has what it wanted."""
    for chunk in outputs:
        yield chunk
        if getattr(file, "error", None):
            return


def _warn_of_letters(network: Network) -> None:
    """Say that names of classes have letters which the terminal's encoding replaces."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    names = "".join(network.class_names or ())
    if names.encode(encoding, "replace").decode(encoding) != names:
        warnings.warn(f"{encoding} has not all letters of the class names: --out FILE writes them in UTF-8")
