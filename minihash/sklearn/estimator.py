"""What classifier and regressor share: parameters, training, prediction."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple

import numpy as np

from minihash import checks, frames, terminal
from minihash.builders import mlp
from minihash.datasets.rows import Batch
from minihash.encoding import encode_frame
from minihash.optimizers import SGD, Adam, Optimizer
from minihash.schema import Schema
from minihash.sklearn import inputs
from minihash.sklearn.convergence import Convergence
from minihash.sklearn.installed import (
    BaseEstimator,
    ConvergenceWarning,
    check_array,
    check_is_fitted,
    check_X_y,
    validate_data,
)
from minihash.sources import ClassWeight
from minihash.tasks import LOSS_OF_TASK
from minihash.training import fit

COMPRESSION = 1 / 8  # where nothing is said
BATCH_SIZE = 200  # the same
LIMIT = 2**31


class Plan(NamedTuple):
    """How to train."""

    epochs: int
    batch_size: int
    tol: float
    patience: int
    optimizer: Optimizer


@dataclass(eq=False, repr=False)
class HashedMLP(BaseEstimator):
    """A perceptron of hashed layers; `HashedMLPClassifier` says what its parameters are."""

    hidden_layer_sizes: Any = (100,)
    _: KW_ONLY
    compression: Any = "auto"
    memory_bytes: Any = None
    activation: str = "relu"
    tile: Any = 1
    dropout: Any = 0.0
    standardize: bool = True
    dtype: Any = None
    solver: str = "adam"
    learning_rate_init: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 0.0
    batch_size: Any = "auto"
    max_iter: int = 200
    tol: float = 1e-4
    n_iter_no_change: int = 10
    early_stopping: bool = False
    validation_fraction: float = 0.1
    warm_start: bool = False
    random_state: Any = None
    verbose: bool = False

    _task = ""  # of `tasks.LOSS_OF_TASK`
    _numeric = False  # whether targets are numbers; of classes, rows are held out of each alike

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train for `max_iter` epochs at most, and return the estimator.

        Ctrl-C ends training after the last finished epoch, with a warning; in the first epoch it raises
        KeyboardInterrupt. Where `fit` raises, the estimator stays as it was before, unfitted if it was.

        Parameters
        ----------
        X : (rows, features), an array, a DataFrame, or a sparse matrix, of which a batch at a time is dense.
            Columns of words or categories of a DataFrame become inputs as those of a file do, one a word.
        y : (rows,) or (rows, outputs).
        sample_weight : (rows,), how much each row counts in the mean loss of its batch.

        Raises
        ------
        ValueError for wrong parameters or data; FloatingPointError when training diverges.
        """
        warm = checks.boolean("warm_start", self.warm_start) and hasattr(self, "network_")
        plan = self._plan(self.max_iter)
        with self._all_or_nothing(warm):
            rows, score = self._check(X, y, sample_weight, reset=not warm), None
            if checks.boolean("early_stopping", self.early_stopping):
                rows, score = self._hold_out(rows)
            if not warm:
                self._build(rows)
            self._optimizer = plan.optimizer
            whole = self._train(rows, plan, score)
        return self._trained(whole)

    def _train_once(self, X: Any, y: Any, sample_weight: Any, classes: Any = None) -> Any:
        """Train for one epoch, from where the last one ended, the optimizer included."""
        if self.early_stopping:
            raise ValueError("early_stopping is True, wanted False for partial_fit")
        first, plan = not hasattr(self, "network_"), self._plan(1)
        with self._all_or_nothing(not first):
            rows = self._check(X, y, sample_weight, reset=first, classes=classes)
            if first:
                self._build(rows)
                self._optimizer = plan.optimizer
            self._optimizer.learning_rate = plan.optimizer.learning_rate  # may be set between calls
            whole = self._train(rows, plan)
        return self._trained(whole)

    @contextlib.contextmanager
    def _all_or_nothing(self, goes_on: bool) -> Iterator[None]:
        """Leave the estimator as it was if the block raises; `goes_on`: it trains the network there is."""
        before, changing = dict(vars(self)), ("network_", "_optimizer", "_rng") if goes_on else ()
        copies = copy.deepcopy({name: before[name] for name in changing})
        try:
            yield
        except BaseException:
            self.__dict__ = {**before, **copies}
            raise

    def _trained(self, whole: bool) -> Any:
        """Return the estimator, and say so if its training was interrupted."""
        if not whole:
            warnings.warn("Training interrupted by user.", ConvergenceWarning, stacklevel=3)
        return self

    def _plan(self, epochs: Any) -> Plan:
        """Return how to train: whatever is wrong with it is said before anything changes."""
        auto = isinstance(self.batch_size, str) and checks.choice("batch_size", self.batch_size, ("auto",))
        rate = checks.number("learning_rate_init", self.learning_rate_init, 0, 1e6, open_low=True)
        optimizer: Optimizer = Adam(rate, weight_decay=self.weight_decay)
        if checks.choice("solver", self.solver, ("adam", "sgd")) == "sgd":
            nesterov = checks.number("momentum", self.momentum, 0, 1) > 0
            optimizer = SGD(rate, self.momentum, nesterov, self.weight_decay)
        return Plan(
            checks.integer("max_iter", epochs, 1, LIMIT),
            BATCH_SIZE if auto else checks.integer("batch_size", self.batch_size, 1, LIMIT),
            checks.number("tol", self.tol, 0, 1e30),
            checks.integer("n_iter_no_change", self.n_iter_no_change, 1, LIMIT),
            optimizer,
        )

    def _check(self, X: Any, y: Any, sample_weight: Any, *, reset: bool, classes: Any = None) -> Batch:
        """Return rows as the loss wants them; `reset` learns what they are, and starts the random numbers."""
        X, y = checks.unmasked("X", X), checks.unmasked("y", y)
        if reset:
            self.encoding_, name = inputs.columns_of(X), getattr(y, "name", None)
            self._target_name = name if isinstance(name, str) else "target"
        wanted = {"accept_sparse": "csr", "multi_output": True, "y_numeric": self._numeric}
        X, y = self._validated(X, y, reset=reset, **wanted)
        if reset:
            self._rng = np.random.default_rng(inputs.seed_of(self.random_state))
        targets = self._encode(y.toarray() if inputs.is_sparse(y) else y, reset, classes)
        return Batch(X, targets, inputs.weights(sample_weight, X.shape[0]))

    def _hold_out(self, rows: Batch) -> tuple[Batch, Callable[[], float]]:
        """Return the rows to train on, and what scores the network on the others."""
        fraction = checks.number("validation_fraction", self.validation_fraction, 0, 1)
        train, held_out = inputs.split(rows, not self._numeric, fraction, self._rng)

        def score() -> float:
            outputs = inputs.predict(self.network_, held_out.inputs)
            return self._score(outputs, held_out.targets, held_out.weight)

        return train, score

    def _build(self, rows: Batch) -> None:
        """Make the network."""
        compression = self.compression
        if isinstance(compression, str):
            checks.choice("compression", compression, ("auto",))
            compression = COMPRESSION if self.memory_bytes is None else None
        dtype = inputs.dtype_of(rows.inputs) if self.dtype is None else self.dtype
        dtype = checks.floating_dtype("dtype", dtype)
        standardize = checks.boolean("standardize", self.standardize) and not inputs.is_sparse(rows.inputs)
        shift, scale = inputs.standardization(rows, dtype) if standardize else (0.0, 1.0)
        output_shift, output_scale = self._output_scaling(rows)
        hidden = np.atleast_1d(np.asarray(self.hidden_layer_sizes)).tolist()
        sizes = [checks.integer("hidden_layer_sizes", units, 1, LIMIT) for units in hidden]
        self.network_ = mlp(
            [rows.inputs.shape[1], *sizes, self.n_outputs_],
            compression=compression,
            memory_bytes=self.memory_bytes,
            activation="sigmoid" if self.activation == "logistic" else self.activation,
            dropout=self.dropout,
            seed=int(self._rng.integers(2**32)),
            tile=self.tile,
            input_shift=shift,
            input_scale=scale,
            output_shift=output_shift,
            output_scale=output_scale,
            class_names=getattr(self, "classes_", None),
            dtype=dtype,
        )
        self.network_.schema = self._schema(standardize)
        self.n_layers_ = len(sizes) + 2
        self.loss_curve_: list[float] = []

    def _schema(self, standardized: bool) -> Schema:
        """Return what the network is to know of the data: names, and how words become inputs."""
        names = getattr(self, "feature_names_in_", None)
        names = None if names is None else tuple(map(str, names))
        if not self.encoding_:
            return Schema(self._task, feature_names=names, standardized=standardized)
        return Schema(
            self._task,
            columns=len(self.encoding_) + 1,  # of a file like X, with the target behind
            target=len(self.encoding_),
            header=names is not None,
            feature_names=tuple(name for column in self.encoding_ for name in column.inputs),
            standardized=standardized,
            encoding=self.encoding_,
            target_name=None if self._target_name in (names or ()) else self._target_name,
        )

    def _train(self, rows: Batch, plan: Plan, score: Callable[[], float] | None = None) -> bool:
        """Train the network, and note how it went; False if Ctrl-C ended it, after an epoch at least."""
        say = terminal.say if self.verbose else None
        convergence = Convergence(plan.tol, plan.patience, score, say)
        whole = False
        try:
            fit(
                self.network_,
                inputs.SparseRows(*rows) if inputs.is_sparse(rows.inputs) else rows,
                loss=LOSS_OF_TASK[self._task],
                optimizer=self._optimizer,
                epochs=plan.epochs,
                batch_size=plan.batch_size,
                class_weight=self._class_weights(),
                seed=int(self._rng.integers(2**32)),
                callbacks=[convergence],
                progress=False,
            )
            whole = True
        except KeyboardInterrupt:
            if not convergence.epochs:
                raise
        self.network_.to(self.network_.device)  # forgets the last batch, which pickles would hold
        self.loss_curve_ = self.loss_curve_ + convergence.history["loss"]  # a new list: nothing, or all
        self.n_iter_ = convergence.epochs
        self.loss_, self.best_loss_ = self.loss_curve_[-1], min(self.loss_curve_)
        self.validation_scores_ = convergence.scores if score else None
        self.best_validation_score_ = convergence.best if score else None
        return whole

    def _outputs(self, X: Any) -> np.ndarray:
        """Return the outputs of the network, (rows, outputs)."""
        check_is_fitted(self, "network_")
        X = self._validated(checks.unmasked("X", X), reset=False, accept_sparse="csr")
        return inputs.predict(self.network_, X)

    def _validated(self, X: Any, *y: Any, reset: bool, **wanted: Any) -> Any:
        """Return X, and y if it is given, as arrays: words as inputs of numbers."""
        if not self.encoding_:
            return validate_data(self, X, *y, reset=reset, **wanted)
        if not frames.labels_of(X):
            raise ValueError(f"X is a {type(X).__name__}, wanted a DataFrame with words as in fit")
        validate_data(self, X, reset=reset, skip_check_array=True)  # the names and number of its columns
        encoded = encode_frame("X", X, self.encoding_)
        return check_X_y(encoded, *y, **wanted) if y else check_array(encoded)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # What a subclass knows:

    def _class_weights(self) -> ClassWeight | None:
        return None

    def _output_scaling(self, rows: Batch) -> tuple[Any, Any]:
        """Return the network's `output_shift` and `output_scale`."""
        return 0.0, 1.0

    def _encode(self, y: np.ndarray, reset: bool, classes: Any) -> np.ndarray:
        """Return targets as the loss takes them; `reset` learns what they are, and sets `n_outputs_`."""
        raise NotImplementedError

    def _score(self, outputs: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> float:
        """Return the score of outputs, the larger the better."""
        raise NotImplementedError
