"""DataFrame and Series of pandas, wherever arrays are taken."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

from minihash import evaluate, fit, load, mlp, save
from minihash.encoding import Column
from minihash.frames import in_order, only_column, plain
from minihash.schema import Schema

ROWS = 40
X = np.random.default_rng(0).normal(size=(ROWS, 3))
Y = np.arange(ROWS) % 2
WORDS = np.array(["cat", "dog"])[Y]
FRAME = pd.DataFrame(X, columns=["age", "mass", "size"])
NO_NUMBER = "wanted a number: pandas.get_dummies makes numbers of words"
TARGETS: dict[str, Any] = {
    "words": pd.Series(WORDS),
    "categories": pd.Series(WORDS, dtype="category"),
    "strings": pd.Series(WORDS, dtype="string"),
    "integers": pd.Series(Y),
    "nullable": pd.Series(Y, dtype="Int64"),
    "objects": pd.Series(Y, dtype=object),
    "a column of words": pd.DataFrame({"y": WORDS}),
    "a column": pd.DataFrame({"y": Y}),
    "another index": pd.Series(WORDS, index=np.arange(ROWS)[::-1]),
}


def network() -> Any:
    return mlp([3, 4, 2], class_names=["cat", "dog"], seed=1)


def trained(*data: Any) -> Any:
    made = network()
    fit(made, data, data, epochs=2)
    return made


@pytest.mark.parametrize("targets", TARGETS)
def test_frames_train_as_arrays_do(targets: str) -> None:
    weight = np.linspace(0, 1, ROWS)
    ref, comp = trained(X, Y, weight), trained(FRAME, TARGETS[targets], pd.Series(weight))
    np.testing.assert_array_equal(comp.predict(FRAME), ref.predict(X))
    again = trained(FRAME, TARGETS[targets], pd.DataFrame({"w": pd.Series(weight, dtype="Float64")}))
    np.testing.assert_array_equal(again.predict(FRAME), ref.predict(X))
    assert evaluate(comp, (FRAME, TARGETS[targets])) == evaluate(ref, (X, Y))


def test_several_targets_are_a_frame() -> None:
    for loss in ("mean_squared_error", "binary_cross_entropy"):
        ref, comp = mlp([3, 2]), mlp([3, 2])
        targets = pd.DataFrame({"a": Y, "b": (1 - Y).astype(bool)})
        fit(ref, (X, np.column_stack([Y, 1 - Y])), loss=loss, epochs=2)
        fit(comp, (FRAME, targets), loss=loss, epochs=2)
        np.testing.assert_array_equal(comp.predict(X), ref.predict(X))


DTYPES = ["uint8", "float32", "int64", "bool", "Int64", "Float32", "boolean", object]


@pytest.mark.parametrize("dtype", DTYPES)
def test_columns_keep_their_numbers(dtype: Any) -> None:
    numbers = np.arange(6).reshape(3, 2) % 2 if "bool" in str(dtype) else np.arange(6).reshape(3, 2)
    found = plain("inputs", pd.DataFrame(numbers, dtype=dtype))
    assert found.dtype.kind in "fiub" and found.tolist() == numbers.tolist()
    mixed = plain("inputs", pd.DataFrame({"a": pd.Series([1, 0], dtype=dtype), "b": [0.5, 1.5]}))
    assert mixed.dtype == np.float64 and mixed[:, 1].tolist() == [0.5, 1.5]


def test_a_frame_of_one_dtype_is_not_copied() -> None:
    pixels = np.zeros((5, 4), np.uint8)
    assert np.shares_memory(plain("inputs", pd.DataFrame(pixels, copy=False)), pixels)


def refused(line: str, call: Any, *arguments: Any) -> None:
    with pytest.raises(ValueError) as caught:
        call(*arguments)
    assert str(caught.value) == line


@pytest.mark.parametrize("dtype", ["str", "category", object])
def test_words_among_the_inputs_have_the_name_of_their_column(dtype: Any) -> None:
    frame = FRAME.assign(mass=pd.Series(["light", *["heavy"] * (ROWS - 1)], dtype=dtype))
    says = f"inputs column 'mass' is 'light' in row 0, {NO_NUMBER}"
    refused(says, network().predict, frame)
    refused(f"train {says}", fit, network(), (frame, Y))


def test_a_word_after_numbers_is_found() -> None:
    frame = FRAME.assign(mass=pd.Series([*X[:5, 0], "?", *X[6:, 0]], dtype=object))
    says = f"inputs column 'mass' is '?' in row 5, {NO_NUMBER}"
    refused(says, network().predict, frame)


def test_dates_are_no_numbers() -> None:
    frame = FRAME.assign(age=pd.date_range("2026-01-01", periods=ROWS).astype("datetime64[ns]"))
    says = "inputs column 'age' has dtype datetime64[ns], wanted real numbers"
    refused(says, network().predict, frame)


@pytest.mark.parametrize("missing", [pd.NA, None])
def test_missing_values_of_objects_have_the_name_of_their_column(missing: Any) -> None:
    frame = FRAME.astype(object)
    frame.iloc[4, 2] = missing
    with pytest.raises(ValueError, match="^inputs .*'size'.* row 4, wanted"):
        network().predict(frame)
    ages = pd.Series(X[:, 0], dtype=object)
    ages[4] = missing
    with pytest.raises(ValueError, match="^train targets is .* in row 4, wanted"):
        fit(mlp([3, 1]), (X, ages), loss="mean_squared_error")


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "float64"])
def test_missing_values_have_the_name_of_their_column(dtype: str) -> None:
    numbers = pd.Series([*range(7), None, *range(8, ROWS)], dtype=dtype)
    with pytest.raises(ValueError, match="^inputs .*'size'.* row 7, wanted"):
        network().predict(FRAME.assign(size=numbers))
    with pytest.raises(ValueError, match="^train targets is .* in row 7, wanted"):
        fit(mlp([3, 1]), (X, numbers), loss="mean_squared_error")
    with pytest.raises(ValueError, match="^train sample_weight is .* in row 7, wanted"):
        fit(network(), (X, Y, numbers))


def test_a_missing_word_is_an_unknown_one() -> None:
    words = pd.Series([*WORDS[:9], None, *WORDS[10:]], dtype=object)
    with pytest.raises(ValueError, match="^train targets is None in row 9, wanted "):
        fit(network(), (X, words))


# ----------------------------------------------------------------------------- the order of columns


def test_columns_in_another_order_are_put_in_order(tmp_path: Any) -> None:
    made = trained(FRAME, Y)
    assert made.schema == Schema("classification", feature_names=("age", "mass", "size"))
    save(made, tmp_path / "a.safetensors")
    other, ref = FRAME[["size", "age", "mass"]], made.predict(X)
    for one in (made, load(tmp_path / "a.safetensors")):
        np.testing.assert_array_equal(one(other), ref)
        np.testing.assert_array_equal(one.predict(FRAME), ref)
    np.testing.assert_array_equal(made.forward(other), made.forward(X))
    assert evaluate(made, (other, Y)) == evaluate(made, (X, Y))
    again = trained(FRAME, Y)
    fit(made, (other, Y))
    fit(again, (X, Y))
    np.testing.assert_array_equal(made.predict(X), again.predict(X))


def test_other_columns_are_refused_by_name() -> None:
    made = trained(FRAME, Y)
    missing = FRAME.rename(columns={"mass": "weight"})
    says = "inputs has no column 'mass', wanted it, or an array to go by place"
    refused(says, made.predict, missing)
    refused(f"train {says}", fit, made, (missing, Y))
    refused(says, made.predict, FRAME[["age", "size"]])
    np.testing.assert_array_equal(made.predict(missing.to_numpy()), made.predict(X))
    many = "inputs has a column too many, 'y', wanted it left out"
    refused(many, made.predict, FRAME.assign(y=Y))
    with pytest.raises(ValueError, match=r"^inputs has shape \(40, 4\), wanted"):
        made.predict(pd.concat([FRAME, FRAME[["age"]]], axis=1))


def test_columns_without_names_go_by_place() -> None:
    made = trained(FRAME, Y)
    numbered = pd.DataFrame(X)
    np.testing.assert_array_equal(made.predict(numbered), made.predict(X))
    fit(made, (numbered, Y))
    assert made.schema.feature_names == ("age", "mass", "size")
    assert trained(numbered, Y).schema == Schema("classification")
    assert in_order("inputs", numbered, ("a", "b", "c")) is numbered and in_order("inputs", X, ("a",)) is X
    assert in_order("inputs", FRAME, None) is FRAME


def test_what_is_no_table_stays_as_it_is() -> None:
    for value in (X, [1, 2], "rows.csv", None, {"a": 1}):
        assert plain("inputs", value) is value and only_column(value) is value
    assert only_column(FRAME) is FRAME and plain("inputs", pd.DataFrame()).shape == (0, 0)


def test_pandas_is_not_imported() -> None:
    code = "import sys, minihash as m; m.mlp([2, 2])([[1, 2]]); assert 'pandas' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# ----------------------------------------------------------------------------- words, as the schema has them


def worded() -> Any:
    """A network that was trained on a table with a column of words, as its schema says."""
    sex, deck = Column("sex", "words", ("f", "m")), Column("deck", "words", ("1", "2"))
    columns = (sex, Column("age", fill=40.0), deck)
    made = mlp([5, 4, 2], class_names=["cat", "dog"], seed=1)
    names = tuple(name for column in columns for name in column.inputs)
    made.schema = Schema("classification", 4, 3, True, names, encoding=columns, target_name="y")
    return made


DECKS = pd.Categorical([2, 1, 2])
TABLE = pd.DataFrame({"sex": ["m", "f", "m"], "age": [20.0, 30.0, np.nan], "deck": DECKS})
INPUTS = [[0, 1, 20, 0, 1], [1, 0, 30, 1, 0], [0, 1, 40, 0, 1]]


@pytest.mark.parametrize("dtype", ["str", "category", object])
def test_words_become_the_inputs_of_training(dtype: Any) -> None:
    table, wanted = TABLE.astype({"sex": dtype}), worded().predict(INPUTS)
    np.testing.assert_array_equal(worded().predict(table), wanted)
    np.testing.assert_array_equal(worded().predict(table[["deck", "age", "sex"]]), wanted)
    assert evaluate(worded(), (table, ["cat"] * 3)) == evaluate(worded(), (INPUTS, ["cat"] * 3))
    encoded = pd.DataFrame(INPUTS, columns=worded().schema.feature_names)
    np.testing.assert_array_equal(worded().predict(encoded), wanted)


def test_a_word_that_training_did_not_have_is_told() -> None:
    says = r"^inputs column 'sex' has words that training did not have \('x'\): taken for none$"
    with pytest.warns(UserWarning, match=says):
        found = worded().predict(TABLE.assign(sex=["m", "x", "m"]))
    np.testing.assert_array_equal(found, worded().predict([INPUTS[0], [0, 0, 30, 1, 0], INPUTS[2]]))


@pytest.mark.parametrize(
    "changed, line",
    [
        (TABLE.drop(columns="age"), "inputs has no column 'age', wanted it, or an array to go by place"),
        (TABLE.assign(y=0), "inputs has a column too many, 'y', wanted it left out"),
        (TABLE.assign(age=["20", "old", "7"]), "inputs column 'age' has 'old', wanted a number"),
        (
            TABLE.assign(sex=pd.Series(["m", None, "m"], dtype=object)),
            "inputs column 'sex' is None in row 1, wanted a value: fill it, or leave out its row",
        ),
        (TABLE.assign(sex=["m", "m", " "]), "inputs column 'sex' is empty in row 2, wanted a value"),
        (TABLE.set_axis([0, 1, 2], axis=1).drop(columns=1), "inputs has 2 columns, wanted 3"),
    ],
)
def test_a_table_that_does_not_fit_the_words_is_refused(changed: Any, line: str) -> None:
    refused(line, worded().predict, changed)


def test_columns_of_words_without_names_go_by_place() -> None:
    found = worded().predict(TABLE.set_axis([0, 1, 2], axis=1))
    np.testing.assert_array_equal(found, worded().predict(INPUTS))
