"""Training: `fit`, and its loop of epochs and steps."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minihash import checks, losses, sources
from minihash.files import tolerated
from minihash.hashing import LIMIT_SEED
from minihash.network import Network
from minihash.optimizers import Optimizer, Schedule, chosen
from minihash.sources import ClassWeight, Data
from minihash.training.checkpoint import Checkpoint
from minihash.training.distributed import gradients_of, mode_of, ranks_of
from minihash.training.evaluation import scores_of
from minihash.training.history import Callback, History
from minihash.training.interrupts import Interrupted, Signals, held_back
from minihash.training.plan import Place, Plan
from minihash.training.progress import compilations, progress_bar
from minihash.training.resumption import agree, go_on, state_of
from minihash.training.tasks import loss_for, schema_after


def fit(
    network: Network,
    train: Data,
    validation: Data | None = None,
    *,
    loss: str | Callable | None = None,
    optimizer: str | Optimizer | None = None,
    learning_rate: float | Schedule | None = None,
    schedule: Schedule | None = None,
    epochs: int = 10,
    batch_size: int = 128,
    class_weight: ClassWeight | None = None,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
    progress: bool | str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    distributed: bool | str = False,
    shards: int | None = None,
) -> History:
    """Train a network in place, by gradient descent on shuffled batches, on the device it is on.

    Same seeds, machine and versions: the same weights, to the last bit, whatever the number of threads
    of the hashed layers; on a GPU if it is told to be deterministic (`Network.to`).

    Parameters
    ----------
    network : with the first layer's inputs and the last one's outputs those of the data.
    train : (inputs, targets); inputs (rows, in_features) in any real dtype, raw: the network scales. Or
        (inputs, targets, weights), with how much each row counts, (rows,). A DataFrame and a Series will do
        for arrays, and names of classes for labels where the network has `class_names`. Or rows of a file
        that may be larger than memory: what `datasets.open_rows` returns, or what it opens, the name of a
        store, an .npy or a CSV file. They are read in blocks, shuffled among some of them
        (`datasets.blocks`).
        Targets are in their own units: where the network scales its outputs, `fit` standardises them
        (`Network.standardize`), and losses, those of the history too, are of standardised targets.
    validation : the same, evaluated after each epoch, never trained on; or None.
    loss : "softmax_cross_entropy", "mean_squared_error", "binary_cross_entropy", "distillation", or a
        function such, also as a `functools.partial`; on a GPU it is given arrays of CuPy. By default that of
        the network's task, where it has one, else the first. The network notes its task by the loss; that of
        another task replaces the one that it had. It notes the names of a DataFrame's columns, too.
    optimizer : "adam", the default, "sgd", or anything that has the members of `optimizers.Optimizer`, as
        `SGD(0.1, momentum=0.9)` does.
    learning_rate : of an optimizer by name: a number or a schedule. By default 0.001 for Adam, 0.1 for SGD.
    schedule : learning rate as a function of the fraction of training done, for any optimizer; see
        schedules.py.
    epochs : passes over the training rows.
    batch_size : rows a step; the last batch of an epoch may be shorter.
    class_weight : how much the rows of a class count, {class: weight}, 1 for those that are not there, by
        number or name; or "balanced", all classes the same: rows / (classes · rows of the class). It
        multiplies the rows' own weights. A step takes the weighted mean of its batch; a batch without weight
        is left out.
    seed : of the shuffling.
    callbacks : called at the beginning, after each epoch, and at the end, an unhappy one too; see
        callbacks.py.
    progress : show the settings in a line, and a bar, on stderr; by default only on a terminal. "bar" is the
        bar alone, on a terminal.
    checkpoint : a folder to keep the state of the training in, as of the end of each epoch and about once a
        minute: see checkpoint.py. SIGINT and SIGTERM then end the step and save the state before they
        stop the training.
    resume : go on from the state in that folder, if there is one: the result is, to the last bit, that of a
        training which was never interrupted. A training that has come to its end may go on with more epochs:
        then the schedule begins anew, for those that are added.
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
    >>> history = fit(network, (inputs, labels), optimizer="adam", learning_rate=0.01, epochs=20)
    >>> len(history), history["loss"][-1] < 0.2, evaluate(network, (inputs, labels))["error"] < 0.1
    (20, True, True)
    """
    optimizer, schedule = chosen(optimizer, learning_rate, schedule)
    _check_callbacks(callbacks)
    mode = mode_of(distributed)
    ranks, signals = ranks_of(mode), Signals()
    with ranks.together():
        if resume and checkpoint is None:
            raise ValueError("resume is True and checkpoint is None, wanted the folder to go on from")
        loss = loss_for(network, loss)
        schema = schema_after(network, loss, train)
        rows = sources.source("train", train, network, loss, class_weight)
        given = network, rows, losses.get(loss), checks.integer("batch_size", batch_size, 1, 2**31), signals
        before = checkpoint if resume else None
        plan = Plan(
            gradients_of(given, ranks, mode, shards, before),
            None if validation is None else sources.source("validation", validation, network, loss),
            optimizer,
            schedule,
            epochs=checks.integer("epochs", epochs, 1, 2**31),
            seed=checks.integer("seed", seed, 0, LIMIT_SEED),
            callbacks=[callback for callback in callbacks if ranks.is_first or not callback.observer],
            ranks=ranks,
        )
        sources.check_rounding_of("train", rows, network)
        plan.check_memory()
        agree(plan)
        with contextlib.ExitStack() as held:
            saved = None if checkpoint is None else held.enter_context(Checkpoint(checkpoint, ranks))
            if saved or mode:  # where nobody saves and nobody waits, Ctrl-C is Python's own
                held.enter_context(signals)
            place = go_on(plan, saved, resume) if saved else None
            network.schema = schema
            return Training(plan, place or plan.start(), saved).run(progress if ranks.is_first else False)


def _check_callbacks(callbacks: Any) -> None:
    if not isinstance(callbacks, (list, tuple)):
        raise ValueError(f"callbacks is {callbacks!r}, wanted one such as [EarlyStopping()]")
    for place, callback in enumerate(callbacks):
        if not isinstance(callback, Callback):
            raise ValueError(f"callbacks[{place}] is {callback!r}, wanted one such as EarlyStopping()")


class Training:
    """A training under way, from a place on.

    Parameters
    ----------
    plan : what it is given.
    place : where it is; `run` moves it.
    saved : where the state is kept, or None.
    """

    def __init__(self, plan: Plan, place: Place, saved: Checkpoint | None) -> None:
        self.plan, self.place, self.saved = plan, place, saved
        self.network, self.optimizer, self.gradients = plan.network, plan.optimizer, plan.gradients
        self.ranks, self.signals = plan.ranks, plan.gradients.signals
        self._arrays = self.network.params, self.network.grads
        self._rng = np.random.default_rng(plan.seed)

    def run(self, progress: bool | str | None) -> History:
        """Train to the end, and save the state on the way; return the history."""
        start, callbacks = time.perf_counter() - self.place.seconds, self.plan.callbacks
        history = self.place.history
        for callback in callbacks:
            callback.on_train_begin(self.network)
        for callback, state in zip(self.plan.lasting, self.place.kept):
            callback.restore(state)
        held = self.ranks.cores(self.gradients.exact), np.errstate(over="ignore", invalid="ignore")
        bar = progress_bar(self.plan, self.place, progress)
        with bar, compilations(bar) as compiled, held[0], held[1]:
            try:
                while self.place.epoch <= self.plan.epochs and not self.place.stopped:
                    self._train_epoch(bar)
                    self._end_epoch(start, compiled)
                    bar.set_postfix_str(history.describe())
                    self._pause(epoch_ended=True)
            except FloatingPointError as error:
                if not any([callback.on_divergence(self.network, error) for callback in callbacks]):
                    raise
            except KeyboardInterrupt:
                with held_back():
                    for callback in callbacks:
                        callback.on_interrupt(self.network, history)
                raise
            finally:  # after a divergence or Ctrl-C too: best weights are put back
                with held_back():
                    for callback in callbacks:
                        callback.on_train_end(self.network, history)
        if self.ranks.any(bool(self.signals.caught)):  # after the last step
            raise self._interrupted("stopped")
        return history

    def _train_epoch(self, bar: Any) -> None:
        """Make the steps of the epoch that have not been made yet."""
        plan, place = self.plan, self.place
        self._rng.bit_generator.state = place.order
        batches = self.gradients.batches(self._rng)
        with contextlib.closing(batches), self.gradients.holding():
            for batch in itertools.islice(batches, place.step, None):
                if plan.schedule is not None:
                    done = place.epoch - 1 - place.before + place.step / plan.steps
                    rate = plan.schedule(done / (plan.epochs - place.before))
                    self.optimizer.learning_rate = float(rate)
                self._train_step(batch)
                bar.update()
                self._pause(epoch_ended=False)
        isfinite = self.network.device.xp.isfinite
        if not all(isfinite(array).all() for array in self.network.params.values()):
            raise self._diverged("a parameter is not finite")

    def _train_step(self, batch: Any) -> None:
        """Do one step on one batch; where its loss is not finite, change nothing and raise."""
        value, weight = self.gradients.fill(batch)
        self.place.step += 1
        if not np.isfinite(value):
            raise self._diverged(f"loss is {value}")
        self.place.mean.add(value, weight)
        if weight:
            for callback in self.plan.callbacks:
                callback.on_gradients(self.network)
            self.optimizer.step(*self._arrays)

    def _end_epoch(self, start: float, compiled: Any) -> None:
        """Write the epoch's record, ask the callbacks, and go over to the next."""
        plan, place = self.plan, self.place
        if not place.mean.weight:
            raise ValueError(f"{plan.rows.rows.name} have no weight above 0, wanted one at least")
        record = {"epoch": place.epoch, "learning_rate": self.optimizer.learning_rate}
        record["loss"] = place.mean.value()
        if plan.held_out is not None:
            scores = scores_of(self.network, plan.held_out, self.gradients.loss, self.ranks)
            record.update({f"validation_{name}": score for name, score in scores.items()})
        record["seconds"] = place.seconds = time.perf_counter() - start - compiled.seconds
        place.history.records.append(self.ranks.share(record))
        # Every callback hears of every epoch: a list, not a generator.
        stops = [callback.on_epoch_end(self.network, place.history) for callback in plan.callbacks]
        place.stopped = self.ranks.any(any(stops))
        place.next_epoch(self._rng.bit_generator.state)

    def _pause(self, *, epoch_ended: bool) -> None:
        """Save the state where it is time to, and stop where a signal has come, to any rank."""
        stop = self.ranks.any(bool(self.signals.caught)) if epoch_ended else self.gradients.stops()
        saved = self.saved
        if saved and stop:
            self.ranks.first(lambda: saved.write(state_of(self.plan, self.place)))
        elif saved and (saved.is_due() or epoch_ended and self.ranks.is_first):
            with tolerated("the state before it stays, and the training goes on"):
                saved.write(state_of(self.plan, self.place))
        if stop:
            place = self.place
            raise self._interrupted(f"stopped in epoch {place.epoch}, step {place.step} of {self.plan.steps}")

    def _interrupted(self, where: str) -> Interrupted:
        kept = f"; {self.saved.folder} has the state to resume" if self.saved else ""
        return Interrupted(self.signals.caught, where + kept)

    def _diverged(self, what: str) -> FloatingPointError:
        return FloatingPointError(
            f"{what} in epoch {self.place.epoch}, step {self.place.step} of {self.plan.steps}: training "
            f"diverged at learning rate {self.optimizer.learning_rate:g}; wanted a smaller one, or inputs "
            "scaled to about 1 (input_scale)"
        )
