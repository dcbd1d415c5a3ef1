"""`python -m benchmarks.higgs`: a network on a set as large as HIGGS, its speed, its memory."""

from __future__ import annotations

import argparse
import os
import sys
import zlib
from pathlib import Path
from typing import Any

from minihash.cli import build_parser, main
from minihash.cli.arguments import SEED, integer, number
from minihash.terminal import say

FINGERPRINTED = 2**20  # bytes
TEST_SHARE = 22  # one test row for so many training rows: 500,000 of the 11,000,000 of HIGGS


def add_parser(subparsers: Any) -> None:
    """Add the commands to the parser."""
    _add_synthesize(subparsers)
    parser = subparsers.add_parser(
        "train",
        help="28-100-50-10-1 on HIGGS, or on a synthetic set of its size",
        description="Train 28-100-50-10-1 in 8 buckets a layer, at 1/8 and dense, and beside them PyTorch's "
        "if it is there: loss, AUC, rows a second, peak memory. Each in a process of its own.",
    )
    parser.set_defaults(run=run)
    about = "training rows of the synthetic set, which is made in FOLDER (default: 11000000)"
    parser.add_argument("--rows", type=integer(100), default=11_000_000, metavar="N", help=about)
    about = "instead, a file of HIGGS: a store, or CSV (.gz or not) with the label first"
    parser.add_argument("--data", metavar="FILE", help=about)
    about = "of FILE: rows at its end to test on, 3/10 or 500000 (default: 3/10 of up to a million rows)"
    parser.add_argument("--test-rows", type=integer(1), metavar="N", help=about)
    about = "28-4000-4000-1 at 1/64 and dense instead, where the dense one's weights hurt"
    parser.add_argument("--wide", action="store_true", help=about)
    about = "only these (default: all)"
    parser.add_argument("--networks", nargs="+", metavar="NAME", help=about)
    about = "train each network once with each (default: 0)"
    parser.add_argument("--seeds", nargs="+", type=SEED, default=[0], metavar="SEED", help=about)

    def add(name: str, default: Any, about: str, **arguments: Any) -> None:
        parser.add_argument(name, default=default, help=f"{about} (default: %(default)s)", **arguments)

    add("--epochs", 1, "passes over the training rows", type=integer(1), metavar="N")
    add("--batch-size", 1024, "rows of a step", type=integer(1), metavar="ROWS")
    add("--learning-rate", "0.1", "the largest, of one cycle", type=number(0, 1e6), metavar="RATE")
    add("--threads", 2, "of every network", type=integer(1, 1025), metavar="N")
    add("--out", "results", "for the set, the ledger and the table", metavar="FOLDER")


def _add_synthesize(subparsers: Any) -> None:
    about = "write a store of synthetic rows: 28 features of a toy of particle decays, in the shape of HIGGS"
    parser = subparsers.add_parser("synthesize", help=about)
    parser.set_defaults(run=synthesize)
    parser.add_argument("target", metavar="STORE", help="the file to write, 116 bytes a row")
    about = "how many; the real set has 11000000"
    parser.add_argument("--rows", type=integer(1, 2**40), required=True, metavar="N", help=about)
    about = "of what is drawn (default: %(default)s)"
    parser.add_argument("--seed", type=SEED, default=0, metavar="N", help=about)


def synthesize(args: argparse.Namespace) -> int:
    """Write a synthetic store, and say how far it is."""
    from benchmarks.higgs.synthetic import FEATURES, synthesize_higgs
    from minihash.cli.data import announce, reporter, speed
    from minihash.files import check_outputs

    check_outputs([args.target])
    announce(args.target, args.rows, 1 + len(FEATURES))
    progress = synthesize_higgs(args.target, args.rows, seed=args.seed, report=reporter())
    say(f"{speed(progress)}: wrote {args.target}, synthetic")
    return 0


