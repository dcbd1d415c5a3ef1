"""`minihash predict`: labels and probabilities of new rows, as CSV."""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from minihash.cli.arguments import add_device_arguments, add_table_arguments

if TYPE_CHECKING:
    import numpy as np

    from minihash.datasets.inputs import Inputs
    from minihash.network import Network

    Kept = Iterable[tuple[str, ...]]


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `minihash`."""
    parser = subparsers.add_parser("predict", help="classes or numbers for the rows of a file, as CSV")
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="MODEL", help="file written by train --out")
    about = "a table with the columns of the training, in any order if they have names, with the target or "
    about += "without; a store or .npy; or raw inputs (pixels 0 to 255): idx, idx.gz, or npz with one array "
    about += "or one named inputs"
    parser.add_argument("inputs", metavar="INPUTS", help=about)
    add_table_arguments(parser)
    about = "copy this column of a table; may be given several times"
    parser.add_argument("--keep", action="append", default=[], metavar="NAME", help=about)
    parser.add_argument("--out", metavar="FILE", help="write the CSV here instead of to the terminal")
    add_device_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Load, predict, write."""
    from minihash.datasets.inputs import Inputs
    from minihash.files import check_outputs, replacing
    from minihash.persistence import load

    check_outputs([args.out], args.model, args.inputs)
    network = load(args.model).to(args.device, deterministic=args.deterministic)
    rows = Inputs(args.inputs, network, header=args.header, target=args.target, keep=args.keep)
    predictions = _predict(network, rows)
    if args.out is None:
        first = next(predictions, None)  # what is wrong with a file is found before the first line
        begun = itertools.chain([] if first is None else [first], predictions)
        _warn_of_letters(network)
        _write(sys.stdout or io.StringIO(), network, args.keep, begun)
    else:
        with replacing(args.out) as binary:
            file = io.TextIOWrapper(binary, "utf-8", newline="")
            _write(file, network, args.keep, predictions)
            file.detach()  # flushed, but left open for `replacing`
    if rows.left_out:
        print(f"minihash: {args.inputs}: {rows.left_out} is left out, as the target", file=sys.stderr)
    for note in rows.seen.notes():
        print(f"minihash: {args.inputs}: {note}", file=sys.stderr)
    return 0


def _predict(network: Network, rows: Inputs) -> Iterator[tuple[np.ndarray, Kept]]:
    """Yield the outputs of some rows after the other, and the cells of each that are kept."""
    for inputs, kept in rows:
        try:
            outputs = network.predict(inputs)
        except ValueError as error:
            raise ValueError(f"{rows.path}: {error}") from None
        yield outputs, zip(*kept) if kept else itertools.repeat((), len(outputs))


def _write(
    file: TextIO, network: Network, keep: list[str], predictions: Iterator[tuple[np.ndarray, Kept]]
) -> None:
    """Write a row per input: kept cells, label and class probabilities, or the outputs without classes.

    Of several labels that a row may have, the probabilities alone.
    """
    from minihash import losses

    writer = csv.writer(file, lineterminator="\n")
    names = _classes(network)
    if names is None:
        writer.writerow([*keep, *_outputs(network)])
        for chunk, kept in _until_nobody_reads(file, predictions):
            writer.writerows([*own, *(f"{value:.6g}" for value in row)] for own, row in zip(kept, chunk))
        return
    labelled = network.task != "multilabel"  # of whose labels a row may have several, or none
    writer.writerow([*keep, *["label"] * labelled, *(f"p({name})" for name in names)])
    for chunk, kept in _until_nobody_reads(file, predictions):
        for own, row in zip(kept, losses.class_probabilities(chunk, network.task)):
            label = [names[row.argmax()]] * labelled
            writer.writerow([*own, *label, *(f"{probability:.6f}" for probability in row)])


def _outputs(network: Network) -> list[str]:
    """Return what the outputs of a network without classes are called."""
    outputs, schema = network.out_features or 0, network.schema
    if outputs == 1 and schema is not None and schema.target_name:
        return [schema.target_name]
    return [f"output {k}" for k in range(outputs)]


def _classes(network: Network) -> tuple[str, ...] | None:
    """Return the classes' names, or their numbers; None of a network without them, or with several labels."""
    outputs = network.out_features or 0
    known = network.task == "classification" or network.task == "binary" and outputs == 1
    if network.class_names is not None or not known:
        return network.class_names
    return tuple(map(str, range(max(2, outputs))))


def _until_nobody_reads(file: Any, outputs: Iterator[Any]) -> Iterator[Any]:
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
