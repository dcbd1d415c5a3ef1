"""`minihash train`: train a network on digits or on a file, measure it once on the test rows, save it."""

from __future__ import annotations

import argparse
import functools
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minihash import text
from minihash.cli.data_sets import count, describe, main_score, open_data, outputs_of, say_what_it_is
from minihash.cli.defaults import fill
from minihash.cli.going_on import fit_together, load_to_train
from minihash.cli.settings import describe_settings, write_settings
from minihash.cli.train_arguments import add_train_arguments
from minihash.tasks import TASKS
from minihash.terminal import say

if TYPE_CHECKING:
    from minihash.datasets import Dataset
    from minihash.datasets.file_dataset import FileDataset
    from minihash.network import Network
    from minihash.training import Callback, History

    Data = Dataset | FileDataset


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `minihash`."""
    about = "train a network; without arguments, on real digits with 1/64 of the weights"
    parser = subparsers.add_parser("train", help=about)
    parser.set_defaults(run=run)
    add_train_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Train, print, save; of several processes, the first prints and saves."""
    from minihash.machine import launched
    from minihash.training.distributed import ranks_of, shards_of

    process, processes = launched()
    if args.distributed and process:
        sys.stdout = sys.stderr = None
    if processes > 1 and not args.distributed and not process:
        alone = f"{processes} processes train a network each; --distributed lets them train one together"
        print(f"minihash: {alone}", file=sys.stderr)
    ranks = ranks_of(args.distributed or "")
    with ranks.together():
        ranks.first(functools.partial(_check_files, args))
        if args.distributed:  # settled here: for the file of settings, and for all networks of --compare
            folder = Path(args.checkpoint, _name(args)) if args.resume and args.checkpoint else None
            args.shards = shards_of(args.shards, ranks, folder)
        return _run(args, ranks.is_first)


def _name(args: argparse.Namespace) -> str:
    """Return what the first network is called."""
    if args.model:
        return "network"
    return "dense" if args.compression == 0 and not args.memory_bytes else "hashed"


def _check_files(args: argparse.Namespace) -> None:
    """Refuse files that could not be written, or are read."""
    from minihash import figures
    from minihash.files import check_outputs

    settings = args.out and f"{args.out}.settings.json"
    check_outputs([args.out, settings, args.plot, args.log], args.data, args.model)
    check_outputs([args.out, args.plot, args.log], args.from_settings)  # the next settings may replace it
    if args.plot:
        figures.check_format(args.plot)
        figures.require_matplotlib()


def _run(args: argparse.Namespace, writes: bool) -> int:
    from minihash import plots
    from minihash.kernels import devices, threads

    _check_options(args)
    if args.threads is not None:
        threads.set_num_threads(args.threads)
    threads.num_threads()  # refuses a wrong MINIHASH_NUM_THREADS
    devices.get(args.device, args.deterministic)  # is it there?
    network = load_to_train(args) if args.model else None
    dataset = open_data(args, network)
    if network is not None:
        fit_together(args, network, dataset)
    fill(args, dataset, count(dataset.train))
    if args.patience is not None and not count(dataset.validation):
        raise ValueError(f"--patience needs validation rows, and {args.data} has none: wanted some")
    if args.verbose:
        say(describe_settings(args))
    say_what_it_is(dataset)
    if args.dry_run:
        return 0
    network = network or _build(args, dataset)
    runs = [_train(_name(args), args, dataset, network, args.out if writes else None)]
    if args.compare:
        if args.tile is None:
            tiles = argparse.Namespace(**{**vars(args), "tile": "auto"})
            network = _build(tiles, dataset)
            if any(getattr(layer, "tile", 1) > 1 for layer in network.layers):  # else it is the first again
                runs.append(_train("tiles", tiles, dataset, network, None))
        runs.append(_train("dense", args, dataset, _build_dense(args, dataset, runs[0].network), None))
        say(_comparison(runs))
    if args.plot and writes:
        plots.learning_curves({run.name: run.history for run in runs}, args.plot)
        say(f"drew {args.plot}")
    return 0


