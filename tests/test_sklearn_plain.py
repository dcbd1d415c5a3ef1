"""The stand-ins for scikit-learn: they refuse what scikit-learn refuses, and learn what it learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator as Theirs
from sklearn.utils.validation import validate_data as validate_theirs

from minihash.sklearn.plain import BaseEstimator, RegressorMixin, validate_data

FRAME = pd.DataFrame({"length": [1.0, 2.0], "width": [3.0, 5.0]})


class Mean(RegressorMixin, BaseEstimator):
    """Predicts 1."""

    def predict(self, X: Any) -> np.ndarray:
        return np.ones(len(X))


def fitted(X: Any) -> Any:
    model = Mean()
    validate_data(model, X)
    return model


@pytest.mark.parametrize("X", [FRAME, FRAME.to_numpy(), FRAME.rename(columns={"length": 0, "width": 1})])
def test_names_are_learned_where_all_are_text(X: Any) -> None:
    ours, sklearns = fitted(X), Theirs()
    validate_theirs(sklearns, X)
    assert ours.n_features_in_ == sklearns.n_features_in_ == 2
    names = [getattr(model, "feature_names_in_", np.array([])).tolist() for model in (ours, sklearns)]
    assert names[0] == names[1] == (["length", "width"] if X is FRAME else [])
    validate_data(ours, FRAME)  # learned anew
    assert ours.feature_names_in_.tolist() == ["length", "width"]
    validate_data(ours, FRAME.to_numpy())
    assert not hasattr(ours, "feature_names_in_")


def test_other_names_are_refused() -> None:
    model = fitted(FRAME)
    validate_data(model, FRAME, reset=False)
    validate_data(model, FRAME.to_numpy(), reset=False)  # nobody says what they are
    with pytest.raises(ValueError, match="^X has the feature 'width' in column 0, wanted 'length' as in f"):
        validate_data(model, FRAME[["width", "length"]], reset=False)
    with pytest.raises(ValueError, match="^X has the feature 'depth' in column 1, wanted 'width' as in fit$"):
        validate_data(model, FRAME.rename(columns={"width": "depth"}), reset=False)
    with pytest.raises(ValueError, match="^X has 1 features, wanted 2 as in fit$"):
        validate_data(model, FRAME[["length"]], reset=False)


def test_a_score_does_not_drop_a_mask() -> None:
    y = np.ma.array([1.0, 1.0, 5.0], mask=[False, False, True])
    with pytest.raises(ValueError, match="^y has 1 masked entries, wanted none"):
        Mean().score(np.zeros((3, 1)), y)
    assert Mean().score(np.zeros((2, 1)), y[:2]) == 1
