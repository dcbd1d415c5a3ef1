"""The command `minihash data`: list or download data sets, convert a file."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minihash.cli.arguments import add_table_arguments, integer
from minihash.terminal import say

if TYPE_CHECKING:
    from minihash.datasets.csv_rows import Progress
    from minihash.datasets.mnist import IdxSource

SECONDS = 5.0  # from one line of progress to the next
LONG = 2**28  # bytes of a CSV file that takes seconds to convert
SAMPLE = 2**16  # bytes of its beginning, by which its rows are estimated


def add_parser(subparsers: Any) -> None:
    """Add the command's parser to `subparsers` (what argparse's `add_subparsers` returned)."""
    parser = subparsers.add_parser("data", help="list data sets; fetch or convert one")
    parser.set_defaults(run=run)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    actions.add_parser("list", help="names, sizes, and where the files are")

    fetch = actions.add_parser("fetch", help="download a data set and verify it")
    fetch.add_argument("name", metavar="NAME", help="mnist or fashion-mnist")
    fetch.add_argument("--mirror", metavar="URL", help="take the files from this folder instead")

    convert = actions.add_parser("convert", help="turn a CSV file of numbers into a store, read in blocks")
    convert.add_argument("source", metavar="CSV", help="a target and features in each line; .gz or not")
    convert.add_argument("store", metavar="STORE", help="the file to write")
    add_table_arguments(convert)
    about = "the column of the rows' weights, by name or number (default: none)"
    convert.add_argument("--weight", metavar="NAME", help=about)
    about = "leave out so many wrong lines (default: none may be wrong)"
    convert.add_argument("--skip-bad", type=integer(0), default=0, metavar="N", help=about)

    folder = "folder of the data (default: $MINIHASH_DATA, then ~/.local/share/minihash)"
    for name, action in actions.choices.items():
        if name != "convert":
            action.add_argument("--data-dir", metavar="FOLDER", help=folder)


def run(args: argparse.Namespace) -> int:
    """Do what the parsed arguments say; return the exit status."""
    if args.action == "fetch":
        from minihash.datasets.fetch import fetch

        say(fetch(args.name, args.data_dir, args.mirror))
    elif args.action == "convert":
        _convert(args)
    else:
        say("\n".join(describe(args.data_dir)))
    return 0


def _convert(args: argparse.Namespace) -> None:
    """Convert, saying every few seconds how far it is, and at the end what there is."""
    from minihash.datasets.csv_rows import convert
    from minihash.files import check_outputs

    check_outputs([args.store], args.source)
    announce_conversion(args.source, args.store)
    progress = convert(
        args.source,
        args.store,
        **_columns(args),
        skip_bad=args.skip_bad,
        report=reporter(),
    )
    skipped = f", {progress.skipped:,} lines skipped" if progress.skipped else ""
    say(f"{speed(progress)}{skipped}: wrote {args.store}")


def _columns(args: argparse.Namespace) -> dict[str, Any]:
    """Return where target and weight are, and whether there is a header; of a pipe only what is said."""
    from minihash.datasets.tables import find_column, find_target
    from minihash.datasets.text_table import open_text

    if not os.path.isfile(args.source):
        weight = None if args.weight is None else int(args.weight)
        return {"header": bool(args.header), "label_column": int(args.target or 0), "weight_column": weight}
    table = open_text(args.source, args.header)
    return {
        "header": bool(table.names),
        "label_column": find_target(table, args.target),
        "weight_column": None if args.weight is None else find_column(table, "weight", args.weight),
    }


def announce_conversion(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Say what is about to be made of a large CSV file: as many rows as its first lines promise."""
    from minihash.datasets.csv_rows import first_bytes

    size = os.path.getsize(source) if os.path.isfile(source) else 0  # a pipe cannot be read twice
    if size < LONG:
        return
    start = first_bytes(source, SAMPLE)
    with open(source, "rb") as file:
        packed = file.read(SAMPLE) != start
    lines = start.split(b"\n")[1:-1]  # no header, no half of a line
    if packed or not lines:
        say(f"writing {target}, of {size / 1e6:,.0f} MB in {source}")
    else:
        rows = size * len(lines) // sum(len(line) + 1 for line in lines)
        announce(target, rows, lines[-1].count(b",") + 1, "about ")


def announce(target: str | os.PathLike[str], rows: int, columns: int, about: str = "") -> None:
    """Say what store is about to be written: how many rows of float32, how many bytes."""
    say(f"writing {target}: {about}{rows:,} rows, {4e-6 * rows * columns:,.0f} MB")


def reporter() -> Callable[[Progress], None]:
    """Return what says how far it is, every few seconds."""
    said = 0.0

    def report(progress: Progress) -> None:
        nonlocal said
        if progress.seconds - said >= SECONDS:
            said = progress.seconds
            say(speed(progress))

    return report


def speed(progress: Progress) -> str:
    """Return how many rows were done, and how fast."""
    return f"{progress.rows:,} rows, {progress.rows / max(1e-9, progress.seconds):,.0f} a second"


def describe(data_dir: str | None) -> list[str]:
    """Return a line for each data set: name, rows, and where it is or how to get it."""
    from minihash.datasets import mnist

    lines = [line_of(mnist.SMALL, 12_000, 10_000, "comes with the package")]
    for source in mnist.SOURCES.values():
        train, test = source.files[1].shape[0], source.files[3].shape[0]
        lines.append(line_of(source.name, train, test, _where(source, data_dir)))
    return lines


def line_of(name: str, train: int, test: int, where: str) -> str:
    """Return a line of the list."""
    return f"{name:<14} {train:>6,} train {test:>6,} test  {where}"


def _where(source: IdxSource, data_dir: str | None) -> str:
    """Say where `source` is; its smallest file, the test labels, is checked to be its own."""
    from minihash.datasets import mnist

    paths = mnist.find(source, data_dir)
    get = f"get it with: minihash data fetch {source.name}"
    if paths is None:
        return get
    try:
        source.files[3].read(paths[3])
    except ValueError:
        return f"not found ({paths[3].parent} holds other files of these names); {get}"
    return f"found in {paths[3].parent}"
