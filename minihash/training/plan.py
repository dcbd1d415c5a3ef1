"""What a training is given, and where it is."""

from __future__ import annotations

import contextlib
import functools
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minihash import memory, strict_json
from minihash.datasets.rows import Rows
from minihash.kernels.devices import CPU
from minihash.network import PREDICT_ROWS, Network
from minihash.optimizers import Optimizer
from minihash.sources import Source
from minihash.training.evaluation import Mean
from minihash.training.gradients import Gradients
from minihash.training.history import Callback, History
from minihash.training.ranks import Ranks

FINGERPRINTED = 64  # rows


@dataclass
class Plan:
    """What a training is given.

    gradients : of the network, for batches of the rows to train on.
    held_out : the validation rows, or None.
    optimizer, schedule, epochs, seed : as in `fit`.
    callbacks : those that are called on this rank.
    ranks : the processes that train together.
    """

    gradients: Gradients
    held_out: Source | None
    optimizer: Optimizer
    schedule: Callable[[float], float] | None
    epochs: int
    seed: int
    callbacks: list[Callback]
    ranks: Ranks

    def __post_init__(self) -> None:
        self.network: Network = self.gradients.network
        self.rows: Source = self.gradients.rows
        self.steps = -(-len(self.rows.rows) // self.gradients.batch_size)  # of an epoch
        self.dropouts = [layer for layer in self.network.layers if layer.row is not None]
        #: The callbacks that the result depends on.
        self.lasting = [callback for callback in self.callbacks if not callback.observer]

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """What a resumed training must have in common with the one before, as JSON holds it.

        Ask before the training: it changes the learning rate.
        """
        schedule, rates = self.schedule, [self.optimizer.learning_rate]
        if schedule is not None:  # a function: some of its values
            rates = [float(schedule(sixteenth / 16)) for sixteenth in range(16)]
        network, weights, held_out = self.network, self.rows.class_weight, self.held_out
        scaling = [network.input_shift, network.input_scale]
        if network.scales_outputs:  # else the number is that of checkpoints from before there was one
            scaling += [network.output_shift, network.output_scale]
        settings = {
            "loss": [self.rows.loss.name, *arguments_of(self.gradients.loss)],
            "optimizer": _named(self.optimizer),
            "learning rates": rates,
            "epochs": self.epochs,
            "batch_size": self.gradients.batch_size,
            "seed": self.seed,
            "class_weight": None if weights is None else weights.tolist(),
            "training rows": _fingerprint(self.rows.rows),
            "validation rows": None if held_out is None else _fingerprint(held_out.rows),
            "callbacks": [_named(callback) for callback in self.lasting],
            "distributed": self.gradients.setting,
            "scaling": zlib.crc32(b"".join(array.tobytes() for array in scaling)),
            "network": repr(network),  # last: with another seed it is another too, and long
        }
        return strict_json.tagged(settings)

    def start(self) -> Place:
        """Return the place where a training begins."""
        return Place(np.random.default_rng(self.seed).bit_generator.state)

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


@dataclass
class Place:
    """Where a training is.

    order : state of the generator of shuffles at the beginning of the epoch.
    epoch, step : the epoch, from 1, and how many of its steps have been made.
    stopped : whether a callback has ended the training.
    mean : of the losses of the epoch's steps.
    seconds : how long the finished epochs took, without the compiling of kernels.
    kept : states of callbacks, for when they have begun.
    before : the epochs of a finished training that this one was added to: the schedule is for those after.
    """

    order: Mapping[str, Any]
    epoch: int = 1
    step: int = 0
    stopped: bool = False
    mean: Mean = field(default_factory=Mean)
    seconds: float = 0.0
    history: History = field(default_factory=History)
    kept: list[dict[str, Any]] = field(default_factory=list)
    before: int = 0

    def next_epoch(self, order: Mapping[str, Any]) -> None:
        """Go over to the epoch that begins with such a generator."""
        self.epoch, self.step, self.order, self.mean = self.epoch + 1, 0, order, Mean()


def _named(one: Any) -> list[Any]:
    """Return the kind of an optimizer or a callback, and its settings."""
    return [type(one).__name__, one.settings()]


def arguments_of(loss: Callable) -> list[str]:
    """Return what a `functools.partial` gives a loss, as text."""
    if not isinstance(loss, functools.partial):
        return []
    words = [_repr(value) for value in loss.args]
    words += [f"{name}={_repr(value)}" for name, value in sorted(loss.keywords.items())]
    return [*arguments_of(loss.func), *words]


def _repr(value: Any) -> str:
    """Return `repr`, but of NumPy's numbers and arrays what np.set_printoptions does not change."""
    return repr(value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value)


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
