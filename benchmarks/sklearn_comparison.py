"""Compare HashedMLPClassifier with scikit-learn's MLPClassifier on three of its data sets.

    python -m benchmarks.sklearn_comparison [--repeats 3] [--hidden 100]

Five folds, drawn anew for each repeat, the same for all sides; features standardised by each training fold.
Every setting is the default, which both share, but `max_iter`: training ends where the loss no longer falls.
Error: mean and standard deviation over all folds. Seconds: of the processor, the median of all fits, on one
thread. Stored bytes are weights and biases; a pickle has the optimizer's memory too. Prints Markdown.
"""

from __future__ import annotations

import argparse
import pickle
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from benchmarks.machine import machine
from benchmarks.tables import markdown
from minihash.kernels import threads
from minihash.size_matching import dense_size, dense_sizes
from minihash.sklearn import HashedMLPClassifier

DATA_SETS: dict[str, Callable[..., Any]] = {
    "digits": load_digits,
    "breast cancer": load_breast_cancer,
    "wine": load_wine,
}
COMPRESSION = 1 / 8
EPOCHS = 1000
HEADER = ("data", "classifier", "sizes", "error (%)", "fit (s)", "epochs", "stored (bytes)", "pickle (bytes)")


def sides(sizes: list[int]) -> dict[str, tuple[Any, list[int]]]:
    """Return what is compared, unfitted, and its layers."""
    hidden, budget = sizes[1:-1], round(COMPRESSION * dense_size(sizes))
    matched = dense_sizes(sizes, budget)
    wide = [4 * units for units in hidden]
    hashed = {"compression": COMPRESSION, "max_iter": EPOCHS}
    return {
        "MLPClassifier": (MLPClassifier(hidden, max_iter=EPOCHS), sizes),
        "MLPClassifier of the hashed size": (MLPClassifier(matched[1:-1], max_iter=EPOCHS), matched),
        "hashed, 1/8": (HashedMLPClassifier(hidden, **hashed), sizes),
        "hashed, 4 × the units, the same bytes": (
            HashedMLPClassifier(wide, memory_bytes=8 * budget, max_iter=EPOCHS),
            [sizes[0], *wide, sizes[-1]],
        ),
        "hashed, 1/8, tiles": (HashedMLPClassifier(hidden, tile="auto", **hashed), sizes),
        "hashed, 1/8, float32": (HashedMLPClassifier(hidden, dtype="float32", **hashed), sizes),
        "HashedMLPClassifier, dense": (HashedMLPClassifier(hidden, compression=None, max_iter=EPOCHS), sizes),
    }


def stored_bytes(model: Any) -> int:
    if isinstance(model, MLPClassifier):
        return sum(array.nbytes for array in (*model.coefs_, *model.intercepts_))
    return model.network_.nbytes


def measure(model: Any, X: np.ndarray, y: np.ndarray, repeats: int) -> tuple[str, ...]:
    """Return the cells of a side: error, seconds, epochs, bytes."""
    errors, seconds, epochs = [], [], []
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=repeats, random_state=0)
    for seed, (train, test) in enumerate(folds.split(X, y)):
        scaler = StandardScaler().fit(X[train])
        model.set_params(random_state=seed)
        start = time.process_time()
        model.fit(scaler.transform(X[train]), y[train])
        seconds.append(time.process_time() - start)
        errors.append(100 * (1 - model.score(scaler.transform(X[test]), y[test])))
        epochs.append(model.n_iter_)
    return (
        f"{np.mean(errors):.2f} ± {np.std(errors, ddof=1):.2f}",
        f"{statistics.median(seconds):.2f}",
        f"{statistics.median(epochs):.0f}",
        f"{stored_bytes(model):,}",
        f"{len(pickle.dumps(model)):,}",
    )


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--repeats", type=int, default=3, help="times five folds (3)")
    parser.add_argument("--hidden", type=int, nargs="+", default=[100], help="hidden units (100)")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    threads.set_num_threads(1)
    rows = []
    with threadpool_limits(1):
        for name, load in DATA_SETS.items():
            X, y = load(return_X_y=True)
            classes = len(np.unique(y))
            full = [X.shape[1], *arguments.hidden, 1 if classes == 2 else classes]
            for side, (model, sizes) in sides(full).items():
                model.fit(X[:20], np.arange(20) % classes)  # compile
                found = measure(model, X, y, arguments.repeats)
                print(time.strftime("%X"), name, side, *found, file=sys.stderr, flush=True)
                rows.append((name, side, "-".join(map(str, sizes)), *found))
    where = machine()
    versions = ", ".join(f"{package} {version}" for package, version in where["versions"].items())
    print(f"{where['date']}, {where['processor']}, {versions}, scikit-learn {sklearn.__version__}\n")
    print(markdown(HEADER, rows))


if __name__ == "__main__":
    main()
