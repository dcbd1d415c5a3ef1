"""Tables as people have them: one table, written in many ways, is read as the same rows."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihash import mlp
from minihash.datasets import splitting
from minihash.datasets.dialect import recognise
from minihash.datasets.file_dataset import read_table
from minihash.datasets.inputs import Inputs
from minihash.schema import Schema, Split

ROWS = 60
RNG = np.random.default_rng(0)
#: Two columns of numbers, one of words with separators in them, one of truths, and a target of words.
FRAME = pandas.DataFrame({
    "length": RNG.normal(5, 1, ROWS).round(3),
    "größe": RNG.normal(-3, 9, ROWS).round(2),
    "colour": RNG.choice(["red", "blue, dark; or | navy", 'the "green"'], ROWS),
    "ripe": RNG.choice([True, False], ROWS),
    "kind": np.repeat(["apple", "pear", "plum"], ROWS // 3),
})
WORDS = sorted(set(FRAME.colour))
INPUTS = np.column_stack([
    FRAME.length, FRAME["größe"], *((FRAME.colour == word) for word in WORDS), FRAME.ripe
]).astype(np.float32)
TARGETS = FRAME.kind.map({"apple": 0, "pear": 1, "plum": 2}).to_numpy()


def write(path: Path, frame: pandas.DataFrame = FRAME, mark: bytes = b"", **how: Any) -> Path:
    """Write a frame as text."""
    content = mark + frame.to_csv(**{"index": False, **how}).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def rows_of(data: Any) -> tuple[np.ndarray, np.ndarray]:
    batches = [(batch.inputs.copy(), batch.targets.copy()) for batch in data.rows.batches(7)]
    return np.concatenate([inputs for inputs, _ in batches]), np.concatenate([rows for _, rows in batches])


SEPARATORS = {",": ".", ";": ",", "\t": ".", "|": "."}  # with the decimal sign
VARIANTS = list(itertools.product(SEPARATORS, (0, 1, 2), (b"", b"\xef\xbb\xbf"), (False, True), ("", ".gz")))


@pytest.mark.parametrize("separator, quoting, mark, index, packed", VARIANTS)
def test_a_table_is_read_however_it_is_written(
    separator: str, quoting: int, mark: bytes, index: bool, packed: str, tmp_path: Path
) -> None:
    how = {"sep": separator, "decimal": SEPARATORS[separator], "quoting": quoting, "index": index}
    path = write(tmp_path / f"rows.csv{packed}", mark=mark, **how)
    data = read_table(path, target="kind")
    inputs, targets = rows_of(data)
    np.testing.assert_array_equal(inputs, INPUTS)
    np.testing.assert_array_equal(targets, TARGETS)
    assert data.class_names == ("apple", "pear", "plum") and data.task == "classification"
    names = ("length", "größe", *(f"colour={word}" for word in WORDS), "ripe")
    assert data.schema.feature_names == names
    left_out = ", 1 column left out (index)" if index else ""
    assert data.what == "4 features (6 inputs)" + left_out
    assert data.target == "kind (3 classes: apple, pear, plum)"


@pytest.mark.parametrize("separator", SEPARATORS)
def test_a_table_of_numbers_without_a_header(separator: str, tmp_path: Path) -> None:
    frame = pandas.DataFrame({"kind": TARGETS, "a": FRAME.length, "b": FRAME["größe"]})
    how = {"sep": separator, "decimal": SEPARATORS[separator], "header": False}
    data = read_table(write(tmp_path / "rows.csv", frame, **how))
    inputs, targets = rows_of(data)
    np.testing.assert_array_equal(inputs, INPUTS[:, :2])
    np.testing.assert_array_equal(targets, TARGETS)
    assert data.target == "column 0 (3 classes: 0, 1, 2)" and data.schema.feature_names is None


def test_a_parquet_file(tmp_path: Path) -> None:
    FRAME.astype({"colour": "category"}).to_parquet(tmp_path / "rows", index=False)
    inputs, targets = rows_of(read_table(tmp_path / "rows", target="kind"))
    np.testing.assert_array_equal(inputs, INPUTS)
    np.testing.assert_array_equal(targets, TARGETS)
    FRAME.assign(day=pandas.Timestamp("2026-11-30")).to_parquet(tmp_path / "days")
    message = r"days: column 'day' holds timestamp\[.*\], wanted numbers or words"
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / "days", target="kind")
    (tmp_path / "cut").write_bytes((tmp_path / "rows").read_bytes()[:-9])
    with pytest.raises(ValueError, match="cut: Parquet magic bytes not found"):
        read_table(tmp_path / "cut")


# ------------------------------------------------------------------------------------------ the target


@pytest.mark.parametrize("name", ["target", "Label", "CLASS", "y"])
def test_a_target_that_says_so(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", FRAME.rename(columns={"kind": name}))
    assert read_table(path).class_names == ("apple", "pear", "plum")


def test_a_target_that_must_be_given(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv")
    columns = "rows.csv: has the columns length, größe, colour, ripe, kind: none is called target, label, "
    with pytest.raises(ValueError, match=columns):
        read_table(path)
    with pytest.raises(ValueError, match="target is 'sort', and .* has the columns length, größe, colour"):
        read_table(path, target="sort")
    for target in (4, "4", -1, "kind"):
        assert read_table(path, target=target).target.startswith("kind (3 classes")
    write(path, FRAME.assign(y=1, label=2))
    with pytest.raises(ValueError, match="2 are called target, label, class, y"):
        read_table(path)


@pytest.mark.parametrize("values, names", [
    ([0, 1], ("0", "1")),
    ([-1, 1], ("-1", "1")),
    ([3, 5, 8], ("3", "5", "8")),
    (["b", "a"], ("a", "b")),
    ([True, False], ("False", "True")),
    (list(range(20)), tuple(map(str, range(20)))),
    (list(range(21)), ()),
    ([0.5, 1.5], ()),
])
def test_what_targets_are_taken_for(values: list[Any], names: tuple[str, ...], tmp_path: Path) -> None:
    target = (values * ROWS)[:ROWS]
    data = read_table(write(tmp_path / "rows.csv", FRAME[["length"]].assign(y=target)))
    assert data.class_names == names
    assert data.task == ("regression" if not names else "binary" if len(names) == 2 else "classification")
    if names:
        in_file = [names.index(str(value)) for value in target]
        np.testing.assert_array_equal(rows_of(data)[1], in_file)
    else:
        train = np.concatenate([batch.targets.copy() for batch in data.train.batches(99)])
        assert data.output_shift == pytest.approx(train.mean())
        assert data.output_scale == pytest.approx(train.std())


# ------------------------------------------------------------------------------------------ empty cells


@pytest.mark.parametrize("empty", ["", "NA", "NaN", "null", "?"])
def test_empty_cells(empty: str, tmp_path: Path) -> None:
    frame = FRAME.copy()
    frame.loc[[4, 9], "length"] = np.nan
    frame.loc[7, "colour"] = np.nan
    path = write(tmp_path / "rows.csv", frame, na_rep=empty)
    message = r"rows.csv: column 'length' has 2 empty cells \(line 6\), and column 'colour' too, wanted none"
    with pytest.raises(ValueError, match=message):
        read_table(path, target="kind")
    filled, targets = rows_of(read_table(path, target="kind", missing="mean"))
    wanted = INPUTS.copy()
    wanted[[4, 9], 0] = frame.length.mean()
    wanted[7, 2:5] = 0
    np.testing.assert_allclose(filled, wanted, rtol=1e-6)
    kept, targets = rows_of(data := read_table(path, target="kind", missing="drop"))
    np.testing.assert_array_equal(kept, np.delete(INPUTS, [4, 7, 9], axis=0))
    np.testing.assert_array_equal(targets, np.delete(TARGETS, [4, 7, 9]))
    assert "3 rows with empty cells are left out" in data.notes


def test_rows_without_a_target_are_left_out_where_one_says_so(tmp_path: Path) -> None:
    frame = FRAME.copy()
    frame.loc[3, "kind"] = np.nan
    path = write(tmp_path / "rows.csv", frame)
    with pytest.raises(ValueError, match=r"column 'kind' has 1 empty cell \(line 5\)"):
        read_table(path, target="kind")
    for missing in ("mean", "drop"):
        assert len(read_table(path, target="kind", missing=missing).rows) == ROWS - 1


# -------------------------------------------------------------------------------------- what is refused


def broken(change: Callable[[list[str]], None]) -> str:
    lines = FRAME.to_csv(index=False).splitlines()
    change(lines)
    return "\n".join(lines)


@pytest.mark.parametrize("text, message", [
    (broken(lambda lines: lines.__setitem__(8, "1,2")), "line 9 has 2 cells, wanted 5"),
    ("y,a\n" + "".join(f"{k % 2},{k}\n" for k in range(9000)) + "1,x\n",
     "column 'a' has numbers, but 'x' in line 9002 is none, wanted numbers, fewer words, or to drop it"),
    ("y,a\n" + "".join(f"{k % 2},{k % 5}\n" for k in range(50)) + "1,x\n",
     "column 'a' has numbers, but 'x' in line 52 is none"),
    ("y,name\n" + "".join(f"{k % 2},n{k}\n" for k in range(99)),
     "column 'name' has more than 64 different words, such as 'n0' in line 2, wanted numbers, fewer words"),
    ("y,a,a\n1,2,3\n", "2 columns are called 'a'"),
    ("y\n1\n2\n", "has no column but the target, wanted features"),
    ("y,a\n", "has no rows, wanted one at least"),
    ("", "has no rows, wanted one at least"),
    ("y,a,b\n1,2,\n0,1,\n", "column 'b' has 2 empty cells (line 2)"),
    ("y;a\n1;2,5\n0;1.5\n", "column 'a' has numbers, but '1.5' in line 3 is none"),
])
def test_what_is_wrong_is_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(ValueError) as error:
        read_table(tmp_path / "rows.csv", target="kind" if "kind" in text else 0)
    assert str(error.value).startswith(f"{tmp_path / 'rows.csv'}: ") and message in str(error.value)


def test_a_file_that_is_not_in_utf8(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(FRAME.to_csv(index=False).encode("latin-1"))
    with pytest.raises(ValueError, match="rows.csv: line 1 has the byte 0xf6, wanted UTF-8: save it as that"):
        read_table(path, target="kind")
    late = "y,a\n" + "1,b\n" * 40_000  # after the lines that are looked at first
    path.write_bytes(late.encode() + b"1,\xf6\n")
    with pytest.raises(ValueError, match="line 40002 is not in UTF-8"):
        read_table(path)


def test_columns_that_are_dropped(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv")
    data = read_table(path, target="kind", drop=["colour", 3])
    np.testing.assert_array_equal(rows_of(data)[0], INPUTS[:, :2])
    assert data.what == "2 features, 2 columns left out (colour, ripe)"
    with pytest.raises(ValueError, match="drop is 'color', and .* has the columns length"):
        read_table(path, target="kind", drop=["color"])
    with pytest.raises(ValueError, match="drop has 'kind', which is the target"):
        read_table(path, target="kind", drop=["kind"])


# ------------------------------------------------------------------------------------------- the split


@given(st.integers(0, 400), st.integers(1, 5), st.integers(0, 2**32 - 1), st.data())
def test_a_split_is_of_each_class(rows: int, classes: int, seed: int, data: Any) -> None:
    labels = np.sort(np.random.default_rng(seed).integers(classes, size=rows))
    test = data.draw(st.integers(0, max(0, rows - 1)))
    validation = data.draw(st.integers(0, max(0, rows - test - 1)))
    if not rows:
        return
    plan = Split("shuffled", seed, validation, test)
    parts = splitting.split(rows, labels, plan)
    assert ((parts == splitting.TEST).sum(), (parts == splitting.VALIDATION).sum()) == (test, validation)
    for label in range(classes):
        own = parts[labels == label]
        assert abs((own == splitting.TEST).sum() - len(own) * test / rows) <= 1
    np.testing.assert_array_equal(parts, splitting.split(rows, labels, plan))


def test_a_split_is_the_same_everywhere() -> None:
    """Its order is the hash of the row's number: what it was stays, for files that were trained on."""
    parts = splitting.split(20, None, Split("shuffled", 7, 3, 4))
    assert np.flatnonzero(parts == splitting.TEST).tolist() == [8, 10, 12, 14]
    assert np.flatnonzero(parts == splitting.VALIDATION).tolist() == [4, 7, 15]
    last = splitting.split(20, None, Split("last", 0, 3, 4)).tolist()
    assert last == [0] * 13 + [1] * 3 + [2] * 4


