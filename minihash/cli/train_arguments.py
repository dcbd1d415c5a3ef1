"""Arguments of `minihash train`."""

from __future__ import annotations

import argparse
from typing import Any

from minihash.cli.arguments import SEED, add_data_arguments, add_device_arguments, integer, number
from minihash.cli.settings import FromSettings, OfNetwork

BY_DATA = "default: by the data, docs/tables.md"


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Add all of them, in groups."""
    about = "settings of an earlier run, FILE.settings.json beside its network; what follows it overrides"
    parser.add_argument("--from-settings", action=FromSettings, metavar="FILE", help=about)
    about = "go on training this network, with its own units, buckets and dropout, and any data that fit"
    parser.add_argument("--from", dest="model", metavar="MODEL", help=about)
    parser.set_defaults(described=None)
    add_data_arguments(parser)

    _add_network(parser)
    _add_training(parser)
    _add_processes(parser)
    _add_output(parser)


def _add(group: Any, name: str, default: Any, about: str, **arguments: Any) -> None:
    """Add an option whose help says what it is by default."""
    group.add_argument(name, default=default, help=f"{about} (default: %(default)s)", **arguments)


def _add_network(parser: argparse.ArgumentParser) -> None:
    network = parser.add_argument_group("network")
    own: dict[str, Any] = {"action": OfNetwork}
    units: dict[str, Any] = {"type": integer(1), "nargs": "*", "metavar": "UNITS"}
    network.add_argument("--hidden", help=f"units of each hidden layer ({BY_DATA})", **units, **own)
    size = network.add_mutually_exclusive_group()
    about = f"stored / virtual weights; 0: dense layers ({BY_DATA})"
    size.add_argument("--compression", type=number(0, 1), metavar="SHARE", help=about, **own)
    about = "instead, bytes of the stored numbers at most (float32), for the units given"
    size.add_argument("--memory-bytes", type=integer(1, 2**63), metavar="N", help=about, **own)
    about = "weights of a tile, or auto: what rows share is multiplied once (default: 1, the paper's map)"
    network.add_argument("--tile", type=_tile, metavar="N", help=about, **own)
    _add(network, "--activation", "relu", "of hidden units", choices=("relu", "tanh", "sigmoid"), **own)
    biases = ("hashed", "free", "none")
    _add(network, "--bias", "hashed", "in the buckets, stored by itself, or none", choices=biases, **own)
    rate: dict[str, Any] = {"type": number(0, 0.99), "metavar": "RATE", **own}
    network.add_argument("--input-dropout", help=f"rate of inputs dropped ({BY_DATA})", **rate)
    network.add_argument("--dropout", help=f"rate of hidden units dropped ({BY_DATA})", **rate)


def _tile(text: str) -> int | str:
    """Parse a number of weights, or auto."""
    try:
        return text if text == "auto" else integer(1)(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or auto") from None


def _add_training(parser: argparse.ArgumentParser) -> None:
    training = parser.add_argument_group("training")
    about = f"passes over the training rows ({BY_DATA})"
    training.add_argument("--epochs", type=integer(1), metavar="N", help=about)
    about = f"rows of a step ({BY_DATA})"
    training.add_argument("--batch-size", type=integer(1), metavar="ROWS", help=about)
    _add(training, "--optimizer", "adam", "of the weights", choices=("adam", "sgd"))
    _add(training, "--momentum", "0.9", "of sgd, or adam's first beta", type=number(0, 0.999), metavar="RATE")
    _add(training, "--weight-decay", "0", "of the L2 penalty", type=number(0, 1e6), metavar="RATE")
    about = f"the largest ({BY_DATA})"
    training.add_argument("--learning-rate", type=number(0, 1e6), metavar="RATE", help=about)
    schedules = ("one_cycle", "cosine", "step", "constant")
    _add(training, "--schedule", "one_cycle", "of the learning rate", choices=schedules)
    _add(training, "--seed", 0, "of hashes, weights, order and dropout", type=SEED)
    about = "keep the state here, after each epoch and about once a minute; signals save it too"
    training.add_argument("--checkpoint", metavar="FOLDER", help=about)
    about = "go on from the state in --checkpoint, if there is one: the result is the same to the last bit; "
    about += "or with more epochs, once it has come to its end"
    training.add_argument("--resume", action="store_true", help=about)
    about = "scale gradients down where their norm is above this"
    training.add_argument("--clip", type=number(1e-30, 1e30), metavar="NORM", help=about)
    about = "all classes count the same, however many rows they have"
    training.add_argument("--balanced", action="store_true", help=about)
    about = "train on training and validation rows, once the settings are chosen"
    training.add_argument("--final", action="store_true", help=about)
    about = "stop early, and keep the best weights"
    training.add_argument("--patience", type=integer(1), metavar="EPOCHS", help=about)


def _add_processes(parser: argparse.ArgumentParser) -> None:
    processes = parser.add_argument_group("processors")
    about = "of hashed layers (default: MINIHASH_NUM_THREADS, else one per core)"
    processes.add_argument("--threads", type=integer(1, 1025), metavar="N", help=about)
    about = "train on all processes of mpiexec (extra mpi): exact, the same bits on any number, or fast"
    modes: dict[str, Any] = {"nargs": "?", "const": "exact", "choices": ("exact", "fast")}
    processes.add_argument("--distributed", help=f"{about} (default: exact)", **modes)
    about = "parts of a batch, as many processes at most (default: 4, or a power of two not below theirs)"
    processes.add_argument("--shards", type=integer(1), metavar="N", help=about)
    add_device_arguments(processes)


def _add_output(parser: argparse.ArgumentParser) -> None:
    output = parser.add_argument_group("output")
    about = "also train tiles and the dense network of the same stored size; with --tile, the latter only"
    output.add_argument("--compare", action="store_true", help=about)
    about = "save the network (safetensors), and its settings as FILE.settings.json"
    output.add_argument("--out", metavar="FILE", help=about)
    output.add_argument("--log", metavar="FILE", help="write the history after each epoch (csv or jsonl)")
    output.add_argument("--plot", metavar="FILE", help="draw the learning curves (png, svg or pdf)")
    output.add_argument("--dry-run", action="store_true", help="say what the data are, and stop there")
    output.add_argument("--verbose", action="store_true", help="print all settings, and the layers")
