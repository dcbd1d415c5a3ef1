"""The command `minihash data`: list the data sets, download one."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the command's parser to `subparsers` (what argparse's `add_subparsers` returned)."""
    parser = subparsers.add_parser("data", help="list the data sets, download one")
    parser.set_defaults(run=run)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    folder = "folder of the data (default: $MINIHASH_DATA, then ~/.local/share/minihash)"
    listing = actions.add_parser("list", help="names, sizes, and where the files are")
    listing.add_argument("--data-dir", metavar="FOLDER", help=folder)

    fetch = actions.add_parser("fetch", help="download a data set and verify it")
    fetch.add_argument("name", metavar="NAME", help="mnist or fashion-mnist")
    fetch.add_argument("--data-dir", metavar="FOLDER", help=folder)
    fetch.add_argument("--mirror", metavar="URL", help="take the files from this folder instead")


def run(args: argparse.Namespace) -> int:
    """Do what the parsed arguments say; return the exit status."""
    if args.action == "fetch":
        from minihash.datasets.fetch import fetch

        print(fetch(args.name, args.data_dir, args.mirror))
    else:
        print("\n".join(_describe(args.data_dir)))
    return 0


def _describe(data_dir: str | None) -> list[str]:
    """Return a line for each data set: name, rows, and where it is or how to get it."""
    from minihash.datasets import mnist

    lines = [_line(mnist.SMALL, 12_000, 10_000, "comes with the package")]
    for source in mnist.SOURCES.values():
        train, test = source.files[1].shape[0], source.files[3].shape[0]
        lines.append(_line(source.name, train, test, _where(source, data_dir)))
    return lines


def _line(name: str, train: int, test: int, where: str) -> str:
    return f"{name:<14} {train:>6,} train {test:>6,} test  {where}"


def _where(source: Any, data_dir: str | None) -> str:
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