def test_a_class_that_is_missing_from_a_part_is_told(tmp_path: Path) -> None:
    frame = FRAME.assign(kind=["rare"] * 2 + ["usual"] * (ROWS - 2))
    notes = read_table(write(tmp_path / "rows.csv", frame), target="kind").notes
    assert "warning: no test row is of the class rare" in notes


# --------------------------------------------------------------------- other files, for a model of this one


@pytest.fixture
def network(tmp_path: Path) -> Any:
    """A network that knows the table."""
    data = read_table(write(tmp_path / "train.csv", index=True), target="kind", split=Split(seed=5))
    network = mlp([6, 3], class_names=data.class_names)
    network.schema = data.schema
    return network


@pytest.mark.parametrize("how", [
    {"columns": ["kind", "ripe", "colour", "größe", "length"]},
    {"columns": ["ripe", "length", "größe", "colour"], "sep": ";", "decimal": ","},
    {"index": True, "sep": "\t"},
])
def test_a_model_finds_its_columns_by_name(network: Any, how: dict, tmp_path: Path) -> None:
    columns = how.get("columns", list(FRAME))
    frame = FRAME.assign(extra="x")[[*columns, "extra"]]
    how = {name: value for name, value in how.items() if name != "columns"}
    path = write(tmp_path / "new.csv", frame, **how)
    rows = Inputs(path, network, keep=["extra"])
    chunks = list(rows)
    np.testing.assert_array_equal(np.concatenate([chunk.inputs for chunk in chunks]).astype("f"), INPUTS)
    assert chunks[0].kept == [["x"] * ROWS]
    if "kind" in path.read_text():
        data = read_table(path, like=network)
        np.testing.assert_array_equal(rows_of(data)[1], TARGETS)
        again = read_table(tmp_path / "train.csv", like=network)
        np.testing.assert_array_equal(again.parts, data.parts)  # the split of the training
        found = again.schema.split
        assert found == Split(seed=5, rows=ROWS, checksum=found.checksum)