def _check_options(args: argparse.Namespace) -> None:
    """Refuse options that do not go together."""
    if args.model and (args.compare or args.described):
        option = args.described or "--compare"
        raise ValueError(f"{option} is for a new network, and --from goes on with one: wanted one of them")
    if args.tile not in (None, 1) and _name(args) == "dense":
        raise ValueError(f"--tile is {args.tile} and the network is dense, wanted --compression for tiles")
    if args.compare and not (_name(args) == "hashed" and args.hidden != []):
        raise ValueError("--compare is for hashed networks with hidden layers, wanted both")
    if args.compare and args.log:
        raise ValueError("--log is for one network, and --compare trains several: wanted one of them")
    if args.resume and not args.checkpoint:
        raise ValueError("--resume needs --checkpoint, wanted the folder to go on from")
    if args.shards is not None and not args.distributed:
        raise ValueError("--shards is for --distributed, wanted both")
    if args.final and args.patience is not None:
        raise ValueError("--patience needs validation rows, and --final trains on them: wanted one of them")


@dataclass
class _Run:
    """One trained network and how it went."""

    name: str
    network: Network
    history: History
    seconds: float
    scores: dict[str, float]  # of the test rows


def _sizes(args: argparse.Namespace, dataset: Data) -> list[int]:
    """Return the units of each layer."""
    return [dataset.features, *args.hidden, outputs_of(dataset)]


def _build(args: argparse.Namespace, dataset: Data) -> Network:
    """Make the network that the arguments describe; compression 0 means dense layers."""
    from minihash.builders import mlp

    sizes = _sizes(args, dataset)
    network = mlp(
        sizes,
        compression=None if args.memory_bytes else args.compression or None,
        memory_bytes=args.memory_bytes,
        activation=args.activation,
        dropout=(args.input_dropout, args.dropout),
        seed=args.seed,
        tile=1 if args.tile is None else args.tile,
        bias=args.bias,
        input_scale=dataset.input_scale,
        input_shift=dataset.input_shift,
        output_scale=dataset.output_scale,
        output_shift=dataset.output_shift,
        class_names=dataset.class_names or None,
        schema=dataset.schema,
    )
    return network.to(args.device, deterministic=args.deterministic)


def _build_dense(args: argparse.Namespace, dataset: Data, hashed: Network) -> Network:
    """Make the dense network whose stored size is nearest to that of `hashed`."""
    from minihash.size_matching import dense_sizes

    hidden = dense_sizes(_sizes(args, dataset), hashed.num_parameters)[1:-1]
    # A network this narrow cannot spare units: it gets no dropout.
    size = {"hidden": hidden, "compression": 0, "memory_bytes": None, "tile": None}
    dropout = {"input_dropout": 0.0, "dropout": 0.0}
    return _build(argparse.Namespace(**{**vars(args), **size, **dropout}), dataset)


def _train(name: str, args: argparse.Namespace, dataset: Data, network: Network, out: str | None) -> _Run:
    """Train one network, save it to `out`, read the test rows once, and print how it went."""
    from minihash import kernels
    from minihash.training import evaluate
    from minihash.training.progress import COMPILING

    if args.verbose:
        say(network.summary())
    rows = dataset.train_and_validation() if args.final else dataset.train
    validation = None if args.final or not count(dataset.validation) else dataset.validation
    say(f"training {name} {_describe(network)}; {_epochs(args.epochs)} of {count(rows):,} rows")
    start = time.perf_counter()
    with kernels.compilations(lambda: None if _has_bar() else say(COMPILING)) as compiled:
        history, stop = _fit(name, args, dataset.task, network, rows, validation)
    seconds = time.perf_counter() - start - compiled.seconds
    if out and (len(history) or not stop):  # before anything else can fail
        _save(network, args, out, f" as of epoch {len(history)} of {args.epochs}" if stop else "")
    if stop:
        raise stop
    distributed = args.distributed or False
    score = functools.partial(evaluate, network, loss=TASKS[dataset.task], distributed=distributed)
    among = " (validation rows among them)" if args.final else ""
    say(f"{name}, {count(rows):,} training rows{among}, {_epochs(len(history))} in {seconds:.1f} s")
    if validation is not None:
        say(describe("validation", score(validation)))
    scores = score(dataset.test) if count(dataset.test) else {}
    if scores:
        say(describe("test", scores))
    dense = network.num_virtual * network.dtype.itemsize
    say(f"stored: {network.nbytes:,} bytes, dense: {dense:,} bytes\n")
    return _Run(name, network, history, seconds, scores)


def _shape(network: Network) -> str:
    """Return the units of a network: 784-1000-10."""
    widths = [layer.out_features for layer in network.layers if layer.params]
    return "-".join(str(width) for width in [network.in_features, *widths])


