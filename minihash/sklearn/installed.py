"""Base classes and checks: scikit-learn's, or plain ones where it is not installed."""

# flake8: noqa: F401
try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_array, check_is_fitted, check_X_y, column_or_1d, validate_data
except ModuleNotFoundError:
    from minihash.sklearn.plain import (
        BaseEstimator,
        ClassifierMixin,
        ConvergenceWarning,
        RegressorMixin,
        check_array,
        check_classification_targets,
        check_is_fitted,
        check_X_y,
        column_or_1d,
        validate_data,
    )
except ImportError as error:  # a name is missing
    raise ImportError(f"minihash.sklearn wants scikit-learn 1.6 or newer: {error}") from None
