"""Stand-ins for scikit-learn's base classes and checks where it is not installed: no more than is needed."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from minihash import checks
from minihash.sklearn.inputs import is_sparse
from minihash.sklearn.scores import accuracy, r2


class ConvergenceWarning(UserWarning):
    """Training ended before it was done."""


class NotFittedError(ValueError, AttributeError):
    """An estimator is used before `fit`."""


class BaseEstimator:
    """Parameters that are read, set and shown; a subclass is a dataclass of them."""

    def get_params(self: Any, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments; none of them has any of its own, however deep."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def set_params(self, **params: Any) -> Any:
        """Set parameters by name, and return the estimator."""
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise ValueError(f"parameter is {name!r}, wanted one of {', '.join(sorted(known))}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        default = type(self)().get_params()
        params = [f"{name}={value!r}" for name, value in self.get_params().items()]
        changed = [param for param, name in zip(params, default) if param != f"{name}={default[name]!r}"]
        return f"{type(self).__name__}({', '.join(changed)})"


class ClassifierMixin:
    """The score of a classifier."""

    def score(self: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the fraction of rows, by weight, that are right in all their labels."""
        return accuracy(self.predict(X), checks.array("y", y), sample_weight)


class RegressorMixin:
    """The score of a regressor."""

    def score(self: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R², the mean over outputs."""
        return r2(self.predict(X), checks.array("y", y), sample_weight)


def check_array(X: Any, **others: Any) -> Any:
    """Return X as an array of finite numbers (rows, features)."""
    X = X.tocsr() if is_sparse(X) else np.asarray(X)
    if X.ndim != 2 or 0 in X.shape or X.dtype.kind not in "fiub":
        wanted = "real numbers (rows, features), at least one"
        raise ValueError(f"X has shape {X.shape} ({X.dtype}), wanted {wanted}")
    if not np.isfinite(X.data if is_sparse(X) else X).all():
        raise ValueError("X has NaN or infinity, wanted finite numbers")
    return X


def check_X_y(X: Any, y: Any, **others: Any) -> Any:
    """Return X and y as arrays of as many rows."""
    X, y = check_array(X), y if is_sparse(y) else np.asarray(y)
    if y.shape[:1] != X.shape[:1] or y.ndim not in (1, 2):
        raise ValueError(f"y has shape {y.shape}, wanted {X.shape[0]} rows as X, of one number or several")
    return X, y


def validate_data(
    estimator: Any, X: Any, *y: Any, reset: bool = True, skip_check_array: bool = False, **others: Any
) -> Any:
    """Return X, and y if it is given, as arrays that fit; `reset` learns the features' number and names."""
    _check_names(estimator, X, reset)
    if not skip_check_array:
        X = check_array(X)
    if reset:
        estimator.n_features_in_ = X.shape[1]
    if X.shape[1] != estimator.n_features_in_:
        raise ValueError(f"X has {X.shape[1]} features, wanted {estimator.n_features_in_} as in fit")
    return check_X_y(X, *y) if y else X


def _check_names(estimator: Any, X: Any, reset: bool) -> None:
    """Learn the names of a data frame's columns if all are text; refuse others than those that are known."""
    columns = list(getattr(X, "columns", ()))
    names = columns if all(isinstance(name, str) for name in columns) else []
    known = getattr(estimator, "feature_names_in_", None)
    if reset:
        vars(estimator).pop("feature_names_in_", None)
        if names:
            estimator.feature_names_in_ = np.array(names, object)
    elif names and known is not None and len(names) == len(known):
        for place, (name, wanted) in enumerate(zip(names, known)):
            if name != wanted:
                raise ValueError(f"X has the feature {name!r} in column {place}, wanted {wanted!r} as in fit")


def check_is_fitted(estimator: Any, attribute: str) -> None:
    """Raise NotFittedError if there is no such attribute."""
    if not hasattr(estimator, attribute):
        raise NotFittedError(f"{type(estimator).__name__} is not fitted, wanted fit before")


def check_classification_targets(y: np.ndarray) -> None:
    """Refuse targets with fractions."""
    if y.dtype.kind == "f" and not (y == np.rint(y)).all():
        raise ValueError("y has fractions or NaN, wanted classes")


def column_or_1d(y: np.ndarray, *, warn: bool = False) -> np.ndarray:
    """Return targets (rows,) or (rows, 1) as (rows,)."""
    return y.reshape(len(y))
