"""Gradients of a batch: the network's, filled in one process."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Generator
from typing import Any

import numpy as np

from minihash import fused
from minihash.datasets.rows import Batch, total_weight
from minihash.kernels import threads
from minihash.network import Network
from minihash.sources import Source
from minihash.training.interrupts import Signals

Step = tuple[Callable[..., float], Callable[[], contextlib.AbstractContextManager[None]]]


class Gradients:
    """Cuts rows into batches and fills the network's gradients for each.

    Parameters
    ----------
    network : whose gradients.
    rows : to train on.
    loss : of a batch, as in losses/.
    batch_size : rows of a batch.
    signals : at which training should stop.

    holding : what is held during the steps of an epoch.
    exact : whether no bit may depend on the number of processes.
    setting : what a resumed training must have in common: mode and shards; None where there is but one way.
    """

    exact = False
    setting: list[Any] | None = None

    def __init__(
        self, network: Network, rows: Source, loss: Callable, batch_size: int, signals: Signals
    ) -> None:
        self.network, self.rows, self.loss, self.batch_size = network, rows, loss, batch_size
        self.signals = signals
        self._loss_and_grads, self.holding = _step(network, loss)

    def stops(self) -> bool:
        """Tell whether training should stop after this step: of several ranks, all are told the same."""
        return bool(self.signals.caught)

    def batches(self, rng: np.random.Generator) -> Generator[Any, None, None]:
        """Yield what `fill` takes, shuffled, of every row once; whoever stops early closes it."""
        with contextlib.closing(self.rows.rows.batches(self.batch_size, rng)) as batches:
            yield from batches

    def fill(self, batch: Any) -> tuple[float, float]:
        """Return the mean loss of a batch and its weight, and fill the gradients of that mean.

        Where the loss is not finite, or there is no weight (then it is 0), gradients are of no use.
        """
        batch = self.rows.prepare(batch)
        weight = total_weight(len(batch.inputs), batch.weight)
        return self._fill_one(batch) if weight else 0.0, weight

    def _fill_one(self, batch: Batch) -> float:
        """Return the mean loss of a prepared batch with some weight, and fill the gradients."""
        # A device gets the batch at once, and gives back one number.
        put = self.network.device.put_together
        return self._loss_and_grads(*put(*(array for array in batch if array is not None)))


def _step(network: Network, loss: Callable) -> Step:
    """Return what does a step but for the optimizer's part, and what is held during the steps of an epoch.

    A small network is fused. Where all products are in our threads, as its and those of hashed layers are,
    BLAS is held to one thread once for all steps; other layers have products outside of them too.
    """
    if fused.obstacle(network):
        ours = all(layer.own_threads or not layer.params for layer in network.layers)
        held = threads.single_threaded_blas if ours else contextlib.nullcontext
        return functools.partial(_loss_and_grads, network, loss), held
    small = fused.FusedNetwork(network)
    return functools.partial(small.loss_and_grads, loss), threads.single_threaded_blas


def _loss_and_grads(network: Network, loss: Callable, inputs: Any, *others: Any) -> float:
    """Return the loss of a batch, and fill the gradients where it is finite."""
    value, grad_outputs = loss(network.forward(inputs, training=True), *others)
    if np.isfinite(value):
        network.backward(grad_outputs, need_grad_inputs=False)
    return float(value)
