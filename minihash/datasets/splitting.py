"""Which rows of a file are trained on, which are chosen by, and which are reported."""

from __future__ import annotations

import numpy as np

from minihash import checks
from minihash.hashing import xxhash32
from minihash.schema import Split

TRAIN, VALIDATION, TEST = 0, 1, 2
MAX_TEST = 500_000  # rows to test on by default, as is usual for HIGGS


def split(rows: int, labels: np.ndarray | None, plan: Split) -> np.ndarray:
    """Return the part of each row, (rows,) uint8: TRAIN, VALIDATION or TEST.

    Shuffled rows are in the order of XXH32 of their number and the seed: the same everywhere.

    Parameters
    ----------
    rows : of the file.
    labels : (rows,), the class of each, so that every part has its share of each class; None: numbers.
    plan : how.

    Raises
    ------
    ValueError if more are wanted than there are.
    """
    share = min(rows // 10, MAX_TEST)
    test = checks.integer("test", share if plan.test is None else plan.test, 0, rows)
    validation = share if plan.validation is None else plan.validation
    validation = checks.integer("validation", validation, 0, rows - test)
    parts = np.zeros(rows, np.uint8)
    if plan.how == "last":
        parts[rows - test - validation :] = VALIDATION
        parts[rows - test :] = TEST
        return parts
    order = np.argsort(xxhash32(np.arange(rows, dtype=np.uint32), 0, plan.seed), kind="stable")
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    chosen = _every(order, test)
    parts[order[chosen]] = TEST
    order = order[~chosen]
    parts[order[_every(order, validation)]] = VALIDATION
    return parts


def _every(order: np.ndarray, count: int) -> np.ndarray:
    """Tell which places of an order are taken, so many of all and as many of each stretch as its share."""
    ends = np.arange(len(order) + 1, dtype=np.int64) * count // max(1, len(order))
    return np.diff(ends) > 0


def missing_classes(parts: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> list[str]:
    """Return a sentence for each part, of those with rows, that lacks classes."""
    sentences = []
    for part, called in ((TRAIN, "training"), (VALIDATION, "validation"), (TEST, "test")):
        own = labels[parts == part]
        lacking = sorted(set(range(len(names))) - set(np.unique(own).astype(int).tolist()))
        if len(own) and lacking:
            first = ", ".join(names[label] for label in lacking[:10]) + ", …" * (len(lacking) > 10)
            sentences.append(f"warning: no {called} row is of the class{'es' * (len(lacking) > 1)} {first}")
    return sentences
