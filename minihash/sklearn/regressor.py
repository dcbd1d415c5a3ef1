"""The regressor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minihash.datasets.rows import Batch
from minihash.sklearn import inputs, scores
from minihash.sklearn.estimator import HashedMLP
from minihash.sklearn.installed import RegressorMixin, column_or_1d


@dataclass(eq=False, repr=False)
class HashedMLPRegressor(RegressorMixin, HashedMLP):
    """Regressor with a network of hashed layers: MLPRegressor in a fraction of its memory.

    It minimises the mean squared error (losses.mean_squared_error), with `standardize` that of standardised
    targets, which `loss_curve_`, `loss_` and `tol` are of then.

    Parameters
    ----------
    hidden_layer_sizes, … : as in HashedMLPClassifier; there is no `class_weight`.
    standardize : features, as there, and the targets too, those of sparse X among them: each output of the
        network is trained on mean 0 and standard deviation 1 over the training rows, and predictions are in
        y's units. A target that is the same in all rows is shifted only.

    Attributes
    ----------
    network_, … : as there, without `classes_`; its `predict` returns what this one does (rows, outputs).
        `validation_scores_` are R².
    """

    _task = "regression"
    _numeric = True

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train for one epoch on these rows, going on from the last call, and return the estimator.

        X, y, sample_weight : as in `fit`; `standardize` looks at the rows of the first call only.
        """
        return self._train_once(X, y, sample_weight)

    def predict(self, X: Any) -> np.ndarray:
        """Return the predicted targets, (rows,) or (rows, outputs), for X (rows, features)."""
        outputs = self._outputs(X)
        return outputs[:, 0] if self.n_outputs_ == 1 else outputs

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R², the mean over outputs."""
        return super().score(X, *inputs.unmasked(y, sample_weight))

    def _encode(self, y: np.ndarray, reset: bool, classes: Any) -> np.ndarray:
        outputs = 1 if y.ndim == 1 else y.shape[1]
        if reset:
            self.n_outputs_ = outputs
        if outputs != self.n_outputs_:
            raise ValueError(f"y has {outputs} outputs, wanted {self.n_outputs_} as before")
        return (column_or_1d(y, warn=True) if outputs == 1 else y).astype(np.float64)

    def _output_scaling(self, rows: Batch) -> tuple[Any, Any]:
        if not self.standardize:
            return 0.0, 1.0
        targets = rows.targets.reshape(len(rows.targets), -1)
        shift, scale = inputs.standardization(Batch(targets, targets, rows.weight), np.float64)
        return np.squeeze(shift), np.squeeze(1 / scale)  # plain numbers of one output

    def _score(self, outputs: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> float:
        return scores.r2(outputs, targets, weight)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
