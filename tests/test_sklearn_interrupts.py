"""Estimators that are interrupted or fail: fitted as far as they came, or as they were; never half."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from minihash.optimizers import SGD, Adam
from minihash.sklearn import HashedMLPClassifier, HashedMLPRegressor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 4))
LABELS, TARGETS = (X[:, 0] + RNG.normal(size=120) > 0) * 1, X @ np.arange(4.0)
STEPS = 3  # of an epoch
ENDLESS: dict[str, Any] = {"max_iter": 10**6, "tol": 0.0, "n_iter_no_change": 10**6}


def classifier(**params: Any) -> Any:
    options = {"batch_size": 40, "random_state": 0, "dropout": 0.2, "learning_rate_init": 0.02, **params}
    return HashedMLPClassifier(8, **options)


def regressor(**params: Any) -> Any:
    return HashedMLPRegressor(8, **{"batch_size": 40, "random_state": 0, "dropout": 0.2, **params})


@pytest.fixture
def fail_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, BaseException], None]:
    """Let the optimizer raise an error in a step, from 0, when half of the weights have moved."""

    def fail(step: int, error: BaseException) -> None:
        for kind in (Adam, SGD):
            monkeypatch.setattr(kind, "step", _failing(kind.step, step, error))

    return fail


def _failing(step: Callable[..., None], left: int, error: BaseException) -> Callable[..., None]:
    def half(self: Any, params: Any, grads: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            next(iter(params.values()))[:] += 1
            raise error
        step(self, params, grads)

    return half


def weights(model: Any) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in model.network_.params.items()}


def check_whole(model: Any, calls: int = 1) -> None:
    """All that `fit` notes is there, and says the same."""
    assert len(model.loss_curve_) == model.n_iter_ * calls > 0
    assert model.loss_ == model.loss_curve_[-1] and model.best_loss_ == min(model.loss_curve_)
    if model.early_stopping:
        assert len(model.validation_scores_) == model.n_iter_
        assert model.best_validation_score_ == max(model.validation_scores_)
    model.predict(X)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("make, y", [(classifier, LABELS), (regressor, TARGETS)])
def test_ctrl_c_leaves_what_was_finished(make: Any, y: Any, early_stopping: bool, fail_in: Any) -> None:
    expected = make(max_iter=4, early_stopping=early_stopping).fit(X, y)
    fail_in(4 * STEPS + 1, KeyboardInterrupt())
    model = make(early_stopping=early_stopping, **ENDLESS)
    with pytest.warns(ConvergenceWarning, match="^Training interrupted by user.$"):
        assert model.fit(X, y) is model
    check_whole(model)
    assert model.n_iter_ == 4 and model.loss_curve_ == expected.loss_curve_
    for name, array in weights(expected).items():
        np.testing.assert_array_equal(model.network_.params[name], array)
    assert model.validation_scores_ == expected.validation_scores_


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), FloatingPointError("bad")])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_first_fit_that_fails_leaves_it_unfitted(method: str, error: Any, fail_in: Any) -> None:
    model = classifier()
    before = dict(vars(model))
    fail_in(STEPS - 1, error)
    with pytest.raises(type(error)):
        getattr(model, method)(X, LABELS, **({"classes": [0, 1]} if method == "partial_fit" else {}))
    assert vars(model) == before and not hasattr(model, "network_")


@pytest.mark.parametrize("error", [MemoryError(), FloatingPointError("bad")])
def test_a_failed_fit_after_epochs_leaves_it_unfitted(error: Any, fail_in: Any) -> None:
    model = classifier()
    fail_in(4 * STEPS + 1, error)
    with pytest.raises(type(error)):
        model.fit(X, LABELS)
    assert not hasattr(model, "network_") and not hasattr(model, "n_features_in_")


def test_a_failed_fit_leaves_the_one_before(fail_in: Any) -> None:
    model = classifier(max_iter=2).fit(X, LABELS)
    before, network = dict(vars(model)), model.network_
    with pytest.raises(ValueError, match="y has 1 class"):
        model.fit(X[:, :2], np.zeros(120))
    fail_in(STEPS, MemoryError())
    with pytest.raises(MemoryError):
        model.fit(X[:, :3], LABELS + 5)
    assert vars(model) == before and model.network_ is network
    check_whole(model)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("step", [0, 1, STEPS - 1])
def test_what_goes_on_is_as_if_a_failed_call_had_never_been(
    method: str, step: int, solver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = {"max_iter": 2, "warm_start": True, "solver": solver}
    whole, failed = classifier(**params), classifier(**params)
    for model in (whole, failed):
        model.fit(X, LABELS)
    with monkeypatch.context() as patch:
        for kind in (Adam, SGD):
            patch.setattr(kind, "step", _failing(kind.step, step, MemoryError()))
        with pytest.raises(MemoryError):
            getattr(failed, method)(X, LABELS)
    assert failed.loss_curve_ == whole.loss_curve_ and (failed.predict(X) == whole.predict(X)).all()
    for model in (whole, failed):
        getattr(model, method)(X, LABELS)
    assert failed.loss_curve_ == whole.loss_curve_
    for name, array in weights(whole).items():
        np.testing.assert_array_equal(failed.network_.params[name], array)


def test_ctrl_c_in_a_warm_start_keeps_its_finished_epochs(fail_in: Any) -> None:
    model = classifier(max_iter=3, warm_start=True).fit(X, LABELS)
    fail_in(3 * STEPS - 1, KeyboardInterrupt())
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model.set_params(max_iter=100).fit(X, LABELS)
    assert model.n_iter_ == 2 and len(model.loss_curve_) == 5 and model.loss_ == model.loss_curve_[-1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("early_stopping", [False, True])
def test_ctrl_c_at_any_moment(early_stopping: bool) -> None:
    draw, fitted = np.random.default_rng(1), 0
    classifier(max_iter=1).fit(X, LABELS)  # compiled
    for _ in range(8):
        model = classifier(early_stopping=early_stopping, **ENDLESS)
        timer = threading.Timer(draw.uniform(0, 0.3), os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            model.fit(X, LABELS)
        except KeyboardInterrupt:
            assert not hasattr(model, "network_")
            continue
        fitted += 1
        check_whole(model)
        again = classifier(early_stopping=early_stopping, **{**ENDLESS, "max_iter": model.n_iter_})
        again.fit(X, LABELS)
        assert again.loss_curve_ == model.loss_curve_ and again.validation_scores_ == model.validation_scores_
        for name, array in weights(again).items():
            np.testing.assert_array_equal(model.network_.params[name], array)
    assert fitted


def test_masked_entries_are_refused() -> None:
    mask = np.arange(120) == 7
    masked = {"y": (X, np.ma.array(LABELS, mask=mask)), "X": (np.ma.array(X, mask=X > 2), LABELS)}
    for name, data in masked.items():
        with pytest.raises(ValueError, match=f"^{name} has [0-9]+ masked entr.*, wanted none"):
            classifier().fit(*data)
    model = classifier(max_iter=1).fit(np.ma.array(X), np.ma.array(LABELS))
    with pytest.raises(ValueError, match="^X has [0-9]+ masked entries"):
        model.predict(masked["X"][0])
    with pytest.raises(ValueError, match="^sample_weight has 1 masked"):
        model.fit(X, LABELS, np.ma.array(np.ones(120), mask=mask))


def test_some_of_the_classes_do() -> None:
    three = np.arange(120) % 3
    model = classifier(max_iter=2, warm_start=True).fit(X, three)
    few = three < 2
    assert 0 <= model.score(X[few], three[few]) <= 1 and len(model.predict(X[few])) == few.sum()
    model.fit(X[few], three[few])
    model.partial_fit(X[:1], [2])
    assert model.classes_.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"^y has the class 5, wanted one of classes_ \(0, 1, 2\)$"):
        model.fit(X, three + 5)