def test_what_a_model_lacks_is_named(network: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "new.csv", FRAME.drop(columns=["ripe", "colour"]))
    message = "new.csv: has the columns length, größe, kind, wanted 'colour', 'ripe'"
    with pytest.raises(ValueError, match=message):
        Inputs(path, network)
    write(path, FRAME.drop(columns="kind"))
    with pytest.raises(ValueError, match="new.csv: has no target, wanted the column 'kind'"):
        read_table(path, like=network)
    write(path, FRAME.assign(kind="quince"))
    with pytest.raises(ValueError, match="target 'kind' has 'quince', wanted one of 'apple', 'pear', 'plum'"):
        read_table(path, like=network)
    frame = FRAME.copy()
    frame.loc[2, "length"] = np.nan
    write(path, frame)
    message = "new.csv: column 'length' has an empty cell in line 4, wanted a value"
    with pytest.raises(ValueError, match=message):
        list(Inputs(path, network))


def test_words_that_training_did_not_have_are_none_of_them(network: Any, tmp_path: Path) -> None:
    rows = Inputs(write(tmp_path / "new.csv", FRAME.assign(colour="violet")), network)
    assert not np.concatenate([chunk.inputs for chunk in rows])[:, 2:5].any()
    assert rows.seen.notes() == [
        "column 'colour' has words that training did not have ('violet'): taken for none"
    ]


