"""Training: `fit`, and a training under way."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minihash import checks, fused, losses, sources
from minihash.datasets.rows import Batch, Rows
from minihash.hashing import LIMIT_SEED
from minihash.kernels import threads
from minihash.layers import Dropout
from minihash.network import Network
from minihash.optimizers import Adam, Optimizer
from minihash.sources import ClassWeight, Data, Source
from minihash.training.checkpoint import Checkpoint, State
from minihash.training.evaluation import Mean, scores_of
from minihash.training.history import Callback, History
from minihash.training.interrupts import Interrupted, Signals


def fit(
    network: Network,
    train: Data,
    validation: Data | None = None,
    *,
    loss: str | Callable = "softmax_cross_entropy",
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
        function such, also as a `functools.partial`; on a card it is given arrays of CuPy.
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

    Returns
    -------
    History

    Raises
    ------
    ValueError for wrong arguments, a damaged file or a checkpoint of another training, OSError if one cannot
    be read or written; FloatingPointError when
    the loss becomes NaN or infinite, with the weights as they were before the step that would have followed;
    `Interrupted` (a KeyboardInterrupt) after a signal where there is a checkpoint.

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
    training = Training(
        network,
        sources.source("train", train, network, loss, class_weight),
        None if validation is None else sources.source("validation", validation, network, loss),
        loss=losses.get(loss),
        optimizer=Adam() if optimizer is None else optimizer,
        schedule=schedule,
        epochs=checks.integer("epochs", epochs, 1, 2**31),
        batch_size=checks.integer("batch_size", batch_size, 1, 2**31),
        seed=checks.integer("seed", seed, 0, LIMIT_SEED),
        callbacks=callbacks,
    )
    if checkpoint is None:
        if resume:
            raise ValueError("resume is True and checkpoint is None, wanted the folder to go on from")
        training.run(progress)
    else:
        with Checkpoint(checkpoint) as saved, Signals() as signals:
            training.go_on_from(saved, resume)
            training.run(progress, saved, signals)
            if signals.caught:  # after the last step
                raise Interrupted(signals.caught, f"stopped; {saved.folder} has the state to resume")
    return training.history


class Training:
    """A training under way: what it needs to go on, and `run`.

    epoch, step : the epoch, from 1, and how many of its steps have been made.
    order : state of the generator of shuffles at the beginning of the epoch.
    mean : of the losses of the epoch's steps.
    """

    def __init__(
        self,
        network: Network,
        rows: Source,
        held_out: Source | None,
        *,
        loss: Callable,
        optimizer: Optimizer,
        schedule: Callable[[float], float] | None,
        epochs: int,
        batch_size: int,
        seed: int,
        callbacks: Sequence[Callback],
    ) -> None:
        self.network, self.rows, self.held_out, self.loss = network, rows, held_out, loss
        self.optimizer, self.schedule, self.callbacks = optimizer, schedule, callbacks
        self.epochs, self.batch_size, self.seed = epochs, batch_size, seed
        self.steps = -(-len(rows.rows) // batch_size)  # of an epoch
        self.rng = np.random.default_rng(seed)
        self.epoch, self.step, self.order, self.mean = 1, 0, self.rng.bit_generator.state, Mean()
        self.history, self.stopped = History(), False
        self._settings: dict[str, Any] = {}
        self._kept: list[dict[str, Any]] = []  # of callbacks, for when they have begun
        self._loss_and_grads, self._holding = _step(network, loss)
        self._arrays = network.params, network.grads
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
        pause = functools.partial(self._pause, saved, signals)
        with _progress_bar(self, progress) as bar, np.errstate(over="ignore", invalid="ignore"):
            try:
                while self.epoch <= self.epochs and not self.stopped:
                    self._train_epoch(bar, pause)
                    self._end_epoch(start)
                    bar.set_postfix_str(self.history.describe())
                    pause(True)
            except FloatingPointError as error:
                if not any([callback.on_divergence(self.network, error) for callback in self.callbacks]):
                    raise
            finally:  # after a divergence or Ctrl-C too: best weights are put back
                for callback in self.callbacks:
                    callback.on_train_end(self.network, self.history)

    def _train_epoch(self, bar: Any, pause: Callable[[bool], None]) -> None:
        """Make the steps of the epoch that have not been made yet."""
        self.rng.bit_generator.state = self.order
        batches = self.rows.rows.batches(self.batch_size, self.rng)
        with contextlib.closing(batches), self._holding():
            for batch in itertools.islice(batches, self.step, None):
                if self.schedule is not None:
                    done = (self.epoch - 1 + self.step / self.steps) / self.epochs
                    self.optimizer.learning_rate = float(self.schedule(done))
                value = self.mean.add(self.rows.prepare(batch), self._train_step)
                self.step += 1
                if not np.isfinite(value):
                    raise self._diverged(f"loss is {value}")
                bar.update()
                pause(False)
        isfinite = self.network.device.xp.isfinite
        if not all(isfinite(array).all() for array in self.network.params.values()):
            raise self._diverged("a parameter is not finite")

    def _train_step(self, batch: Batch) -> float:
        """Do one step on one batch and return its loss; where that is not finite, change nothing.

        A device gets the batch at once, and gives back one number.
        """
        value = self._loss_and_grads(*self.network.device.put_together(*(a for a in batch if a is not None)))
        if np.isfinite(value):
            for callback in self.callbacks:
                callback.on_gradients(self.network)
            self.optimizer.step(*self._arrays)
        return value

    def _end_epoch(self, start: float) -> None:
        """Write the epoch's record, ask the callbacks, and go over to the next."""
        if not self.mean.weight:
            raise ValueError(f"{self.rows.rows.name} have no weight above 0, wanted one at least")
        record = {"epoch": self.epoch, "learning_rate": self.optimizer.learning_rate}
        record["loss"] = self.mean.value()
        if self.held_out is not None:
            scores = scores_of(self.network, self.held_out, self.loss)
            record.update({f"validation_{name}": score for name, score in scores.items()})
        record["seconds"] = self._seconds = time.perf_counter() - start
        self.history.records.append(record)
        # Every callback hears of every epoch: a list, not a generator.
        self.stopped = any([callback.on_epoch_end(self.network, self.history) for callback in self.callbacks])
        self.epoch, self.step, self.order, self.mean = self.epoch + 1, 0, self.rng.bit_generator.state, Mean()

    def _pause(self, saved: Checkpoint | None, signals: Signals | None, epoch_ended: bool) -> None:
        """Save the state where it is time to, and stop where a signal has come."""
        if saved is None or signals is None:
            return
        if epoch_ended or signals.caught or saved.is_due():
            saved.write(self.state())
        if signals.caught:
            place = f"epoch {self.epoch}, step {self.step} of {self.steps}"
            raise Interrupted(signals.caught, f"stopped in {place}; {saved.folder} has the state to resume")

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
            f"{self.epochs} epochs of {self.steps:,} steps of {self.batch_size}",
            self.rows.loss or "a loss of one's own",
            f"{type(self.optimizer).__name__} ({optimizer})",
            f"seed {self.seed}, {self.network.dtype} on {self.network.device}",
        ]
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
            "loss": [self.rows.loss, *_arguments(self.loss)],
            "optimizer": [type(self.optimizer).__name__, _numbers(self.optimizer)],
            "learning rates": rates,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "class_weight": None if weights is None else weights.tolist(),
            "training rows": _fingerprint(self.rows.rows),
            "validation rows": None if held_out is None else _fingerprint(held_out.rows),
            "callbacks": [[type(callback).__name__, _numbers(callback)] for callback in self._lasting()],
            # Last: with another seed it is another too, and long.
            "network": [repr(self.network), zlib.crc32(scaling)],
        }
        return json.loads(json.dumps(settings))  # tuples are lists there

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
                "history": self.history.records,
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
        for name, value in self._settings.items():
            if state.settings.get(name) != value:
                found = f"{saved.folder} has a training with {name} {state.settings.get(name)!r}"
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
        self.history.records[:] = progress["history"]
        self._seconds, self._kept = progress["seconds"], state.callbacks


