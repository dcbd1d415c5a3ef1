"""What `fit` and `predict` are given, made what networks take: rows, weights, scaling, seeds."""

from __future__ import annotations

import functools
import secrets
from typing import Any

import numpy as np

from minihash import checks, frames
from minihash.datasets.profile import MAX_WORDS, Profile
from minihash.datasets.rows import Batch, Batches, Rows, Statistics
from minihash.encoding import Column, cells_of, is_category
from minihash.hashing import LIMIT_SEED
from minihash.network import Network

CHUNK_ROWS = 256  # are made dense, or squared, together


class SparseRows(Rows):
    """Labelled rows of a sparse matrix, made dense a batch at a time.

    Parameters
    ----------
    inputs : (rows, features), compressed sparse rows (CSR).
    targets : (rows,) or (rows, outputs).
    weight : (rows,), or None.
    """

    def __init__(self, inputs: Any, targets: np.ndarray, weight: np.ndarray | None) -> None:
        self.matrix = Batch(inputs, targets, weight)
        self.rows, self.features = inputs.shape
        self.weighted, self.one_target = weight is not None, targets.ndim == 1

    def batches(self, batch_size: int, rng: np.random.Generator | None = None) -> Batches:
        order = np.arange(self.rows) if rng is None else rng.permutation(self.rows)
        for start in range(0, self.rows, batch_size):
            inputs: Any
            inputs, targets, weight = _take(self.matrix, order[start : start + batch_size])
            yield Batch(inputs.toarray(), targets, weight)

    @functools.cached_property
    def statistics(self) -> Statistics:
        """Of the targets alone: nobody asks for the inputs'."""
        statistics = Statistics(0)
        statistics.add(np.empty((self.rows, 0)), self.matrix.targets)
        return statistics


def is_sparse(X: Any) -> bool:
    """Tell whether X is a sparse matrix."""
    return hasattr(X, "toarray")


def columns_of(X: Any) -> tuple[Column, ...] | None:
    """Return how the columns of a DataFrame become inputs, words an input each; None if it has no words.

    Raises
    ------
    ValueError with the column that has missing entries beside words, or too many words.
    """
    if not frames.labels_of(X) or not any(_has_words(column) for _, column in frames.columns(X)):
        return None
    return tuple(_learned(label, column) for label, column in frames.columns(X))


def _has_words(column: Any) -> bool:
    values = np.asarray(column)
    entries = values.tolist() if values.dtype.kind in "OUST" else []
    return is_category(column) or not all(map(frames.is_number, entries))


def _learned(label: Any, column: Any) -> Column:
    """Learn what a column holds, as that of a file."""
    cells = cells_of(f"X column {label!r}", column)
    profile = Profile(str(label), MAX_WORDS, ".")
    profile.add(range(len(cells)), cells)
    if is_category(column) and profile.words:
        return Column(str(label), "words", tuple(sorted(profile.words)))
    try:
        return profile.column(fill=False)
    except ValueError as error:
        raise ValueError(f"X {error}") from None


def predict(network: Network, X: Any) -> np.ndarray:
    """Return the outputs (rows, outputs) of a network for an array or a sparse matrix, in bounded memory."""
    if not is_sparse(X):
        return network.predict(X)
    chunks = range(0, X.shape[0], CHUNK_ROWS)
    return np.concatenate([network.predict(X[row : row + CHUNK_ROWS].toarray()) for row in chunks])


def unmasked(y: Any, sample_weight: Any) -> tuple[Any, Any]:
    """Return targets and weights as they are; refuse masked entries, which scores would count or choke on."""
    return checks.unmasked("y", y), checks.unmasked("sample_weight", sample_weight)


def weights(sample_weight: Any, rows: int) -> np.ndarray | None:
    """Return the weight of each row, (rows,) float64, or None."""
    if sample_weight is None:
        return None
    weight = np.asarray(checks.unmasked("sample_weight", sample_weight), np.float64)
    if weight.shape != (rows,):
        raise ValueError(f"sample_weight has shape {weight.shape}, wanted ({rows},) as X")
    if not (np.isfinite(weight) & (weight >= 0)).all():
        raise ValueError("sample_weight has negative or infinite weights or NaN, wanted weights >= 0")
    if not weight.any():
        raise ValueError("sample_weight is zero in every row, wanted a weight > 0")
    return weight


def seed_of(random_state: Any) -> int:
    """Return the seed that `random_state` stands for: itself, one that it draws, or a new one for None."""
    if random_state is None:
        return secrets.randbelow(LIMIT_SEED)
    if hasattr(random_state, "randint"):  # NumPy's RandomState
        return int(random_state.randint(2**31 - 1))
    return checks.integer("random_state", random_state, 0, LIMIT_SEED)


def dtype_of(X: Any) -> type[np.floating]:
    """Return the type of the numbers of a network for X: float32 where it holds those of X, else float64."""
    return np.float32 if np.result_type(X.dtype, np.float32) == np.float32 else np.float64


def standardization(rows: Batch, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return `input_shift` and `input_scale`, (features,), for inputs of mean 0 and standard deviation 1.

    A feature that is the same in all rows that count is shifted only, and one whose spread is too small for
    `dtype` to scale. Networks shift in the type of X, so that others keep all their digits.
    """
    X, count = rows.inputs, len(rows.targets)
    weight = np.full(count, 1 / count) if rows.weight is None else rows.weight / rows.weight.sum()
    chunks = [slice(row, row + CHUNK_ROWS) for row in range(0, count, CHUNK_ROWS)]
    mean = np.sum([weight[chunk] @ X[chunk] for chunk in chunks], axis=0)
    std = np.sqrt(np.sum([weight[chunk] @ np.square(X[chunk] - mean) for chunk in chunks], axis=0))
    first = X[weight.argmax()]
    same = [((X[chunk] == first) | (weight[chunk, None] == 0)).all(axis=0) for chunk in chunks]
    constant = np.all(same, axis=0) | (std <= np.finfo(dtype).tiny)
    return mean, 1 / np.where(constant, 1, std)


def split(
    rows: Batch, stratified: bool, fraction: float, rng: np.random.Generator
) -> tuple[Batch, Batch]:
    """Return the rows to train on and a fraction to hold out, drawn at random; ValueError if they are few.

    Of targets (rows,) that are labels, `stratified` holds out of each class alike.
    """
    count = len(rows.targets)
    order = rng.permutation(count)
    if stratified and rows.targets.ndim == 1:
        order = order[rows.targets[order].argsort(kind="stable")]
    held_out = np.diff(np.floor(np.arange(count + 1) * fraction + 0.5)) > 0
    parts = _take(rows, order[~held_out]), _take(rows, order[held_out])
    train, hold = (len(p.targets) if p.weight is None else np.count_nonzero(p.weight) for p in parts)
    if train < 1 or hold < 2:  # R² wants two
        parts_are = f"{hold} to hold out, {train} others, wanted two and one at least, with weights > 0"
        raise ValueError(f"validation_fraction is {fraction:g} of {count} rows: {parts_are}")
    return parts


def _take(batch: Batch, rows: np.ndarray) -> Batch:
    weight = None if batch.weight is None else batch.weight[rows]
    return Batch(batch.inputs[rows], batch.targets[rows], weight)