def _describe(network: Network) -> str:
    """Return what a network is and costs, in words."""
    kinds = dict.fromkeys(layer.activation for layer in network.layers if layer.activation)
    dense, ratio = network.num_virtual * network.dtype.itemsize, network.num_virtual / network.num_parameters
    size = f" of {dense:,} dense (1/{ratio:.4g})" if ratio > 1 else ", dense"
    costs = f"{network.nbytes:,} bytes{size}, {network.multiplications:,} multiplications a row"
    return f"{' '.join([_shape(network), *kinds])}: {costs}"


def _epochs(number: int) -> str:
    return f"{number} epoch{'s' * (number > 1)}"


def _has_bar() -> bool:
    """Tell whether `fit` shows a bar: on a terminal."""
    return bool(sys.stderr and sys.stderr.isatty())


def _fit(
    name: str, args: argparse.Namespace, task: str, network: Network, rows: Any, validation: Any
) -> tuple[History, BaseException | None]:
    """Train; return the history, and what ended it early: then the network is as of the last finished epoch.

    Where a signal ended it and the checkpoint has the state, that is raised: the same command goes on.
    """
    from minihash import optimizers, schedules
    from minihash.cli.last_good import LastGood
    from minihash.training import fit, resumption
    from minihash.training.checkpoint import Checkpoint
    from minihash.training.distributed import ranks_of
    from minihash.training.interrupts import Interrupted

    momentum = {"momentum" if args.optimizer == "sgd" else "beta1": args.momentum}
    optimizer = optimizers.get(args.optimizer)(args.learning_rate, weight_decay=args.weight_decay, **momentum)
    folder = Path(args.checkpoint, name) if args.checkpoint else None
    if args.resume and folder:
        saved = Checkpoint(folder, ranks_of(args.distributed or ""))
        if where := resumption.describe(saved, args.epochs):
            say(where)
    keep = LastGood()
    try:
        history = fit(
            network,
            rows,
            validation,
            loss=TASKS[task],
            optimizer=optimizer,
            schedule=schedules.get(args.schedule)(args.learning_rate),
            epochs=args.epochs,
            batch_size=args.batch_size,
            class_weight="balanced" if args.balanced else None,
            seed=args.seed,
            callbacks=[keep, *_callbacks(args, task)],
            progress=None if args.verbose else "bar",
            checkpoint=folder,
            resume=args.resume,
            distributed=args.distributed or False,
            shards=args.shards,
        )
    except (KeyboardInterrupt, Exception) as stop:
        if folder and isinstance(stop, Interrupted):  # the checkpoint has the state
            raise
        return keep.history, stop
    return history, None


def _callbacks(args: argparse.Namespace, task: str) -> list[Callback]:
    """Return what `fit` does besides, as the arguments say."""
    from minihash import losses
    from minihash.callbacks import EarlyStopping, GradientClipping, Log, PrintEpochs

    callbacks: list[Callback] = []
    if not _has_bar():
        callbacks.append(PrintEpochs(-(-args.epochs // 10), say))
    if args.patience is not None:
        scores = losses.LOSSES[TASKS[task]].scores
        monitor = "validation_error" if "error" in scores else "validation_loss"
        callbacks.append(EarlyStopping(args.patience, monitor))
    if args.clip is not None:
        callbacks.append(GradientClipping(args.clip))
    if args.log:
        callbacks.append(Log(args.log))
    return callbacks


def _save(network: Network, args: argparse.Namespace, out: str, what: str) -> None:
    """Save a network, say so, and save its settings; signals wait until that is done."""
    from minihash.files import tolerated
    from minihash.persistence import save
    from minihash.training.interrupts import held_back

    best = ", the best epoch's weights" if what and args.patience is not None else ""
    with held_back():
        save(network, out)
        say(f"saved {out}{what}{best}")
        with tolerated("the network is saved without its settings"):
            write_settings(args, f"{out}.settings.json")


def _comparison(runs: list[_Run]) -> str:
    """Return a table of the runs."""
    rows = []
    for run in runs:
        sizes = run.network.num_parameters, run.network.nbytes, run.network.multiplications
        counts = (f"{size:,}" for size in sizes)
        rows.append((run.name, _shape(run.network), *counts, main_score(run.scores)[1], f"{run.seconds:.1f}"))
    measure = f"test {main_score(runs[0].scores)[0]}"
    header = ("network", "units", "stored", "bytes", "multiplications", measure, "seconds")
    return text.table(header, rows, left=2)