PLAIN = (bool, int, float, str, list, dict, type(None))  # of a callback's state: what JSON holds
FINGERPRINTED = 64  # rows
Step = tuple[Callable[..., float], Callable[[], contextlib.AbstractContextManager[None]]]


def _step(network: Network, loss: Callable) -> Step:
    """Return what does a step but for the optimizer's part, and what is held during the steps of an epoch.

    A small network is fused. It has small products only, all in our threads: then BLAS is held to one thread
    once for all; others have large ones outside of them too.
    """
    if fused.obstacle(network):
        return functools.partial(_loss_and_grads, network, loss), contextlib.nullcontext
    small = fused.FusedNetwork(network)
    return functools.partial(small.loss_and_grads, loss), threads.single_threaded_blas


def _loss_and_grads(network: Network, loss: Callable, inputs: Any, *others: Any) -> float:
    """Return the loss of a batch, and fill the gradients where it is finite."""
    value, grad_outputs = loss(network.forward(inputs, training=True), *others)
    if np.isfinite(value):
        network.backward(grad_outputs, need_grad_inputs=False)
    return float(value)


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _arguments(loss: Callable) -> list[str]:
    """Return what a `functools.partial` gives a loss, as text."""
    if not isinstance(loss, functools.partial):
        return []
    words = [repr(value) for value in loss.args]
    words += [f"{name}={value!r}" for name, value in sorted(loss.keywords.items())]
    return [*_arguments(loss.func), *words]


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

    # There is no stderr under pythonw, and none after 2>&-.
    shown = bool(sys.stderr and sys.stderr.isatty()) if progress is None else progress
    if shown:
        tqdm.write(training.describe(), file=sys.stderr)
    short = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"  # room for what postfix says
    steps, done = training.epochs * training.steps, (training.epoch - 1) * training.steps + training.step
    return tqdm(total=steps, initial=done, disable=not shown, bar_format=short, dynamic_ncols=True)
