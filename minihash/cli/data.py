"""The command `minihash data`: list, download, make or show data sets, convert a file, synthesize one."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minihash.cli.arguments import SEED, integer
from minihash.terminal import say

if TYPE_CHECKING:
    from minihash.datasets import Dataset
    from minihash.datasets.csv_rows import Progress
    from minihash.datasets.mnist import IdxSource

COLUMNS = 16  # images in a row of a contact sheet
SECONDS = 5.0  # from one line of progress to the next


def add_parser(subparsers: Any) -> None:
    """Add the command's parser to `subparsers` (what argparse's `add_subparsers` returned)."""
    parser = subparsers.add_parser("data", help="list data sets; fetch, make, show or convert one")
    parser.set_defaults(run=run)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    actions.add_parser("list", help="names, sizes, and where the files are")

    fetch = actions.add_parser("fetch", help="download a data set and verify it")
    fetch.add_argument("name", metavar="NAME", help="mnist or fashion-mnist")
    fetch.add_argument("--mirror", metavar="URL", help="take the files from this folder instead")

    make = actions.add_parser("make", help="make a data set now (else: when it is first used)")
    make.add_argument("name", metavar="NAME", help="basic, rot, bg-rand, bg-img, bg-img-rot, rect or convex")
    about = "photographs behind the digits of bg-img and bg-img-rot (default: those of scikit-image)"
    make.add_argument("--photographs", metavar="FOLDER", help=about)

    show = actions.add_parser("show", help="write a contact sheet of the first training rows")
    show.add_argument("name", metavar="NAME", help="see: minihash data list")
    show.add_argument("--out", metavar="FILE", help="png, svg or pdf (default: NAME.png)")
    about = f"rows of {COLUMNS} images (default: %(default)s)"
    show.add_argument("--rows", type=integer(1, 101), default=8, metavar="N", help=about)

    convert = actions.add_parser("convert", help="turn a CSV file of numbers into a store, read in blocks")
    convert.add_argument("source", metavar="CSV", help="a target and features in each line; .gz or not")
    convert.add_argument("target", metavar="STORE", help="the file to write")
    convert.add_argument("--header", action="store_true", help="leave out the first line")
    about = "which number of a line is the target; -1: the last (default: %(default)s)"
    convert.add_argument("--label-column", type=int, default=0, metavar="N", help=about)
    about = "which number of a line is the row's weight (default: none)"
    convert.add_argument("--weight-column", type=int, metavar="N", help=about)
    about = "leave out so many wrong lines (default: none may be wrong)"
    convert.add_argument("--skip-bad", type=integer(0), default=0, metavar="N", help=about)

    synthesize = actions.add_parser("synthesize", help="write a store of synthetic rows, as many as you want")
    about = "higgs: 28 features of a toy of particle decays, in the shape of the UCI set and not that set"
    synthesize.add_argument("name", choices=("higgs",), help=about)
    synthesize.add_argument("target", metavar="STORE", help="the file to write, 116 bytes a row")
    about = "how many; the real set has 11000000"
    synthesize.add_argument("--rows", type=integer(1, 2**40), required=True, metavar="N", help=about)
    about = "of what is drawn (default: %(default)s)"
    synthesize.add_argument("--seed", type=SEED, default=0, metavar="N", help=about)

    folder = "folder of the data (default: $MINIHASH_DATA, then ~/.local/share/minihash)"
    for name, action in actions.choices.items():
        if name not in ("convert", "synthesize"):
            action.add_argument("--data-dir", metavar="FOLDER", help=folder)


def run(args: argparse.Namespace) -> int:
    """Do what the parsed arguments say; return the exit status."""
    if args.action == "fetch":
        from minihash.datasets.fetch import fetch

        say(fetch(args.name, args.data_dir, args.mirror))
    elif args.action == "make":
        from minihash.datasets import made

        say(made.make(args.name, args.data_dir, args.photographs))
    elif args.action == "convert":
        _convert(args)
    elif args.action == "synthesize":
        _synthesize(args)
    elif args.action == "show":
        say(_show(args.name, args.data_dir, args.out or f"{args.name}.png", args.rows))
    else:
        say("\n".join(_describe(args.data_dir)))
    return 0


def _convert(args: argparse.Namespace) -> None:
    """Convert, saying every few seconds how far it is, and at the end what there is."""
    from minihash.datasets.csv_rows import convert
    from minihash.files import check_outputs

    check_outputs([args.target], args.source)
    progress = convert(
        args.source,
        args.target,
        header=args.header,
        label_column=args.label_column,
        weight_column=args.weight_column,
        skip_bad=args.skip_bad,
        report=_reporter(),
    )
    skipped = f", {progress.skipped:,} lines skipped" if progress.skipped else ""
    say(f"{_speed(progress)}{skipped}: wrote {args.target}")


def _synthesize(args: argparse.Namespace) -> None:
    """Synthesize, and say as much."""
    from minihash.datasets.synthetic import synthesize_higgs
    from minihash.files import check_outputs

    check_outputs([args.target])
    progress = synthesize_higgs(args.target, args.rows, seed=args.seed, report=_reporter())
    say(f"{_speed(progress)}: wrote {args.target}, synthetic")


def _reporter() -> Callable[[Progress], None]:
    """Return what says how far it is, every few seconds."""
    said = 0.0

    def report(progress: Progress) -> None:
        nonlocal said
        if progress.seconds - said >= SECONDS:
            said = progress.seconds
            say(_speed(progress))

    return report


def _speed(progress: Progress) -> str:
    return f"{progress.rows:,} rows, {progress.rows / max(1e-9, progress.seconds):,.0f} a second"


def _describe(data_dir: str | None) -> list[str]:
    """Return a line for each data set: name, rows, and where it is or how to get it."""
    from minihash.datasets import made, mnist

    lines = [_line(mnist.SMALL, 12_000, 10_000, "comes with the package")]
    for source in mnist.SOURCES.values():
        train, test = source.files[1].shape[0], source.files[3].shape[0]
        lines.append(_line(source.name, train, test, _where(source, data_dir)))
    for recipe in made.RECIPES.values():
        lines.append(_line(recipe.name, recipe.train, recipe.test, made.where(recipe.name, data_dir)))
    return lines


def _line(name: str, train: int, test: int, where: str) -> str:
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


def _show(name: str, data_dir: str | None, path: str, rows: int) -> str:
    """Write a contact sheet to `path`, and return that."""
    from minihash import datasets, figures
    from minihash.files import check_outputs

    check_outputs([path])
    figures.check_format(path)
    figures.require_matplotlib()  # before a minute of making
    data = datasets.load(name, data_dir)
    figures.draw(path, (0.55 * COLUMNS, 0.68 * rows + 0.5), lambda figure: _fill(figure, data, rows))
    return path


def _fill(figure: Any, data: Dataset, rows: int) -> None:
    """Draw the first training images, each under the name of its class, on one pair of axes."""
    images, labels = (part[: rows * COLUMNS] for part in data.train)
    side = round(images.shape[1] ** 0.5)
    width, height = 1.15 * side, 1.4 * side  # of a cell, in pixels of the images
    font = 7 if max(map(len, data.class_names)) < 8 else 5
    figure.set_facecolor("0.85")  # where an image ends is seen of white ones and of black ones
    axes = figure.subplots()
    for number, (image, label) in enumerate(zip(images.reshape(-1, side, side), labels)):
        row, column = divmod(number, COLUMNS)
        left, top = column * width, row * height
        extent = (left, left + side, top + side, top)
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="nearest")
        axes.text(left + side / 2, top - 1, data.class_names[label], ha="center", fontsize=font)
    sizes = (len(part[0]) for part in (data.train, data.validation, data.test))
    train, validation, test = (f"{size:,}" for size in sizes)
    about = f"{data.name}: {train} train, {validation} validation, {test} test"
    axes.set_title(f"{about}\n{data.origin}", fontsize=8)
    axes.set(xlim=(0, COLUMNS * width), ylim=(rows * height, -0.3 * side), aspect="equal")
    axes.axis("off")
