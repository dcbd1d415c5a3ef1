"""What a network is trained for: the loss where none is given, and the task by the loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from minihash import frames, losses
from minihash.network import Network
from minihash.schema import Schema
from minihash.sources import Data
from minihash.tasks import LOSS_OF_TASK


def loss_for(network: Network, loss: str | Callable | None) -> str | Callable:
    """Return a loss, or where none is given that of the network's task, or of classes if it knows no task."""
    if not isinstance(network, Network):
        raise ValueError(f"network is a {type(network).__name__}, wanted a Network, and the rows after it")
    return LOSS_OF_TASK[network.task or "classification"] if loss is None else loss


def schema_after(network: Network, loss: str | Callable, train: Data) -> Schema | None:
    """Return what the network knows after a training with a loss; one without a task changes nothing.

    Where it has no names of features, it learns those of a DataFrame to train on.

    Raises
    ------
    ValueError if the network has names of classes, and the loss is not for them.
    """
    used, known = losses.object_of(loss), network.schema
    task = used.task_with(network.out_features)
    if task is None:
        return known
    wanted = "binary" if network.out_features == 1 else "classification"
    if network.class_names is not None and task not in (wanted, "multilabel"):
        found = f"loss is {used.name!r} and the network has names of classes"
        raise ValueError(f"{found}, wanted {LOSS_OF_TASK[wanted]!r}")
    names = frames.names_of(train[0]) if isinstance(train, (tuple, list)) and train else None
    if known is None:
        return Schema(task, feature_names=names)
    return replace(known, task=task, feature_names=known.feature_names or names)
