"""`minihash quantize`: a saved network with its buckets in eight or four bits."""

from __future__ import annotations

import argparse
from typing import Any

from minihash.cli.arguments import SEED, add_data_arguments, integer, number
from minihash.cli.output import say


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `minihash`."""
    parser = subparsers.add_parser("quantize", help="keep a model's buckets in eight or four bits")
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="MODEL", help="file written by train --out")
    parser.add_argument("--out", metavar="FILE", required=True, help="where to save it (safetensors)")
    bits = "of a bucket (default: %(default)s)"
    parser.add_argument("--bits", type=int, choices=(8, 4), default=8, help=bits)

    tuning = parser.add_argument_group("fine-tune, with the weights rounded as they will be")
    epochs = "passes over the training rows; 0: round only (default: %(default)s)"
    tuning.add_argument("--epochs", type=integer(0), default=0, metavar="N", help=epochs)
    rate = "the largest, at the beginning (default: %(default)s)"
    tuning.add_argument("--learning-rate", type=number(0, 1e6), default=3e-4, metavar="RATE", help=rate)
    tuning.add_argument(
        "--final", action="store_true", help="train on training and validation rows, as train --final"
    )
    tuning.add_argument("--seed", type=SEED, default=0, help="of the order (default: %(default)s)")
    add_data_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Load, fine-tune if wanted, round, measure before and after, save."""
    from minihash import optimizers, quantization, schedules
    from minihash.cli.data_sets import LOSSES, count, main_score, open_data, outputs_of
    from minihash.files import check_not_read, check_writable
    from minihash.persistence import load, save
    from minihash.training import evaluate

    check_writable(args.out)
    check_not_read(args.out, args.model, args.data)
    network, before = load(args.model), load(args.model)
    try:
        small = quantization.quantize(network, args.bits)
    except ValueError as error:
        raise ValueError(f"{args.model}: {error}") from None
    dataset = open_data(args)
    ends, wanted = (network.in_features, network.out_features), (dataset.features, outputs_of(dataset))
    loss = LOSSES[dataset.task]
    if args.epochs:
        if ends != wanted:
            found = f"{args.model} has {ends[0]} inputs and {ends[1]} outputs"
            raise ValueError(f"{found}, wanted {wanted[0]} and {wanted[1]} for --data {args.data}")
        rate = args.learning_rate
        small, _ = quantization.fine_tune(
            network,
            dataset.train_and_validation() if args.final else dataset.train,
            bits=args.bits,
            loss=loss,
            epochs=args.epochs,
            optimizer=optimizers.Adam(rate),
            schedule=schedules.cosine(rate),
            seed=args.seed,
        )
    save(small, args.out)
    for name, one in {"before": before, f"{args.bits} bits": small}.items():
        measured = ""
        if ends == wanted and count(dataset.test):  # else the model is for other data
            measured = f", test {' '.join(main_score(evaluate(one, dataset.test, loss=loss)))}"
        say(f"{name}: {one.nbytes:,} bytes{measured}")
    say(f"saved {args.out}")
    return 0
