"""`minihash train`: train a network on digits, measure it once on the test set, save it."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minihash import text
from minihash.cli.arguments import add_data_arguments, fraction

if TYPE_CHECKING:
    from minihash.datasets import Dataset
    from minihash.network import Network
    from minihash.training import History


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `minihash`."""
    parser = subparsers.add_parser(
        "train",
        help="train a network; without arguments, on real digits with 1/64 of the weights",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.set_defaults(run=run)
    add_data_arguments(parser)
    network = parser.add_argument_group("network")
    network.add_argument(
        "--hidden", type=int, nargs="*", default=[1000], metavar="UNITS", help="units of each hidden layer"
    )
    network.add_argument(
        "--compression", type=fraction, default=1 / 64, help="stored / virtual weights; 0 for dense layers"
    )
    network.add_argument("--activation", default="relu", choices=("relu", "tanh", "sigmoid"), help=" ")
    network.add_argument("--bias", default="hashed", choices=("hashed", "free", "none"), help=" ")
    network.add_argument("--map", default="element", choices=("element",), help="positions to buckets")
    training = parser.add_argument_group("training")
    training.add_argument("--epochs", type=int, default=50, help=" ")
    training.add_argument("--batch-size", type=int, default=128, metavar="ROWS", help=" ")
    training.add_argument("--optimizer", default="adam", choices=("adam", "sgd"), help="sgd: momentum 0.9")
    training.add_argument("--learning-rate", type=float, default=2e-3, metavar="RATE", help="the peak")
    training.add_argument(
        "--schedule", default="one_cycle", choices=("one_cycle", "cosine", "constant"), help=" "
    )
    training.add_argument("--input-dropout", type=float, default=0.1, metavar="RATE", help=" ")
    training.add_argument("--dropout", type=float, default=0.25, metavar="RATE", help="of hidden units")
    training.add_argument("--seed", type=int, default=0, help="of hashes, weights, order and dropout")
    training.add_argument(
        "--final",
        action="store_true",
        help="train on training + validation rows, once the settings are chosen",
    )
    training.add_argument("--patience", type=int, metavar="EPOCHS", help="stop early, keep the best weights")
    training.add_argument("--threads", type=int, help="default: MINIHASH_NUM_THREADS, else one per core")
    output = parser.add_argument_group("output")
    output.add_argument(
        "--compare", action="store_true", help="also train the dense network of the same stored size"
    )
    output.add_argument("--out", metavar="FILE", help="save the network (safetensors)")
    output.add_argument("--plot", metavar="FILE", help="draw the learning curves (png, svg or pdf)")


def run(args: argparse.Namespace) -> int:
    """Train, print, save."""
    from minihash import datasets, figures, plots
    from minihash.files import check_writable
    from minihash.kernels import threads
    from minihash.persistence import save

    for path in filter(None, (args.out, args.plot)):
        check_writable(path)
    if args.plot:
        figures.check_format(args.plot)
        figures.require_matplotlib()
    if args.threads is not None:
        threads.set_num_threads(args.threads)
    if args.compare and not args.compression:
        raise ValueError("--compare is for hashed networks, wanted a --compression above 0")
    if args.compare and not args.hidden:
        raise ValueError("--compare shrinks the hidden layers, wanted --hidden with at least one")
    if args.final and args.patience is not None:
        raise ValueError("--patience needs validation rows, and --final trains on them: wanted one of them")
    dataset = datasets.load(args.data, args.data_dir)
    runs = [_train("hashed" if args.compression else "dense", args, dataset, _build(args, dataset))]
    if args.compare:
        runs.append(_train("dense", args, dataset, _build_dense(args, dataset, runs[0].network)))
        print(_comparison(runs))
    if args.out:
        save(runs[0].network, args.out)
        print(f"saved {args.out}")
    if args.plot:
        plots.learning_curves({run.name: run.history for run in runs}, args.plot)
        print(f"drew {args.plot}")
    return 0


@dataclass
class _Run:
    """One trained network and how it went."""

    name: str
    network: Network
    history: History
    seconds: float
    test_error: float


def _build(args: argparse.Namespace, dataset: Dataset) -> Network:
    """Make the network that the arguments describe; compression 0 means dense layers."""
    from minihash.network import mlp

    sizes = [dataset.train[0].shape[1], *args.hidden, len(dataset.class_names)]
    return mlp(
        sizes,
        compression=args.compression or None,
        activation=args.activation,
        dropout=(args.input_dropout, args.dropout),
        seed=args.seed,
        map=args.map,
        bias=args.bias,
        input_scale=dataset.input_scale,
        class_names=dataset.class_names,
    )


def _build_dense(args: argparse.Namespace, dataset: Dataset, hashed: Network) -> Network:
    """Make the dense network whose stored size is nearest to that of `hashed`."""
    from minihash.experiments.size_matching import dense_sizes

    sizes = [dataset.train[0].shape[1], *args.hidden, len(dataset.class_names)]
    hidden = dense_sizes(sizes, hashed.num_parameters)[1:-1]
    # A network this narrow cannot spare units: it gets no dropout.
    arguments = {"hidden": hidden, "compression": 0, "input_dropout": 0.0, "dropout": 0.0}
    return _build(argparse.Namespace(**{**vars(args), **arguments}), dataset)


def _train(name: str, args: argparse.Namespace, dataset: Dataset, network: Network) -> _Run:
    """Train one network, read the test set once, print both."""
    from minihash import optimizers, schedules
    from minihash.callbacks import EarlyStopping
    from minihash.training import evaluate, fit

    print(network.summary(), flush=True)
    momentum = {"momentum": 0.9} if args.optimizer == "sgd" else {}
    rows = dataset.train_and_validation() if args.final else dataset.train
    validation = None if args.final else dataset.validation
    start = time.perf_counter()
    history = fit(
        network,
        rows,
        validation,
        optimizer=optimizers.get(args.optimizer)(args.learning_rate, **momentum),
        schedule=schedules.get(args.schedule)(args.learning_rate),
        epochs=args.epochs,
        batch_size=args.batch_size,
        seed=args.seed,
        callbacks=[] if args.patience is None else [EarlyStopping(args.patience)],
    )
    seconds = time.perf_counter() - start
    test_error = evaluate(network, dataset.test)["error"]
    trained_on = f"{len(rows[0]):,} training rows" + (" (validation rows among them)" if args.final else "")
    print(f"{name}, {trained_on}, {len(history)} epochs in {seconds:.1f} s")
    if validation is not None:
        print(f"validation error: {100 * evaluate(network, validation)['error']:.2f} %")
    print(f"test error: {100 * test_error:.2f} %")
    print(f"stored: {network.nbytes:,} bytes, dense: {network.num_virtual * network.dtype.itemsize:,} bytes")
    print(flush=True)
    return _Run(name, network, history, seconds, test_error)


def _comparison(runs: list[_Run]) -> str:
    """Return a table of the runs."""
    rows = []
    for run in runs:
        widths = [layer.out_features for layer in run.network.layers if layer.params]
        rows.append(
            (
                run.name,
                "-".join(str(width) for width in [run.network.in_features, *widths]),
                f"{run.network.num_parameters:,}",
                f"{run.network.nbytes:,}",
                f"{100 * run.test_error:.2f} %",
                f"{run.seconds:.1f}",
            )
        )
    return text.table(("network", "units", "stored", "bytes", "test error", "seconds"), rows, left=2)
