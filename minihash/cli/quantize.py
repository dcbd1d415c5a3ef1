"""`minihash quantize`: a saved network with its buckets in eight or four bits, or all in integers."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from minihash.cli.arguments import SEED, add_data_arguments, integer, number
from minihash.cli.data_sets import count, main_score, open_data, outputs_of, say_what_it_is
from minihash.tasks import TASKS
from minihash.terminal import say

if TYPE_CHECKING:
    from minihash.callbacks import KeepLastGood
    from minihash.datasets import Dataset
    from minihash.datasets.file_dataset import FileDataset
    from minihash.network import Network


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `minihash`."""
    parser = subparsers.add_parser("quantize", help="keep a model's buckets in eight or four bits")
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="MODEL", help="file written by train --out")
    parser.add_argument("--out", metavar="FILE", required=True, help="where to save it (safetensors)")
    bits = "of a bucket (default: %(default)s)"
    parser.add_argument("--bits", type=int, choices=(8, 4), default=8, help=bits)

    whole = "round inputs and activations to eight bits too: the model predicts in whole numbers alone"
    parser.add_argument("--integers", action="store_true", help=whole)

    tuning = parser.add_argument_group("fine-tune, with the weights rounded as they will be")
    epochs = "passes over the training rows; 0: round only (default: %(default)s)"
    tuning.add_argument("--epochs", type=integer(0), default=0, metavar="N", help=epochs)
    rate = "the largest, at the beginning (default: %(default)s)"
    tuning.add_argument("--learning-rate", type=number(0, 1e6), default=3e-4, metavar="RATE", help=rate)
    final = "train on training and validation rows, as train --final"
    tuning.add_argument("--final", action="store_true", help=final)
    tuning.add_argument("--seed", type=SEED, default=0, help="of the order (default: %(default)s)")
    add_data_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Load, fine-tune if wanted, round, save, measure before and after."""
    from minihash import quantization
    from minihash.calibration import some_inputs
    from minihash.callbacks import KeepLastGood
    from minihash.files import check_outputs
    from minihash.persistence import load, save
    from minihash.training import evaluate
    from minihash.training.interrupts import held_back

    check_outputs([args.out], args.model, args.data)
    network, before = load(args.model), load(args.model)
    try:
        small = quantization.quantize(network, args.bits)
    except ValueError as error:
        raise ValueError(f"{args.model}: {error}") from None
    dataset = open_data(args, network)
    say_what_it_is(dataset)
    unfit, keep = _unfit(network, dataset), KeepLastGood()
    if unfit and (args.epochs or args.integers):
        raise ValueError(f"{args.model} has {unfit} {args.data}")
    if args.epochs:
        small = _fine_tune(args, network, dataset, keep)
    elif args.integers:
        rows = some_inputs(network, dataset.train, TASKS[dataset.task])
        small = quantization.quantize(network, args.bits, rows=rows)
    with held_back():
        save(small, args.out)
        say(f"saved {args.out}" + f" as of epoch {keep.epochs} of {args.epochs}" * bool(keep.interrupt))
    if keep.interrupt:
        raise keep.interrupt
    after = f"{args.bits} bits, integers" if args.integers else f"{args.bits} bits"
    for name, one in {"before": before, after: small}.items():
        measured = f"not measured: it has {unfit} {args.data}"
        if not unfit and count(dataset.test):
            measured = f"test {' '.join(main_score(evaluate(one, dataset.test, loss=TASKS[dataset.task])))}"
        say(f"{name}: {one.nbytes:,} bytes, {measured}")
    return 0


def _unfit(network: Network, dataset: Dataset | FileDataset) -> str:
    """Return what is wrong where a network is for other data, else ""."""
    ends, wanted = (network.in_features, network.out_features), (dataset.features, outputs_of(dataset))
    if ends[0] == wanted[0] and (ends[1] == wanted[1] or network.schema is not None):
        return ""
    return f"{ends[0]} inputs and {ends[1]} outputs, wanted {wanted[0]} and {wanted[1]} for"


def _fine_tune(
    args: argparse.Namespace, network: Network, dataset: Dataset | FileDataset, keep: KeepLastGood
) -> Network:
    """Return the quantised network."""
    from minihash import optimizers, quantization, schedules

    small, _ = quantization.fine_tune(
        network,
        dataset.train_and_validation() if args.final else dataset.train,
        bits=args.bits,
        loss=TASKS[dataset.task],
        epochs=args.epochs,
        optimizer=optimizers.Adam(args.learning_rate),
        schedule=schedules.cosine(args.learning_rate),
        seed=args.seed,
        keep=keep,
        integers=args.integers,
    )
    return small
