"""What a network says of rows: numbers, probabilities of classes, labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihash import losses
from minihash.losses import Loss


class Predictions:
    """What is read from the outputs of a network, which has a `task`, `class_names` and `predict`."""

    task: Any
    class_names: tuple[str, ...] | None

    def predict(self, inputs: Any) -> np.ndarray:
        """Return the outputs."""
        raise NotImplementedError

    def __call__(self, inputs: Any) -> np.ndarray:
        """Return `predict(inputs)`."""
        return self.predict(inputs)

    def predict_proba(self, inputs: Any) -> np.ndarray:
        """Return the probability of each class, (rows, classes), for any number of rows.

        A network with one output for yes and no has two classes. Where a row may have several labels, each
        has a probability of its own.

        Raises
        ------
        ValueError as `predict`, and where the network is not known to be a classifier.

        Examples
        --------
        >>> from minihash import fit, mlp
        >>> inputs, words = np.array([[-2.0], [-1.0], [1.0], [2.0]]), ["low", "low", "high", "high"]
        >>> network = mlp([1, 1], class_names=["low", "high"])
        >>> history = fit(network, (inputs, words), optimizer="sgd", learning_rate=1.0)
        >>> network.predict_labels([[-3.0], [3.0]])
        array(['low', 'high'], dtype='<U4')
        >>> network.predict_proba([[-3.0], [3.0]]).round()
        array([[1., 0.],
               [0., 1.]], dtype=float32)
        """
        return self._read_by("predict_proba").probabilities(self.predict(inputs))

    def predict_labels(self, inputs: Any) -> np.ndarray:
        """Return the likeliest class of each row, (rows,): its name, or where there are none its number.

        Where a row may have several labels, (rows, labels) integers: 1 for those that are likelier than not.

        Raises
        ------
        ValueError as `predict_proba`.
        """
        decided = self._read_by("predict_labels").decide(self.predict(inputs))
        named = self.class_names is not None and decided.ndim == 1
        return np.array(self.class_names)[decided] if named else decided

    def _read_by(self, method: str) -> Loss:
        """Return the loss of a classifier's task, which knows what its outputs say; refuse other networks."""
        if self.task and (loss := losses.of_task(self.task)).classifies:
            return loss
        wanted = "predict" if self.task else "a network that `fit` has trained, or class_names"
        given = f"{method} is for classifiers, and the network's task is {self.task!r}"
        raise ValueError(f"{given}, wanted {wanted}")
