"""What a network is trained for: the loss where none is given, and the task by the loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from minihash.network import Network
from minihash.schema import Schema, task_of
from minihash.tasks import LOSSES

DEFAULT = "softmax_cross_entropy"  # of a network that does not know its task


def loss_for(network: Network, loss: str | Callable | None) -> str | Callable:
    """Return a loss, or where none is given that of the network's task."""
    if loss is not None:
        return loss
    return DEFAULT if network.task is None else LOSSES[network.task]


def schema_after(network: Network, loss: str) -> Schema | None:
    """Return what the network knows after a training with a loss; a loss of one's own changes nothing.

    Raises
    ------
    ValueError if the network has names of classes, and the loss is not for them.
    """
    task, known = task_of(loss, network.out_features), network.schema
    if task is None:
        return known
    two_names = task == "classification" and network.out_features == 1  # and a softmax of one class
    if network.class_names is not None and (task == "regression" or two_names):
        wanted = LOSSES["binary" if network.out_features == 1 else "classification"]
        raise ValueError(f"loss is {loss!r} and the network has names of classes, wanted {wanted!r}")
    return Schema(task) if known is None else replace(known, task=task)
