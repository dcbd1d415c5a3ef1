"""`minihash export`: a model in the format of a target, such as source code for a device, or ONNX."""

from __future__ import annotations

import argparse
from typing import Any

from minihash.export.targets import targets
from minihash.terminal import say


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `minihash`, with the options of all targets."""
    known = targets()
    about = f"write a model for devices and other runtimes: {', '.join(known)}"
    parser = subparsers.add_parser("export", help=about)
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="MODEL", help="file written by train --out")
    formats = "; ".join(f"{target.name}: {target.about}" for target in known.values())
    parser.add_argument("--format", choices=tuple(known), default="c", help=f"{formats} (default: c)")
    folders = ", ".join(target.name for target in known.values() if target.folder)
    out = f"file to write to; for {folders} a folder, made if it is missing"
    parser.add_argument("--out", metavar="PATH", required=True, help=out)
    options = {name: words for target in known.values() for name, words in target.options.items()}
    for name, words in options.items():
        parser.add_argument(_flag(name), default=argparse.SUPPRESS, **words)


def run(args: argparse.Namespace) -> int:
    """Load, write, say what was written."""
    from minihash.files import check_outputs
    from minihash.persistence import load

    known = targets()
    target = known[args.format]
    given = {name: vars(args)[name] for one in known.values() for name in one.options if name in args}
    for other in known.values():
        theirs = [name for name in other.options if name not in target.options]
        if given.keys() & theirs:
            *most, last = map(_flag, theirs)
            options = f"{', '.join(most)} and {last} are" if most else f"{last} is"
            raise ValueError(f"{options} for --format {other.name}")
    if not target.folder:
        check_outputs([args.out], args.model)
    say(target.write(load(args.model), args.out, **given))
    return 0


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
