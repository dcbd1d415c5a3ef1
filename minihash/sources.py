"""What `fit` and `evaluate` take as data, made rows that fit a network and a loss."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from minihash import checks, frames, losses, metrics, text
from minihash.datasets.files import open_rows
from minihash.datasets.rows import ArrayRows, Batch, Rows, check_rounding
from minihash.losses import Loss
from minihash.network import Network

#: (inputs, targets), (inputs, targets, weights of the rows), rows, or the name of a file of them.
Data = tuple[Any, ...] | Rows | str | os.PathLike[str]
#: The weight of each class, 1 for those that are not there, or "balanced".
ClassWeight = Mapping[int, float] | Mapping[str, float] | str

COUNTED_ROWS = 8192  # a batch of the pass that counts classes


class Source(NamedTuple):
    """Rows, as a loss wants them.

    rows : as they come.
    loss : what they are for.
    standardize : makes their targets those of the loss: `Network.standardize` of the network.
    class_weight : (classes,), or None.
    """

    rows: Rows
    loss: Loss
    standardize: Callable[[np.ndarray], np.ndarray]
    class_weight: np.ndarray | None = None

    @property
    def weighted(self) -> bool:
        """Whether `prepare` may give rows weights."""
        return self.rows.weighted or self.class_weight is not None

    def prepare(self, batch: Batch) -> Batch:
        """Return a batch with targets as the loss takes them, and weights with those of the classes."""
        targets, weight = self.loss.prepare(self.standardize(batch.targets)), batch.weight
        if self.class_weight is not None:
            of_class = self.class_weight[self.loss.labels(targets)]
            weight = of_class if weight is None else weight * of_class
        return Batch(batch.inputs, targets, weight)


def source(
    name: str, data: Data, network: Network, loss: str | Callable, class_weight: ClassWeight | None = None
) -> Source:
    """Return data as rows that fit a network and a loss.

    Raises
    ------
    ValueError for what does not; OSError if a file cannot be read.
    """
    if isinstance(data, (str, os.PathLike)):
        data = open_rows(data)
    used = losses.object_of(loss)
    for score in used.scores:  # now, and not after an epoch
        checks.choice(f"a score of the loss {used.name}", score, tuple(metrics.SCORES))
    if used.classifies and network.scales_outputs:
        raise ValueError(f"loss is {used.name!r} and the network scales its outputs, wanted one of numbers")
    rows = _check_rows(data, network, used) if isinstance(data, Rows) else _arrays(name, data, network, used)
    found = Source(rows, used, network.standardize)
    if class_weight is None:
        return found
    return found._replace(class_weight=_weights_of_classes(class_weight, found, network))


def check_rounding_of(name: str, found: Source, network: Network) -> None:
    """Refuse arrays to train on of which float32 would lose the spread of a feature or a target.

    What a network subtracts, its `input_shift` and `output_shift`, is subtracted before. Files were looked at
    when they were opened; arrays to evaluate are taken as they are, as a few rows may be close to each other.

    Raises
    ------
    ValueError with the column.
    """
    if network.dtype != np.float32 or not isinstance(found.rows, ArrayRows):
        return
    inputs, targets, _ = found.rows.arrays
    less = " less input_shift" if network.input_shift.any() else ""
    check_rounding(f"{name} inputs{less}", inputs, network.input_shift)
    if found.loss.task_with(network.out_features) == "regression":
        less = " less output_shift" if network.output_shift.any() else ""
        check_rounding(f"{name} targets{less}", targets.reshape(len(targets), -1), network.output_shift)


def _arrays(name: str, data: Any, network: Network, loss: Loss) -> Rows:
    """Return arrays as rows."""
    if hasattr(data, "train") and hasattr(data, "test"):
        raise ValueError(f"{name} is a {type(data).__name__}, wanted one of its parts, such as its `train`")
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        call = {"train": "fit", "data": "evaluate"}.get(name)
        if call and not isinstance(data, tuple):
            pair = f"{call} takes the rows as a pair: {call}(network, (inputs, targets))"
            raise ValueError(f"{name} is a {type(data).__name__}, and {pair}")
        wanted = "a pair (inputs, targets), or three with the rows' weights, or rows, or a file of them"
        raise ValueError(f"{name} is a {type(data).__name__}, wanted {wanted}")
    inputs = network.checked(f"{name} inputs", data[0])
    targets = np.asarray(checks.array(f"{name} targets", frames.only_column(data[1])))
    targets = _numbers_of_words(f"{name} targets", targets, network, loss)
    if not len(inputs) or targets.shape[:1] != inputs.shape[:1]:
        raise ValueError(
            f"{name} has {len(inputs)} rows of inputs and targets of shape {targets.shape}, "
            "wanted as many of each, at least one"
        )
    weight = None if len(data) == 2 or data[2] is None else _weight(name, data[2], len(inputs))
    if network.out_features is not None:
        try:  # a label out of range is refused here, with its row, and not in the middle of training
            dtype = np.dtype(np.float64) if network.scales_outputs else network.dtype
            loss.check_targets(targets, (len(inputs), network.out_features), dtype)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
    return ArrayRows(inputs, targets, weight)


def _numbers_of_words(name: str, targets: np.ndarray, network: Network, loss: Loss) -> np.ndarray:
    """Return names of classes as their numbers, other targets as they are; refuse words without names."""
    if targets.dtype.kind not in "OUT" or targets.ndim != 1 or not loss.classifies:
        return targets
    words, names = targets.tolist(), network.class_names
    row = next((row for row, word in enumerate(words) if isinstance(word, str)), None)
    if row is None or loss.binary and network.out_features != 1:
        return targets
    if names is None:
        known = text.listed(sorted({word for word in words if isinstance(word, str)}))
        wanted = f"integers, or a network with names of classes: mlp(…, class_names=[{known}])"
        raise ValueError(f"{name} is {words[row]!r} in row {row}, wanted {wanted}")
    number_of = {word: number for number, word in enumerate(names)}
    # Looked up one by one: to sort words, as np.unique does, takes longer.
    found = (number_of.get(word, -1) if isinstance(word, str) else -1 for word in words)
    numbers = np.fromiter(found, np.int64, len(words))
    if numbers.min() < 0:
        row = int(numbers.argmin())
        raise ValueError(f"{name} is {words[row]!r} in row {row}, wanted one of {text.listed(names)}")
    return numbers


def _weight(name: str, values: Any, rows: int) -> np.ndarray:
    """Return the weights of the rows."""
    weight = np.asarray(checks.array(f"{name} sample_weight", frames.only_column(values)))
    if weight.shape != (rows,) or weight.dtype.kind not in "fiub":
        found = f"{name} sample_weight has shape {weight.shape} ({weight.dtype})"
        raise ValueError(f"{found}, wanted ({rows},) numbers")
    good = np.isfinite(weight) & (weight >= 0)
    if not good.all():
        row = np.flatnonzero(~good)[0]
        raise ValueError(f"{name} sample_weight is {weight[row]} in row {row}, wanted a weight >= 0")
    if not weight.any():
        raise ValueError(f"{name} sample_weight is 0 in all rows, wanted one above 0")
    if not weight.sum(dtype=np.float64) < np.inf:
        raise ValueError(f"{name} sample_weight has the sum inf, wanted a finite one")
    return weight


def _check_rows(rows: Rows, network: Network, loss: Loss) -> Rows:
    """Refuse rows, most likely of a file, that do not fit; a file may be read once for it."""
    if not len(rows) or network.in_features not in (None, rows.features):
        found = f"{rows.name} has {len(rows)} rows of {rows.features} features"
        raise ValueError(f"{found}, wanted one at least, of {network.in_features}")
    outputs = network.out_features or np.inf
    if rows.one_target:
        loss.check_column(rows.name, outputs)
    wanted = loss.misfit(*rows.bounds, outputs) and loss.misfit(*_range(rows), outputs)
    if wanted:
        low, high, _ = _range(rows)
        raise ValueError(f"{rows.name} has targets from {low:g} to {high:g}, wanted {wanted}")
    return rows


def _range(rows: Rows) -> tuple[float, float, bool]:
    return rows.statistics.low, rows.statistics.high, rows.statistics.whole


def _weights_of_classes(class_weight: ClassWeight, found: Source, network: Network) -> np.ndarray:
    """Return the weight of each class, (classes,)."""
    if not found.loss.classifies:
        raise ValueError(f"class_weight is for classifiers, and loss is {found.loss.name or 'a function'!r}")
    binary, classes = found.loss.binary, network.out_features or 0
    if binary and classes > 1:
        raise ValueError(f"class_weight is for two classes, and network has {classes} outputs, wanted one")
    classes = 2 if binary else classes
    if isinstance(class_weight, str):
        checks.choice("class_weight", class_weight, ("balanced",))
        counts = np.zeros(classes)
        for batch in map(found.prepare, found.rows.batches(COUNTED_ROWS)):
            labels = found.loss.labels(batch.targets)
            counts += np.bincount(labels, batch.weight, classes)
        each = counts.sum() / np.count_nonzero(counts)
        return np.divide(each, counts, out=np.ones(classes), where=counts > 0)
    if not isinstance(class_weight, Mapping):
        raise ValueError(f"class_weight is {class_weight!r}, wanted {{class: weight}} or 'balanced'")
    weights = np.ones(classes)
    number_of = {name: number for number, name in enumerate(network.class_names or ())}
    for label, weight in class_weight.items():
        if isinstance(label, str) and number_of:
            label = number_of[checks.choice("class_weight's label", label, tuple(number_of))]
        label = checks.integer("class_weight's label", label, 0, classes)
        weights[label] = checks.number(f"class_weight of {label}", weight, 0, 1e30)
    return weights