def run(args: argparse.Namespace) -> int:
    """Make the set, train what is missing, print and write the table."""
    from benchmarks.higgs import higgs
    from minihash import checks

    known = higgs.WIDE_NETWORKS if args.wide else higgs.NETWORKS
    for name in args.networks or ():
        checks.choice("networks", name, tuple(known))
    Path(args.out).mkdir(parents=True, exist_ok=True)
    data, source, rows, test_rows = _data(args)
    planned = higgs.plans(
        args.networks or tuple(known),
        args.seeds,
        source,
        rows,
        test_rows,
        epochs=args.epochs,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        threads=args.threads,
    )
    if not any(plan["network"].endswith("PyTorch") for plan in planned):
        say("PyTorch is not installed, or not asked for: there is nothing to compare with")
    records = higgs.run(planned, data, args.out, report=lambda record: say(_describe(record)))
    name = "higgs-wide" if args.wide else "higgs"
    say(f"\n{higgs.table(records)}\n\n{higgs.ratios(records)}\n")
    say(f"wrote {higgs.write(records, args.out, name)}")
    return 0


def _data(args: argparse.Namespace) -> tuple[Path, str, int, int]:
    """Return the store, what it is in words, and its rows to train and to test on."""
    from benchmarks.higgs.synthetic import FEATURES, synthesize_higgs
    from minihash.cli.data import announce, announce_conversion, reporter
    from minihash.datasets.csv_rows import convert, first_bytes
    from minihash.datasets.store import MAGIC, Store
    from minihash.files import check_regular

    if args.data is None:
        test_rows = args.test_rows or max(100, args.rows // TEST_SHARE)
        path = Path(args.out, f"higgs-synthetic-{args.rows + test_rows}.mh")
        if not path.exists():
            announce(path, args.rows + test_rows, 1 + len(FEATURES))
            synthesize_higgs(path, args.rows + test_rows, report=reporter())
        source = "synthetic"
    else:
        path = Path(args.data)
        check_regular(path)
        source = f"{path.name}-{_fingerprint(path)}"  # another file may have the same name
        if first_bytes(path, len(MAGIC)) != MAGIC:
            path = Path(args.out, f"{source}.mh")
            if not path.exists():
                announce_conversion(args.data, path)
                convert(args.data, path, report=reporter())
        total = len(Store(path))
        test_rows = args.test_rows or (3 * total // 10 if total <= 1_000_000 else 500_000)
    found = Store(path)
    if found.features != 28 or len(found) <= test_rows:
        wanted = f"more than {test_rows} of 28, as HIGGS has"
        raise ValueError(f"{path}: has {len(found)} rows of {found.features} features, wanted {wanted}")
    return path, source, len(found) - test_rows, test_rows


def _fingerprint(path: Path) -> str:
    """Return eight letters for a file: of its size, its beginning and its end."""
    from minihash.files import naming

    with naming(path), open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        checksum = zlib.crc32(str(size).encode())
        for place in (0, max(0, size - FINGERPRINTED)):
            file.seek(place)
            checksum = zlib.crc32(file.read(FINGERPRINTED), checksum)
    return f"{checksum:08x}"


def _describe(record: dict[str, Any]) -> str:
    speed, peak = record["rows_per_second"], record["memory"]["peak"] / 1e6
    auc = "undefined" if record["auc"] is None else f"{record['auc']:.4f}"  # of test rows of one class
    figures = f"AUC {auc}, {speed:,.0f} rows/s, peak {peak:.0f} MB"
    return f"{record['network']}, seed {record['seed']}: {figures}"


def higgs_parser() -> argparse.ArgumentParser:
    """Return the parser of both commands."""
    about = "The network of the slides on 11 million rows of HIGGS, or as many synthetic ones."
    return build_parser("python -m benchmarks.higgs", about, (sys.modules[__name__],))


if __name__ == "__main__":
    sys.exit(main(parser=higgs_parser()))
