"""minihash.sklearn in scikit-learn: its own checks, and what estimators are used with."""

from __future__ import annotations

import copy
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from minihash.sklearn import HashedMLPClassifier, HashedMLPRegressor

WINE, CULTIVAR = load_wine(return_X_y=True)
FRAME = load_wine(as_frame=True).data
CANCER, BENIGN = load_breast_cancer(return_X_y=True)
DIABETES, PROGRESSION = load_diabetes(return_X_y=True, scaled=False)
FEW: dict[str, Any] = {"max_iter": 20, "random_state": 0, "learning_rate_init": 0.01}


def same_weights(one: Any, other: Any) -> bool:
    ours, theirs = one.network_.params, other.network_.params
    return ours.keys() == theirs.keys() and all((ours[name] == theirs[name]).all() for name in ours)


def python(code: str, **environment: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    assert found.returncode == 0, found.stderr
    return found.stdout


# its own checks

ARRAY_API = "check_array_api_input"  # is skipped unless a variable was set before SciPy was imported


@pytest.mark.slow
@parametrize_with_checks([HashedMLPClassifier(), HashedMLPRegressor()])
@pytest.mark.filterwarnings("default")
def test_checks(estimator: Any, check: Any) -> None:
    if check.func.__name__ != ARRAY_API:
        check(estimator)


@pytest.mark.slow
def test_check_of_the_array_api() -> None:
    code = f"""
from sklearn.utils.estimator_checks import {ARRAY_API}
from minihash.sklearn import HashedMLPClassifier, HashedMLPRegressor
for estimator in (HashedMLPClassifier(max_iter=5), HashedMLPRegressor(max_iter=5)):
    {ARRAY_API}(type(estimator).__name__, estimator, array_namespace="numpy")
"""
    python(code, SCIPY_ARRAY_API="1")


# without scikit-learn

ABSENT = """
import sys
sys.modules["sklearn"] = None
import copy, pickle
import numpy as np
from scipy.sparse import csr_array
from minihash.sklearn import HashedMLPClassifier, HashedMLPRegressor

rng = np.random.default_rng(0)
X = rng.normal(size=(90, 3))
y = np.array(["low", "middle", "high"])[np.digitize(X[:, 0], [-0.5, 0.5])]
model = HashedMLPClassifier(compression=None, learning_rate_init=0.01, random_state=0)
print(model)
assert model.set_params(max_iter=60) is model and model.get_params()["max_iter"] == 60
twin = type(model)(**model.get_params())
try:
    model.predict(X)
    raise SystemExit("it predicts before fit")
except ValueError as error:
    print(error)
assert model.fit(X, y) is model and model.score(X, y) > 0.9 and model.n_features_in_ == 3
assert (twin.fit(X, y).predict_proba(X) == model.predict_proba(X)).all()
assert (pickle.loads(pickle.dumps(model)).predict(X) == model.predict(X)).all()
assert (copy.deepcopy(model).predict(X) == model.predict(X)).all()
assert (model.predict(csr_array(X)) == model.predict(X)).all()
indicator = np.stack([X[:, 0] > 0, X[:, 1] > 0], axis=1)
assert model.fit(X, indicator).score(X, indicator) > 0.8
regressor = HashedMLPRegressor(learning_rate_init=0.01, random_state=0, early_stopping=True)
assert regressor.fit(X, X[:, :1], np.ones(90)).score(X, X[:, 0]) > 0.8
regressor.set_params(early_stopping=False).partial_fit(csr_array(X), X[:, 0])
with_nan = np.where(X > 2, np.nan, X)
for arguments in [(X[:, 0], y), (with_nan, y), (X, y[1:]), (X[:, :2], y), (X, X[:, 0]), (X, None)]:
    try:
        HashedMLPClassifier(warm_start=True).fit(*arguments)
        print("fitted")
    except ValueError as error:
        print(error)
try:
    model.predict(X[:, :2])
except ValueError as error:
    print(error)
try:
    model.set_params(alpha=1)
except ValueError as error:
    print(error)
assert not any(name.startswith("sklearn.") for name in sys.modules)
"""


@pytest.mark.slow
def test_without_scikit_learn() -> None:
    lines = python(ABSENT).splitlines()
    assert lines == [
        "HashedMLPClassifier(compression=None, learning_rate_init=0.01, random_state=0)",
        "HashedMLPClassifier is not fitted, wanted fit before",
        "X has shape (90,) (float64), wanted real numbers (rows, features), at least one",
        "X has NaN or infinity, wanted finite numbers",
        "y has shape (89,), wanted 90 rows as X, of one number or several",
        "fitted",
        "y has fractions or NaN, wanted classes",
        "y has shape (), wanted 90 rows as X, of one number or several",
        "X has 2 features, wanted 3 as in fit",
        "parameter is 'alpha', wanted one of " + ", ".join(sorted(HashedMLPClassifier().get_params())),
    ]


def test_the_parameters_are_the_same_without_scikit_learn() -> None:
    for kind in (HashedMLPClassifier, HashedMLPRegressor):
        imports = f"import sys; sys.modules['sklearn'] = None; from minihash.sklearn import {kind.__name__}"
        assert eval(python(f"{imports}; print({kind.__name__}().get_params())")) == kind().get_params()


def test_minihash_is_imported_without_scikit_learn() -> None:
    python("import sys; from minihash import *; import minihash.cli; assert 'sklearn' not in sys.modules")


@pytest.mark.slow
def test_an_old_scikit_learn_is_refused() -> None:
    code = """
import sklearn.utils.validation
del sklearn.utils.validation.validate_data
try:
    import minihash.sklearn
except ImportError as error:
    print(error)
"""
    assert python(code).startswith("minihash.sklearn wants scikit-learn 1.6 or newer: cannot import name")


# what it is used with


def test_pipeline_of_a_data_frame() -> None:
    frame = FRAME.assign(region=np.where(FRAME["ash"] > 2.3, "north", "south"))
    columns = ColumnTransformer([("region", OneHotEncoder(), ["region"])], remainder="passthrough")
    model = make_pipeline(columns, HashedMLPClassifier(**FEW)).fit(frame, CULTIVAR)
    assert model.score(frame, CULTIVAR) > 0.95


def test_names_of_features() -> None:
    model = HashedMLPClassifier(**FEW).fit(FRAME, CULTIVAR)
    assert list(model.feature_names_in_) == list(FRAME.columns) and model.n_features_in_ == 13
    assert (model.predict(FRAME) == model.predict(FRAME.astype(object))).all()
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(FRAME[FRAME.columns[::-1]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(WINE)


def test_set_output_names_the_features() -> None:
    model = make_pipeline(StandardScaler(), HashedMLPClassifier(**FEW)).set_output(transform="pandas")
    model.fit(FRAME, CULTIVAR)
    assert list(model[-1].feature_names_in_) == list(FRAME.columns)


@pytest.mark.slow
def test_grid_search_in_two_processes() -> None:
    grid = {"compression": [1 / 64, 1 / 2], "hidden_layer_sizes": [(20,), 8]}
    search = GridSearchCV(HashedMLPClassifier(**FEW), grid, cv=2, n_jobs=2).fit(WINE, CULTIVAR)
    assert search.best_score_ > 0.8 and search.best_params_["compression"] == 1 / 2
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    alone = clone(search.best_estimator_).fit(WINE, CULTIVAR)  # a process changes no bit
    assert same_weights(alone, search.best_estimator_)


def test_cross_val_score() -> None:
    assert cross_val_score(HashedMLPClassifier(**FEW), CANCER, BENIGN, cv=3, scoring="roc_auc").min() > 0.95
    target = TransformedTargetRegressor(HashedMLPRegressor(**FEW), transformer=StandardScaler())
    assert cross_val_score(target, DIABETES, PROGRESSION, cv=3).min() > 0.3


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibrated(method: str) -> None:
    model = CalibratedClassifierCV(HashedMLPClassifier(**FEW), method=method, cv=3).fit(CANCER, BENIGN)
    assert model.score(CANCER, BENIGN) > 0.95
    wine = CalibratedClassifierCV(HashedMLPClassifier(**FEW), method=method, cv=2).fit(WINE, CULTIVAR)
    assert wine.score(WINE, CULTIVAR) > 0.95


def test_stacked() -> None:
    linear = make_pipeline(StandardScaler(), LogisticRegression())
    model = StackingClassifier([("hashed", HashedMLPClassifier(**FEW)), ("linear", linear)], cv=3)
    assert model.fit(WINE, CULTIVAR).score(WINE, CULTIVAR) > 0.95


def test_weights_are_routed() -> None:
    rows = CANCER[:200], BENIGN[:200]
    weight = np.where(BENIGN[:200] == 1, 1e-6, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        model = HashedMLPClassifier(**FEW).set_partial_fit_request(classes=True, sample_weight=True)
        model.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scaled = make_pipeline(StandardScaler().set_fit_request(sample_weight=True), clone(model))
        assert (scaled.fit(*rows, sample_weight=weight).predict(CANCER) == 0).mean() > 0.9
        found = cross_validate(model, *rows, params={"sample_weight": weight}, cv=2, return_estimator=True)
        assert all((fold.predict(CANCER) == 0).mean() > 0.9 for fold in found["estimator"])
        search = GridSearchCV(model, {"compression": [1.0]}, cv=2).fit(*rows, sample_weight=weight)
        assert (search.predict(CANCER) == 0).mean() > 0.9
        with pytest.raises(ValueError, match="sample_weight.* are passed but are not explicitly set"):
            GridSearchCV(HashedMLPClassifier(**FEW), {"compression": [1.0]}).fit(*rows, sample_weight=weight)


def test_html_and_repr() -> None:
    model = HashedMLPClassifier((8, 4), compression=1 / 2)
    assert repr(model) == "HashedMLPClassifier(compression=0.5, hidden_layer_sizes=(8, 4))"
    assert "HashedMLPClassifier" in model._repr_html_()


def copies(model: Any) -> Iterator[Any]:
    """The same by pickle, joblib and deepcopy."""
    yield pickle.loads(pickle.dumps(model))
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    yield joblib.load(file)
    yield copy.deepcopy(model)


@pytest.mark.parametrize("params", [{}, {"tile": "auto", "dropout": 0.2, "solver": "sgd"}])
def test_copies_equal_the_original_and_go_on_like_it(params: dict[str, Any]) -> None:
    model = HashedMLPClassifier(**FEW, **params).fit(WINE, CULTIVAR)
    for twin in copies(model):
        assert (twin.predict_proba(WINE) == model.predict_proba(WINE)).all()
        twin.partial_fit(WINE, CULTIVAR)
        assert same_weights(twin, copy.deepcopy(model).partial_fit(WINE, CULTIVAR))
        assert not same_weights(twin, model)
    unfitted = clone(model)
    assert not hasattr(unfitted, "network_") and same_weights(unfitted.fit(WINE, CULTIVAR), model)


@pytest.mark.parametrize("tile", [1, "auto"])
def test_pickles_hold_no_rows(tile: Any) -> None:
    X = np.random.default_rng(0).normal(size=(400, 1000))
    model = HashedMLPClassifier((200,), tile=tile, max_iter=1, compression=1 / 64).fit(X, X[:, 0] > 0)
    assert model.network_.layers[0].matrix.shares == (tile == "auto")  # which keeps inputs in another order
    assert len(pickle.dumps(model)) < X[:20].nbytes


def test_a_data_frame_of_targets() -> None:
    model = HashedMLPRegressor(**FEW).fit(FRAME, pd.DataFrame({"a": WINE[:, 0] / 13, "b": WINE[:, 1]}))
    assert model.predict(FRAME).shape == (178, 2) and model.n_outputs_ == 2
