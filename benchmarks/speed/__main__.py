"""`python -m benchmarks.speed`: the speed and memory of hashed layers, as ratios to dense ones."""

from __future__ import annotations

import argparse
import sys

from minihash.cli import Parser, main
from minihash.cli.arguments import number
from minihash.terminal import say


def speed_parser() -> Parser:
    """Return the parser of the command line."""
    about = "Measure speed and memory of hashed layers against dense layers of PyTorch."
    parser = Parser(prog="python -m benchmarks.speed", description=about)
    parser.set_defaults(run=run)
    parser.add_argument("cases", metavar="CASE", nargs="*", help="see --list (default: all)")
    parser.add_argument("--list", action="store_true", help="list the cases")
    about = "cuda: on an NVIDIA GPU, with cases of its own (default: %(default)s)"
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help=about)
    about = "to measure each case for, at least seven rounds (default: 10)"
    parser.add_argument("--seconds", type=number(0, 1e6), default=10.0, metavar="N", help=about)
    parser.add_argument("--out", metavar="FILE", help="write the figures as JSON lines")
    parser.add_argument("--plot", metavar="FILE", help="draw them (png, svg or pdf)")
    return parser


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    from benchmarks.speed import cases, gpu_cases, report
    from minihash import checks, figures
    from minihash.files import check_outputs

    every = gpu_cases.gpu_cases() if args.device == "cuda" else cases.all_cases()
    if args.list:
        for name in every:
            say(name)
        return 0
    for name in args.cases:
        checks.choice("CASE", name, tuple(every))
    check_outputs([args.out, args.plot])
    if args.plot:
        figures.check_format(args.plot)
        figures.require_matplotlib()
    results = []
    for name in args.cases or every:
        found = list(every[name](args.seconds))
        say(report.table(found) + "\n")
        results += found
    if args.out:
        report.write(results, args.out)
    if args.plot:
        report.plot(results, args.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main(parser=speed_parser()))
