"""The network of `minihash train --from`, and whether data are for it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minihash.datasets import Dataset
    from minihash.datasets.file_dataset import FileDataset
    from minihash.network import Network


def load_to_train(args: argparse.Namespace) -> Network:
    """Return the network of the file `args.model`, on its device; ValueError if it is quantised."""
    from minihash.persistence import load

    network = load(args.model)
    if any(layer.params and not layer.grads for layer in network.layers):
        wanted = "wanted the network that it was made of (minihash quantize --epochs trains that one)"
        raise ValueError(f"{args.model}: is quantised and does not train, {wanted}")
    return network.to(args.device, deterministic=args.deterministic)


def fit_together(args: argparse.Namespace, network: Network, dataset: Dataset | FileDataset) -> None:
    """Let a network take over the names of classes, where it has but numbers.

    Raises
    ------
    ValueError if the data have other features than it has inputs, or other classes.
    """
    names, own = dataset.class_names, network.class_names
    classes = 2 if network.out_features == 1 else network.out_features
    if dataset.features != network.in_features:
        found = f"{args.data} has {dataset.features} features"
        raise ValueError(f"{found}, wanted {network.in_features}{_as(args)}")
    if names and len(names) != classes:
        raise ValueError(f"{args.data} has {len(names)} classes, wanted {classes}{_as(args)}")
    numbers = tuple(map(str, range(len(names))))
    if names in ((), numbers, own):
        return
    if own not in (None, numbers):
        found = f"{args.data} has the classes {', '.join(names)}"
        raise ValueError(f"{found}, wanted {', '.join(own)}{_as(args)}")
    network.class_names = names


def _as(args: argparse.Namespace) -> str:
    return f", as {args.model} has"
