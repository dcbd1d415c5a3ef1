"""The classifier."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from minihash import losses
from minihash.sklearn import inputs, scores
from minihash.sklearn.estimator import HashedMLP
from minihash.sklearn.installed import ClassifierMixin, check_classification_targets, column_or_1d
from minihash.sources import ClassWeight
from minihash.text import listed


@dataclass(eq=False, repr=False)
class HashedMLPClassifier(ClassifierMixin, HashedMLP):
    """Classifier with a network of hashed layers: MLPClassifier in a fraction of its memory.

    Two classes have one output and a sigmoid, more have a softmax; of an indicator matrix (rows, labels)
    every label has a sigmoid of its own. The same `random_state`, data and versions give the same weights to
    the last bit, whatever the number of threads.

    Parameters
    ----------
    hidden_layer_sizes : units of each hidden layer, (100,) or 100; () is a linear model.
    compression : stored / virtual weights of every layer, in (0, 1]; "auto" is 1/8, unless `memory_bytes` is
        given; None is a dense network.
    memory_bytes : instead, the bytes of all stored weights, at most.
    activation : "relu", "tanh" or "logistic", which is also called "sigmoid".
    tile : weights of a tile, or "auto"; 1 is the paper's map. As in `HashedLinear`.
    dropout : rate before every layer but the first, or (rate of the inputs, rate of the others).
    standardize : shift and scale features to mean 0 and standard deviation 1 over the training rows; it is
        saved in the network, which takes raw data. Sparse X is never shifted nor scaled.
    dtype : of the weights, "float32" or "float64"; None takes float64 where float32 does not hold the numbers
        of X, as scikit-learn does: twice the bytes.
    solver : "adam", or "sgd" with Nesterov's momentum.
    learning_rate_init : learning rate, which stays the same.
    momentum : of "sgd".
    weight_decay : λ of the penalty λ/2 · ‖w‖² of the stored weights.
    batch_size : rows a step; "auto" is 200.
    max_iter : epochs at most.
    tol, n_iter_no_change : training stops when for more than `n_iter_no_change` epochs the loss has not
        fallen by more than `tol`, or with `early_stopping` the score not risen.
    early_stopping : hold out `validation_fraction` of the rows, of each class alike, and keep the weights of
        the epoch with the best score on them.
    validation_fraction : between 0 and 1.
    warm_start : let `fit` go on with the network that is there, with a new optimizer.
    random_state : of weights, shuffling and rows held out: an integer below 2³², a RandomState, which is
        drawn from at each start, or None, a new seed from the operating system.
    verbose : print a line an epoch.
    class_weight : how much the rows of a class count: {class: weight}, 1 for those that are not there, or
        "balanced", all classes the same. Not for several labels.

    Attributes
    ----------
    network_ : the `Network`, whose outputs are logits; `minihash.save(model.network_, path)`.
    classes_ : (classes,), sorted; of an indicator matrix the numbers of its columns.
    n_features_in_, feature_names_in_ : of X; names where X is a DataFrame.
    encoding_ : the columns (`minihash.encoding.Column`) of a DataFrame with words; else None.
    n_outputs_, n_layers_ : units of the last layer, and layers with that of the inputs.
    n_iter_ : epochs of the last call of `fit` or `partial_fit`.
    loss_curve_, loss_, best_loss_ : the mean loss of each epoch since the start, the last and the least one.
    validation_scores_, best_validation_score_ : accuracy of each epoch, with `early_stopping`; else None.
    """

    _: KW_ONLY
    class_weight: Any = None

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Any:
        """Train for one epoch on these rows, going on from the last call, and return the estimator.

        Parameters
        ----------
        X, y, sample_weight : as in `fit`; `standardize` looks at the rows of the first call only.
        classes : all that will come, wanted in the first call unless y is an indicator matrix.
        """
        if classes is None and not hasattr(self, "network_") and np.ndim(y) < 2:
            raise ValueError("classes is None, wanted all classes in the first call of partial_fit")
        if isinstance(self.class_weight, str):
            raise ValueError(f"class_weight is {self.class_weight!r}, wanted weights or None for partial_fit")
        return self._train_once(X, y, sample_weight, classes)

    def predict(self, X: Any) -> np.ndarray:
        """Return the likeliest class of each row, (rows,), or an indicator matrix, for X (rows, features)."""
        outputs = self._outputs(X)  # refuses an estimator that is not fitted
        decided = losses.of_task(self._task).decide(outputs)
        return decided if self._multilabel else self.classes_[decided]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the fraction of rows, by weight, that are right in all their labels."""
        return super().score(X, *inputs.unmasked(y, sample_weight))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, (rows, classes), for X (rows, features).

        Those of a row sum to 1, but of an indicator's labels each has its own.
        """
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithms of `predict_proba`, which are finite where that is 0."""
        from scipy.special import log_expit, log_softmax

        outputs = self._outputs(X)
        if self._task == "classification":
            return log_softmax(outputs, axis=1)
        return log_expit(outputs if self._multilabel else np.hstack([-outputs, outputs]))

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the logits of X (rows, features): of two classes (rows,), positive for the second."""
        outputs = self._outputs(X)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    @property
    def _multilabel(self) -> bool:
        return self._task == "multilabel"

    @property
    def _places(self) -> dict[Any, int]:
        """The place of each class."""
        return {label: place for place, label in enumerate(self.classes_.tolist())}

    def _encode(self, y: np.ndarray, reset: bool, classes: Any) -> np.ndarray:
        indicator = y.ndim == 2 and y.shape[1] > 1
        if indicator and not np.isin(y, (0, 1)).all():
            raise ValueError(f"y has {y.shape[1]} columns and not only 0 and 1, wanted an indicator matrix")
        if not indicator:
            y = column_or_1d(y, warn=True)
            check_classification_targets(y)
        if reset:
            given = y if classes is None else classes
            self._learn_classes(np.arange(y.shape[1]) if indicator else given, indicator)
        if indicator != self._multilabel or (indicator and y.shape[1] != self.n_outputs_):
            wanted = f"(rows, {self.n_outputs_})" if self._multilabel else "(rows,)"
            raise ValueError(f"y has shape {y.shape}, wanted {wanted} as before")
        return y if indicator else self._encode_labels(y, classes)

    def _learn_classes(self, classes: Any, indicator: bool) -> None:
        self.classes_ = np.unique(classes)
        count = len(self.classes_)
        if count < 2:
            raise ValueError(f"y has {count} class, wanted two classes at least")
        self._task = "multilabel" if indicator else "classification" if count > 2 else "binary"
        self.n_outputs_ = 1 if self._task == "binary" else count

    def _encode_labels(self, y: np.ndarray, classes: Any) -> np.ndarray:
        """Return the place of each label in `classes_`."""
        if classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            wanted = f"{listed(self.classes_.tolist())} as in the first call, or None"
            raise ValueError(f"classes is {listed(np.unique(classes).tolist())}, wanted {wanted}")
        place_of, (labels, places) = self._places, np.unique(y, return_inverse=True)
        unknown = [label for label in labels.tolist() if label not in place_of]
        if unknown:
            wanted = f"one of classes_ ({listed(self.classes_.tolist())})"
            raise ValueError(f"y has the class {unknown[0]!r}, wanted {wanted}")
        return np.array([place_of[label] for label in labels.tolist()])[places]

    def _class_weights(self) -> ClassWeight | None:
        given, place_of = self.class_weight, self._places
        if given is not None and self._multilabel:
            raise ValueError(f"class_weight is {given!r}, wanted None for an indicator matrix")
        if given is None or isinstance(given, str):
            return given
        unknown = [label for label in given if label not in place_of]
        if unknown and not place_of.keys() <= given.keys():  # a fold may lack a class
            wanted = f"one of classes_ ({listed(self.classes_.tolist())})"
            raise ValueError(f"class_weight is of {unknown[0]!r}, wanted {wanted}")
        return {place: given.get(label, 1) for label, place in place_of.items()}

    def _score(self, outputs: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> float:
        return scores.accuracy(losses.of_task(self._task).decide(outputs), targets, weight)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
