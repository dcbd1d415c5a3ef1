"""Training: `fit`, and a training under way."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minihash import checks, losses, memory, sources, strict_json
from minihash.datasets.rows import Rows
from minihash.files import tolerated
from minihash.hashing import LIMIT_SEED
from minihash.kernels.devices import CPU
from minihash.layers import Dropout
from minihash.network import PREDICT_ROWS, Network
from minihash.optimizers import Adam, Optimizer
from minihash.sources import ClassWeight, Data, Source
from minihash.terminal import forgiving
from minihash.training.checkpoint import Checkpoint, State
from minihash.training.distributed import ShardedGradients, mode_of, ranks_of, shards_of
from minihash.training.evaluation import Mean, scores_of
from minihash.training.gradients import Gradients
from minihash.training.history import Callback, History
from minihash.training.interrupts import Interrupted, Signals, held_back
from minihash.training.mpi import MpiRanks
from minihash.training.ranks import Ranks
from minihash.training.tasks import loss_for, schema_after


def fit(
    network: Network,
    train: Data,
    validation: Data | None = None,
    *,
    loss: str | Callable | None = None,
    optimizer: Optimizer | None = None,
    schedule: Callable[[float], float] | None = None,
    epochs: int = 10,
    batch_size: int = 128,
    class_weight: ClassWeight | None = None,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    distributed: bool | str = False,
    shards: int | None = None,
) -> History:
    """Train a network in place, by gradient descent on shuffled batches, on the device it is on.

    Same seeds, machine and versions: the same weights, to the last bit, whatever the number of threads
    of the hashed layers; on a card if it is told to be deterministic (`Network.to`).

    Parameters
    ----------
    network : with the first layer's inputs and the last one's outputs those of the data.
    train : (inputs, targets); inputs (rows, in_features) in any real dtype, raw: the network scales. Or
        (inputs, targets, weights), with how much each row counts, (rows,). Or rows of a file that may be
        larger than memory: what `datasets.open_rows` returns, or what it opens, the name of a store, an
        .npy or a CSV file. They are read in blocks, shuffled among some of them (`datasets.blocks`).
    validation : the same, evaluated after each epoch, never trained on; or None.
    loss : "softmax_cross_entropy", "mean_squared_error", "binary_cross_entropy", "distillation", or a
        function such, also as a `functools.partial`; on a card it is given arrays of CuPy. By default that of
        the network's task, where it has one, else the first. The network notes its task by the loss; that of
        another task replaces the one that it had.
    optimizer : default `Adam()`.
    schedule : learning rate as a function of the fraction of training done; see schedules.py.
    epochs : passes over the training rows.
    batch_size : rows a step; the last batch of an epoch may be shorter.
    class_weight : how much the rows of a class count, {class: weight}, 1 for those that are not there; or
        "balanced", all classes the same: rows / (classes · rows of the class). It multiplies the rows' own
        weights. A step takes the weighted mean of its batch; a batch without weight is left out.
    seed : of the shuffling.
    callbacks : called at the beginning, after each epoch, and at the end, an unhappy one too; see
        callbacks.py.
    progress : show the settings in a line, and a bar, on stderr; by default only on a terminal.
    checkpoint : a folder to keep the state of the training in, as of the end of each epoch and about once a
        minute: see checkpoint.py. SIGINT and SIGTERM then end the step and save the state before they
        stop the training.
    resume : go on from the state in that folder, if there is one: the result is, to the last bit, that of a
        training which was never interrupted.
    distributed : train on all processes that `mpiexec` has started, each of which calls `fit` with the same
        arguments: "exact", or True, gives the same bits on any number of them up to `shards`, "fast" does
        not promise it; docs/distributed.md. Files, progress and the calls of observers are the first's.
    shards : into how many parts each batch is cut: there may be as many ranks. By default as in the training
        that is resumed, else 4, or the next power of two from the number of ranks on.

    Returns
    -------
    History

    Raises
    ------
    ValueError for wrong arguments, a damaged file or a checkpoint of another training, a loss of another task
    than the names of classes are for, and where there is too little memory; OSError if a file cannot be read
    or written; FloatingPointError when the loss becomes NaN or infinite, with the weights as they were before
    the step that would have followed;
    `Interrupted` (a KeyboardInterrupt) after a signal where there is a checkpoint, or more than one process.

    Examples
    --------
    >>> from minihash import evaluate, mlp
    >>> inputs = np.random.default_rng(0).normal(size=(500, 2))
    >>> labels = (inputs[:, 0] * inputs[:, 1] > 0).astype(int)  # not to be told apart by a line
    >>> network = mlp([2, 100, 2], compression=1 / 4)
    >>> history = fit(network, (inputs, labels), optimizer=Adam(0.01), epochs=20)
    >>> len(history), history["loss"][-1] < 0.2, evaluate(network, (inputs, labels))["error"] < 0.1
    (20, True, True)
    """
    optimizer = Adam() if optimizer is None else optimizer
    _check_kind("optimizer", optimizer, Optimizer, "Adam()")
    for place, callback in enumerate(_check_kind("callbacks", callbacks, (list, tuple), "[EarlyStopping()]")):
        _check_kind(f"callbacks[{place}]", callback, Callback, "EarlyStopping()")
    mode = mode_of(distributed)
    ranks = ranks_of(mode)
    with ranks.together():
        if resume and checkpoint is None:
            raise ValueError("resume is True and checkpoint is None, wanted the folder to go on from")
        if shards is not None and not mode:
            raise ValueError(f"shards is {shards} and distributed is False, wanted None")
        loss = loss_for(network, loss)
        schema = schema_after(network, loss)
        rows = sources.source("train", train, network, loss, class_weight)
        given = network, rows, losses.get(loss), checks.integer("batch_size", batch_size, 1, 2**31)
        if isinstance(ranks, MpiRanks):
            count = shards_of(shards, ranks, checkpoint if resume else None)
            gradients: Gradients = ShardedGradients(*given, ranks=ranks, mode=mode, shards=count)
        else:
            gradients = Gradients(*given)
        training = Training(
            gradients,
            None if validation is None else sources.source("validation", validation, network, loss),
            optimizer=optimizer,
            schedule=schedule,
            epochs=checks.integer("epochs", epochs, 1, 2**31),
            seed=checks.integer("seed", seed, 0, LIMIT_SEED),
            callbacks=[callback for callback in callbacks if ranks.is_first or not callback.observer],
            ranks=ranks,
        )
        sources.check_rounding_of("train", rows, network)
        training.check_memory()
        training.agree()
        with contextlib.ExitStack() as held:
            saved = None if checkpoint is None else held.enter_context(Checkpoint(checkpoint, ranks))
            # Where nobody saves and nobody waits, Ctrl-C is Python's own.
            signals = held.enter_context(Signals()) if saved or mode else None
            if saved:
                training.go_on_from(saved, resume)
            network.schema = schema
            training.run(progress if ranks.is_first else False, saved, signals)
            if signals and ranks.any(signals.caught > 0):  # after the last step
                raise Interrupted(signals.caught, f"stopped{_kept_in(saved)}")
    return training.history


class Training:
    """A training under way: what it needs to go on, and `run`.

    epoch, step : the epoch, from 1, and how many of its steps have been made.
    order : state of the generator of shuffles at the beginning of the epoch.
    mean : of the losses of the epoch's steps.
    """

    def __init__(
        self,
        gradients: Gradients,
        held_out: Source | None,
        *,
        optimizer: Optimizer,
        schedule: Callable[[float], float] | None,
        epochs: int,
        seed: int,
        callbacks: Sequence[Callback],
        ranks: Ranks,
    ) -> None:
        self.gradients, self.held_out, self.ranks = gradients, held_out, ranks
        self.network, self.rows = gradients.network, gradients.rows
        self.optimizer, self.schedule, self.callbacks = optimizer, schedule, callbacks
        self.epochs, self.seed = epochs, seed
        self.steps = -(-len(self.rows.rows) // gradients.batch_size)  # of an epoch
        self.rng = np.random.default_rng(seed)
        self.epoch, self.step, self.order, self.mean = 1, 0, self.rng.bit_generator.state, Mean()
        self.history, self.stopped = History(), False
        self._settings: dict[str, Any] = {}
        self._kept: list[dict[str, Any]] = []  # of callbacks, for when they have begun
        self._arrays = self.network.params, self.network.grads
        self._seconds = 0.0  # before it was interrupted

    def run(
        self, progress: bool | None = None, saved: Checkpoint | None = None, signals: Signals | None = None
    ) -> None:
        """Train to the end, and save the state on the way."""
        start = time.perf_counter() - self._seconds
        for callback in self.callbacks:
            callback.on_train_begin(self.network)
        for callback, state in zip(self._lasting(), self._kept):
            callback.restore(state)
        if signals is not None:
            self.gradients.caught = lambda: signals.caught > 0
        pause = functools.partial(self._pause, saved, signals)
        held = self.ranks.cores(self.gradients.exact), np.errstate(over="ignore", invalid="ignore")
        with _progress_bar(self, progress) as bar, held[0], held[1]:
            try:
                while self.epoch <= self.epochs and not self.stopped:
                    self._train_epoch(bar, pause)
                    self._end_epoch(start)
                    bar.set_postfix_str(self.history.describe())
                    pause(True)
            except FloatingPointError as error:
                if not any([callback.on_divergence(self.network, error) for callback in self.callbacks]):
                    raise
            except KeyboardInterrupt:
                with held_back():
                    for callback in self.callbacks:
                        callback.on_interrupt(self.network, self.history)
                raise
            finally:  # after a divergence or Ctrl-C too: best weights are put back
                with held_back():
                    for callback in self.callbacks:
                        callback.on_train_end(self.network, self.history)

    def _train_epoch(self, bar: Any, pause: Callable[[bool], None]) -> None:
        """Make the steps of the epoch that have not been made yet."""
        self.rng.bit_generator.state = self.order
        batches = self.gradients.batches(self.rng)
        with contextlib.closing(batches), self.gradients.holding():
            for batch in itertools.islice(batches, self.step, None):
                if self.schedule is not None:
                    done = (self.epoch - 1 + self.step / self.steps) / self.epochs
                    self.optimizer.learning_rate = float(self.schedule(done))
                self._train_step(batch)
                bar.update()
                pause(False)
        isfinite = self.network.device.xp.isfinite
        if not all(isfinite(array).all() for array in self.network.params.values()):
            raise self._diverged("a parameter is not finite")

    def _train_step(self, batch: Any) -> None:
        """Do one step on one batch; where its loss is not finite, change nothing and raise."""
        value, weight = self.gradients.fill(batch)
        self.step += 1
        if not np.isfinite(value):
            raise self._diverged(f"loss is {value}")
        self.mean.add(value, weight)
        if weight:
            for callback in self.callbacks:
                callback.on_gradients(self.network)
            self.optimizer.step(*self._arrays)

    def _end_epoch(self, start: float) -> None:
        """Write the epoch's record, ask the callbacks, and go over to the next."""
        if not self.mean.weight:
            raise ValueError(f"{self.rows.rows.name} have no weight above 0, wanted one at least")
        record = {"epoch": self.epoch, "learning_rate": self.optimizer.learning_rate}
        record["loss"] = self.mean.value()
        if self.held_out is not None:
            scores = scores_of(self.network, self.held_out, self.gradients.loss, self.ranks)
            record.update({f"validation_{name}": score for name, score in scores.items()})
        record["seconds"] = self._seconds = time.perf_counter() - start
        self.history.records.append(self.ranks.share(record))
        # Every callback hears of every epoch: a list, not a generator.
        stops = [callback.on_epoch_end(self.network, self.history) for callback in self.callbacks]
        self.stopped = self.ranks.any(any(stops))
        self.epoch, self.step, self.order, self.mean = self.epoch + 1, 0, self.rng.bit_generator.state, Mean()

    def _pause(self, saved: Checkpoint | None, signals: Signals | None, epoch_ended: bool) -> None:
        """Save the state where it is time to, and stop where a signal has come, to any rank."""
        if signals is None:
            return
        stop = self.ranks.any(signals.caught > 0) if epoch_ended else self.gradients.stops()
        if saved and stop:
            self.ranks.first(lambda: saved.write(self.state()))
        elif saved and (saved.is_due() or epoch_ended and self.ranks.is_first):
            with tolerated("the state before it stays, and the training goes on"):
                saved.write(self.state())
        if stop:
            place = f"epoch {self.epoch}, step {self.step} of {self.steps}"
            raise Interrupted(signals.caught, f"stopped in {place}{_kept_in(saved)}")

    def _diverged(self, what: str) -> FloatingPointError:
        return FloatingPointError(
            f"{what} in epoch {self.epoch}, step {self.step} of {self.steps}: training diverged at learning "
            f"rate {self.optimizer.learning_rate:g}; wanted a smaller one, or inputs scaled to about 1 "
            "(input_scale)"
        )

    def describe(self) -> str:
        """Return the settings in a line."""
        numbers = {"learning_rate": self.optimizer.learning_rate, **_numbers(self.optimizer)}
        optimizer = ", ".join(f"{name} {_text(value)}" for name, value in numbers.items())
        parts = [
            f"{len(self.rows.rows):,} rows",
            f"{self.epochs} epochs of {self.steps:,} steps of {self.gradients.batch_size}",
            self.rows.loss.name or "a loss of one's own",
            f"{type(self.optimizer).__name__} ({optimizer})",
            f"seed {self.seed}, {self.network.dtype} on {self.network.device}",
        ]
        if self.gradients.setting is not None:
            mode, shards = self.gradients.setting
            parts.append(f"{self.ranks.size} ranks, {mode}, {shards} shards")
        return "fit: " + ", ".join(parts)

    def _lasting(self) -> list[Callback]:
        """Return the callbacks that the result depends on."""
        return [callback for callback in self.callbacks if not callback.observer]

    def _describe(self) -> dict[str, Any]:
        """Return what a resumed training must have in common with the one before, as JSON holds it."""
        schedule, rates = self.schedule, [self.optimizer.learning_rate]
        if schedule is not None:  # a function: some of its values
            rates = [float(schedule(sixteenth / 16)) for sixteenth in range(16)]
        scaling = self.network.input_shift.tobytes() + self.network.input_scale.tobytes()
        weights, held_out = self.rows.class_weight, self.held_out
        settings = {
            "loss": [self.rows.loss.name, *_arguments(self.gradients.loss)],
            "optimizer": [type(self.optimizer).__name__, _numbers(self.optimizer)],
            "learning rates": rates,
            "epochs": self.epochs,
            "batch_size": self.gradients.batch_size,
            "seed": self.seed,
            "class_weight": None if weights is None else weights.tolist(),
            "training rows": _fingerprint(self.rows.rows),
            "validation rows": None if held_out is None else _fingerprint(held_out.rows),
            "callbacks": [[type(callback).__name__, _numbers(callback)] for callback in self._lasting()],
            "distributed": self.gradients.setting,
            "scaling": zlib.crc32(scaling),
            "network": repr(self.network),  # last: with another seed it is another too, and long
        }
        return strict_json.tagged(settings)

    def state(self) -> State:
        """Return all that another process needs to go on."""
        get, layers = self.network.device.get, self.network.layers
        return State(
            settings=self._settings,
            progress={
                "epoch": self.epoch,
                "step": self.step,
                "stopped": self.stopped,
                "order": self.order,
                "mean": [self.mean.sum, self.mean.weight],
                "seconds": self._seconds,
                "history": self.history.to_json(),
                "optimizer_steps": self.optimizer.steps,
                "learning_rate": self.optimizer.learning_rate,
                "dropout_rows": [layer.row for layer in layers if isinstance(layer, Dropout)],
            },
            params={name: get(array) for name, array in self.network.params.items()},
            slots={
                name: {slot: get(array) for slot, array in slots.items()}
                for name, slots in self.optimizer.state.items()
            },
            callbacks=[
                {name: value if isinstance(value, PLAIN) else get(value) for name, value in kept.items()}
                for kept in (callback.state() for callback in self._lasting())
            ],
        )

    def check_memory(self) -> None:
        """Refuse what would not fit the memory: a step, or evaluating after the first epoch."""
        if self.network.device is not CPU:
            return
        layers, optimizer = self.network.layers, self.optimizer
        rows = min(self.gradients.batch_size, len(self.rows.rows))
        slots = 0 if optimizer.state else len(optimizer.slots)
        memory.check_training(layers, -(-rows // self.ranks.size), slots)
        if self.held_out is not None:
            memory.check_predicting(layers, min(PREDICT_ROWS, len(self.held_out.rows)))

    def agree(self) -> None:
        """Begin with the first's parameters on all ranks.

        Raises
        ------
        ValueError if a rank has other settings, or other data.
        """
        if self.ranks.size == 1:
            return
        described = self.ranks.collect(self._describe())
        for rank, settings in enumerate(described):
            for name, value in settings.items():
                if value != described[0][name]:
                    found = f"rank {rank} has {name} {value!r}"
                    raise ValueError(f"{found}, wanted {described[0][name]!r} as rank 0 has")
        get, put = self.network.device.get, self.network.device.put
        first = self.ranks.share({name: get(array) for name, array in self._arrays[0].items()})
        for name, array in self._arrays[0].items():
            array[...] = put(first[name])

    def go_on_from(self, saved: Checkpoint, resume: bool) -> None:
        """Take up the state in a folder, if there is one.

        Raises
        ------
        ValueError if there is one and it is not to be resumed, or it is that of another training.
        """
        state, self._settings = saved.read(), self._describe()  # before training changes them
        if state is None:
            return
        if not resume:
            found = f"checkpoint is {saved.folder}, which has a training"
            raise ValueError(f"{found}, wanted it resumed, or another folder")
        before = _with_scaling(state.settings)
        for name, value in self._settings.items():
            if before.get(name) != value:
                found = f"{saved.folder} has a training with {name} {before.get(name)!r}"
                raise ValueError(f"{found}, wanted {value!r}: resume it with the same settings")
        params, slots = self.network.params, dict.fromkeys(self.optimizer.slots)
        dropouts = [layer for layer in self.network.layers if isinstance(layer, Dropout)]
        saved.check(state, params, slots, self._lasting(), self.steps, len(dropouts))
        put, progress = self.network.device.put, state.progress
        for name, array in params.items():
            array[...] = put(state.params[name])
        self.optimizer.state = {
            name: {slot: put(array) for slot, array in own.items()} for name, own in state.slots.items()
        }
        self.optimizer.steps = progress["optimizer_steps"]
        self.optimizer.learning_rate = progress["learning_rate"]
        for layer, row in zip(dropouts, progress["dropout_rows"]):
            layer.row = row
        self.epoch, self.step, self.stopped = progress["epoch"], progress["step"], progress["stopped"]
        self.order, self.mean = progress["order"], Mean(*progress["mean"])
        self.history.records[:] = History.from_json(progress["history"]).records
        self._seconds, self._kept = progress["seconds"], state.callbacks


def _with_scaling(settings: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's settings; in those of earlier versions the scaling is beside the network."""
    match settings.get("network"):
        case [network, scaling]:
            return {**settings, "network": network, "scaling": scaling}
    return settings


PLAIN = (bool, int, float, str, list, dict, type(None))  # of a callback's state: what JSON holds
FINGERPRINTED = 64  # rows


def _check_kind(name: str, value: Any, kind: Any, example: str) -> Any:
    """Return a value of a kind, or say which argument is none."""
    if not isinstance(value, kind):
        raise ValueError(f"{name} is {value!r}, wanted one such as {example}")
    return value


def _kept_in(saved: Checkpoint | None) -> str:
    return f"; {saved.folder} has the state to resume" if saved else ""


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _arguments(loss: Callable) -> list[str]:
    """Return what a `functools.partial` gives a loss, as text."""
    if not isinstance(loss, functools.partial):
        return []
    words = [_repr(value) for value in loss.args]
    words += [f"{name}={_repr(value)}" for name, value in sorted(loss.keywords.items())]
    return [*_arguments(loss.func), *words]


def _repr(value: Any) -> str:
    """Return `repr`, but of NumPy's numbers and arrays what np.set_printoptions does not change."""
    return repr(value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value)


def _numbers(value: Any) -> dict[str, Any]:
    """Return settings of an optimizer or a callback: numbers and words that training does not change."""
    kept = value.state() if isinstance(value, Callback) else ()
    changing = ("steps", "learning_rate", *getattr(value, "changing", ()), *kept)
    return {
        name: one
        for name, one in vars(value).items()
        if isinstance(one, (bool, int, float, str)) and name not in changing and not name.startswith("_")
    }


def _fingerprint(rows: Rows) -> list[int]:
    """Return what other rows would hardly have in common: how many, a checksum of the first and the last."""
    checksum = 0
    for start in sorted({0, max(0, len(rows) - FINGERPRINTED)}):
        part = rows.part(start, min(start + FINGERPRINTED, len(rows)))
        with contextlib.closing(part.batches(FINGERPRINTED)) as batches:
            for batch in batches:
                for array in batch:
                    if array is not None:
                        checksum = zlib.crc32(np.ascontiguousarray(array).tobytes(), checksum)
    return [len(rows), rows.features, checksum]


def _progress_bar(training: Training, progress: bool | None) -> Any:
    from tqdm import tqdm

    stderr = forgiving(sys.stderr)  # None under pythonw, and after 2>&-
    shown = bool(stderr and stderr.isatty()) if progress is None else bool(progress and stderr)
    if shown:
        tqdm.write(training.describe(), file=stderr)
    short = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"  # room for what postfix says
    steps, done = training.epochs * training.steps, (training.epoch - 1) * training.steps + training.step
    how: dict[str, Any] = {"disable": not shown, "bar_format": short, "dynamic_ncols": True}
    return tqdm(total=steps, initial=done, file=stderr, **how)