def test_numbers_go_through_numpy_and_what_is_none_through_csv(tmp_path: Path) -> None:
    """A file is read by NumPy's parser until a cell is no number: of a model's columns, that may be so."""
    path, lines = tmp_path / "rows.csv", [f"{k % 2},{k},{-k}" for k in range(60_000)]
    path.write_text("\n".join(["y,a,b", *lines, "", "1,,7"]) + "\n")
    assert recognise(path).plain
    with pytest.raises(ValueError, match=r"column 'a' has 1 empty cell \(line 60003\)"):
        read_table(path)
    inputs, targets = rows_of(read_table(path, missing="mean"))
    assert inputs[-1].tolist() == [np.arange(60_000).mean().astype("f"), 7] and targets[-1] == 1


def test_schemas_of_tables_are_checked() -> None:
    table = {"columns": 3, "target": 0, "header": True}
    for wrong, message in (
        ({"encoding": [{"name": "a", "kind": "date"}]}, "kind is 'date', wanted one of 'number', 'words'"),
        ({"encoding": [{"name": "a", "kind": "words"}]}, "words is .*, wanted texts for a column of words"),
        ({"encoding": [{"name": "a"}]}, "the table has 1 columns and 2 places of features"),
        ({"places": (0, 1)}, "places is .*, wanted others than the target, and none twice"),
        ({"missing": "guess"}, "missing is 'guess', wanted one of 'mean', 'drop'"),
        ({"split": {"how": "random"}}, "split is 'random', wanted one of 'shuffled', 'last'"),
    ):
        with pytest.raises(ValueError, match=message):
            Schema("regression", **(table | wrong))


