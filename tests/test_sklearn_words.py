"""Estimators on DataFrames with words and categories, and what is exported of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from sklearn.model_selection import cross_val_predict

from minihash import cli, load, save
from minihash.export import to_c, to_onnx
from minihash.sklearn import HashedMLPClassifier, HashedMLPRegressor

ROWS = 120
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "age": RNG.integers(10, 80, ROWS),
        "sex": RNG.choice(["female", "male"], ROWS),
        "deck": pd.Categorical(RNG.choice(list("ABC"), ROWS)),
        "class": pd.Categorical(RNG.choice([1, 2, 3], ROWS)),
        "alone": RNG.choice([True, False], ROWS),
    }
)
WORDS = np.where(FRAME["sex"] == "male", "no", np.where(FRAME["class"] == 3, "perhaps", "yes"))
INPUTS = "age sex=female sex=male deck=A deck=B deck=C class=1 class=2 class=3 alone".split()


def encoded(frame: pd.DataFrame) -> np.ndarray:
    """What INPUTS are of a frame, said another way."""
    columns = [name.split("=") for name in INPUTS]
    numbers = [frame[name] if not word else frame[name].astype(str) == word[0] for name, *word in columns]
    return np.column_stack(numbers).astype(float)


def fitted(X: Any = FRAME, y: Any = WORDS, **options: Any) -> Any:
    return HashedMLPClassifier(max_iter=100, learning_rate_init=0.01, random_state=0, **options).fit(X, y)


@pytest.fixture(scope="module")
def model() -> Any:
    return fitted()


def test_words_are_inputs_as_in_a_file(model: Any) -> None:
    """The same network, to the last bit, as of columns of 0 and 1."""
    ref = fitted(encoded(FRAME))
    np.testing.assert_array_equal(model.predict_proba(FRAME), ref.predict_proba(encoded(FRAME)))
    assert model.n_features_in_ == 5 and model.feature_names_in_.tolist() == FRAME.columns.tolist()
    assert list(model.network_.schema.feature_names) == INPUTS and ref.encoding_ is None
    assert model.score(FRAME, WORDS) > 0.9


def test_numbers_alone_have_no_encoding() -> None:
    frame = FRAME[["age", "alone"]].astype({"age": "Int64"})
    assert fitted(frame).encoding_ is None


def test_a_regressor_and_parts_of_it() -> None:
    y = 3.0 * (FRAME["deck"] == "A") + FRAME["age"] / 40
    made = HashedMLPRegressor(max_iter=200, learning_rate_init=0.01, random_state=0).fit(FRAME, y)
    assert made.score(FRAME, y) > 0.8 and made.network_.in_features == len(INPUTS)
    for start in range(0, ROWS, 40):  # a part may lack a category: the first call knows all
        made.partial_fit(FRAME[start : start + 40], y[start : start + 40])
    found = cross_val_predict(HashedMLPClassifier(max_iter=3, random_state=0), FRAME, WORDS, cv=3)
    assert set(found) <= {"no", "perhaps", "yes"}


def test_words_unknown_in_training_are_told(model: Any) -> None:
    with pytest.warns(UserWarning, match="^X column 'sex' has words that training did not have .'other'"):
        model.predict(FRAME.assign(sex="other")[:2])


def test_the_name_of_the_target_is_kept() -> None:
    assert fitted(FRAME, pd.Series(WORDS, name="survived")).network_.schema.target_name == "survived"


def test_times_are_no_words() -> None:
    with pytest.raises(ValueError, match=r"^X column 'when' has dtype datetime64\[.*\], wanted numbers"):
        fitted(FRAME.assign(when=pd.Timestamp("2026-01-01")))


@pytest.mark.parametrize(
    "change, line",
    [
        ({"sex": [None, *FRAME["sex"][1:]]}, "X column 'sex' is (None|nan) in row 0, wanted a value"),
        ({"sex": [f"s{i}" for i in range(ROWS)]}, "X column 'sex' has more than 64 different words"),
        ({"age": [np.nan, *FRAME["age"][1:]]}, "X column 'age' is empty in row 0, wanted a value"),
        ({"age": ["old", *FRAME["age"][1:].astype(str)]}, "X column 'age' has "),
    ],
)
def test_what_cannot_be_encoded_names_its_column(change: dict, line: str) -> None:
    with pytest.raises(ValueError, match=f"^{line}"):
        fitted(FRAME.assign(**change))


def test_an_array_is_refused_where_words_were_trained_on(model: Any) -> None:
    with pytest.raises(ValueError, match="^X is a ndarray, wanted a DataFrame with words as in fit$"):
        model.predict(encoded(FRAME))
    with pytest.raises(ValueError, match="(?s)feature names should match.*same order"):
        model.predict(FRAME[FRAME.columns[::-1]])


def test_without_scikit_learn(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("minihash.sklearn")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    from minihash.sklearn import HashedMLPClassifier as Plain

    found = Plain(max_iter=100, learning_rate_init=0.01, random_state=0).fit(FRAME, WORDS)
    assert Plain.__mro__[1] is not HashedMLPClassifier.__mro__[1]
    np.testing.assert_array_equal(found.predict_proba(FRAME), model.predict_proba(FRAME))


def test_the_saved_network_reads_files_and_frames(model: Any, tmp_path: Path, capfd: Any) -> None:
    save(model.network_, tmp_path / "model.safetensors")
    network = load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(network.predict_labels(FRAME[FRAME.columns[::-1]]), model.predict(FRAME))
    FRAME.assign(id=range(ROWS), target=WORDS).to_csv(tmp_path / "new.csv", index=False)
    out = tmp_path / "out.csv"
    files = [str(tmp_path / name) for name in ("model.safetensors", "new.csv")]
    assert cli.main(["predict", *files, "--out", str(out)]) == 0
    assert pd.read_csv(out)["label"].tolist() == model.predict(FRAME).tolist()
    assert cli.main(["evaluate", *files]) == 0
    pd.read_csv(files[1]).rename(columns={"target": "survived"}).to_csv(files[1], index=False)
    assert cli.main(["evaluate", *files, "--target", "survived"]) == 0
    capfd.readouterr()


def test_estimators_are_exported(model: Any, tmp_path: Path) -> None:
    to_onnx(model, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    asked = ["label", "probabilities"]
    label, probabilities = session.run(asked, {"inputs": encoded(FRAME).astype(model.network_.dtype)})
    assert label.tolist() == model.predict(FRAME).tolist()
    np.testing.assert_allclose(probabilities, model.predict_proba(FRAME), atol=1e-5)
    to_c(model, tmp_path / "c")
    to_c(model.network_, tmp_path / "same")
    header = (tmp_path / "c" / "model.h").read_text()
    assert '    "perhaps", \\\n' in header and "/* Inputs: age, sex=female, sex=male, deck=A" in header
    for file in (tmp_path / "c").iterdir():
        assert file.read_bytes() == (tmp_path / "same" / file.name).read_bytes()
    with pytest.raises(ValueError, match="^network is a HashedMLPClassifier that is not fitted, wanted fit"):
        to_onnx(HashedMLPClassifier(), tmp_path / "none.onnx")
