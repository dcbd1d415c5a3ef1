"""`python -m benchmarks.paper make` and `show`: the sets of Larochelle et al. 2007, made and looked at."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from minihash.cli.arguments import integer
from minihash.terminal import say

if TYPE_CHECKING:
    from minihash.datasets import Dataset

COLUMNS = 16  # images in a row of a contact sheet


def add_parser(subparsers: Any) -> None:
    """Add the commands to the parser."""
    names = subparsers.add_parser("list", help="names, sizes, and where the files are")
    names.set_defaults(run=_list)

    make = subparsers.add_parser("make", help="make a data set now (else: when it is first used)")
    make.set_defaults(run=_make)
    make.add_argument("name", metavar="NAME", help="basic, rot, bg-rand, bg-img, bg-img-rot, rect or convex")
    about = "photographs behind the digits of bg-img and bg-img-rot (default: those of scikit-image)"
    make.add_argument("--photographs", metavar="FOLDER", help=about)
    about = "also write all its rows, training, validation, test, to a file for `minihash train --data FILE`"
    make.add_argument("--out", metavar="FILE", help=about)

    show = subparsers.add_parser("show", help="write a contact sheet of the first training rows")
    show.set_defaults(run=_show)
    show.add_argument("name", metavar="NAME", help="see: python -m benchmarks.paper list")
    show.add_argument("--out", metavar="FILE", help="png, svg or pdf (default: NAME.png)")
    about = f"rows of {COLUMNS} images (default: %(default)s)"
    show.add_argument("--rows", type=integer(1, 101), default=8, metavar="N", help=about)

    folder = "folder of the data (default: $MINIHASH_DATA, then ~/.local/share/minihash)"
    for action in (names, make, show):
        action.add_argument("--data-dir", metavar="FOLDER", help=folder)


def _list(args: argparse.Namespace) -> int:
    from benchmarks.paper.data import made
    from minihash.cli.data import describe, line_of

    lines = describe(args.data_dir)
    for recipe in made.RECIPES.values():
        lines.append(line_of(recipe.name, recipe.train, recipe.test, made.where(recipe.name, args.data_dir)))
    say("\n".join(lines))
    return 0


def _make(args: argparse.Namespace) -> int:
    from benchmarks.paper import data
    from benchmarks.paper.data import made
    from minihash.files import check_outputs

    check_outputs([args.out])
    say(made.make(args.name, args.data_dir, args.photographs))
    if args.out:
        dataset = data.load(args.name, args.data_dir)
        _write(dataset, args.out)
        rows = f"--validation-rows {len(dataset.validation[0])} --test-rows {len(dataset.test[0])}"
        say(f"wrote {args.out}: minihash train --data {args.out} {rows}")
    return 0


def _write(dataset: Dataset, path: str) -> None:
    """Write all rows as `minihash train` reads them, the test rows last."""
    import numpy as np

    from minihash.files import replacing

    inputs, labels = zip(dataset.train, dataset.validation, dataset.test)
    with replacing(path) as file:
        np.savez_compressed(file, inputs=np.concatenate(inputs), labels=np.concatenate(labels))


def _show(args: argparse.Namespace) -> int:
    from benchmarks.paper import data
    from minihash import figures
    from minihash.files import check_outputs

    path = args.out or f"{args.name}.png"
    check_outputs([path])
    figures.check_format(path)
    figures.require_matplotlib()  # before a minute of making
    dataset = data.load(args.name, args.data_dir)
    size = 0.55 * COLUMNS, 0.68 * args.rows + 0.5
    figures.draw(path, size, lambda figure: _fill(figure, dataset, args.rows))
    say(path)
    return 0


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