@pytest.mark.parametrize("said, line", [
    ({"target": "length"}, "target is 'length', and the model was trained with 'kind'"),
    ({"target": 0}, "target is 0, and the model was trained with 'kind'"),
    ({"drop": ["ripe"]}, "drop has 'ripe', and the model was trained with it"),
    ({"drop": ["kind"]}, "drop has 'kind', and the model was trained with it"),
    ({"missing": "mean"}, "missing is 'mean', and the model was trained without empty cells"),
    ({"target": "kind", "drop": ["extra"]}, None),
    ({"target": -2}, None),
])  # fmt: skip
def test_what_a_model_was_not_trained_with_is_refused(
    said: dict, line: str | None, network: Any, tmp_path: Path
) -> None:
    path = write(tmp_path / "new.csv", FRAME.assign(extra=1))
    if line is None:
        np.testing.assert_array_equal(rows_of(read_table(path, like=network, **said))[0], INPUTS)
        return
    with pytest.raises(ValueError) as caught:
        read_table(path, like=network, **said)
    assert str(caught.value) == line


def test_another_column_of_an_array_than_the_models_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", RNG.normal(size=(30, 3)).astype("f"))
    network = mlp([2, 1], schema=Schema("regression", 3, 0))
    assert len(read_table(tmp_path / "a.npy", like=network, target=-3).rows) == 30
    with pytest.raises(ValueError, match="^target is 1, and the model was trained with column 0$"):
        read_table(tmp_path / "a.npy", like=network, target=1)


def test_another_file_than_the_models_is_measured_whole(tmp_path: Path) -> None:
    first = read_table(write(tmp_path / "train.csv"), target="kind", split=Split(seed=3))
    network = mlp([first.features, 3], **first.arguments)
    assert first.schema.split.rows == ROWS
    same = read_table(write(tmp_path / "again.csv", sep=";"), like=network, measured=True)
    np.testing.assert_array_equal(same.parts, first.parts)
    others = [FRAME[::2], FRAME[:9], FRAME.sample(frac=1, random_state=0), pandas.concat([FRAME, FRAME])]
    for frame in others:
        path = write(tmp_path / "other.csv", frame)
        other = read_table(path, like=network, measured=True)
        assert len(other.test) == len(frame) and not len(other.train) and not len(other.validation)
        assert "all rows are measured" in other.notes[-1] and "warning" not in " ".join(other.notes)
        assert len(read_table(path, like=network).train)  # to train on, it is shared


@pytest.mark.parametrize("path, given", [(FRAME, "DataFrame"), (np.zeros((2, 2)), "ndarray")])
def test_what_is_no_file_is_told_where_it_goes(path: Any, given: str) -> None:
    with pytest.raises(ValueError, match=f"^path is a {given}, wanted the name of a file: fit takes arr"):
        read_table(path, target="kind")


def test_a_single_column_to_drop_is_a_name(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv")
    names = read_table(path, target="kind", drop="ripe").schema.feature_names
    assert names == read_table(path, target="kind", drop=["ripe"]).schema.feature_names
    assert "ripe" not in names


def test_targets_that_are_all_the_same_are_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", FRAME.assign(kind=1))
    assert "warning: all targets are the same" in " ".join(read_table(path, target="kind").notes)
    assert "warning" not in " ".join(read_table(write(path), target="kind").notes)


def test_columns_without_a_name_are_listed_as_such(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", FRAME, index=True)
    listed = r"has the columns \(no name\), length, .*, kind, did you mean 'kind'\?$"
    with pytest.raises(ValueError, match=listed):
        read_table(path, target="kidn")
