"""One table, written in many ways, through `train`, `predict` and `evaluate`."""

from __future__ import annotations

import csv
import gzip
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from helpers import Fails, Run

from minihash import load

ROWS = 60
RNG = np.random.default_rng(3)
FRAME = pandas.DataFrame({
    "length": RNG.normal(5, 1, ROWS).round(3),
    "width": RNG.normal(-3, 9, ROWS).round(2),
    "colour": RNG.choice(["red", "blue, dark", "green; or | navy"], ROWS),
    "ripe": RNG.choice([True, False], ROWS),
    "kind": np.repeat(["apple", "pear", "plum"], ROWS // 3),
})
TRAIN = ("--hidden", "8", "--compression", "1/2", "--epochs", "2", "--batch-size", "16")
SEPARATORS = {",": ".", ";": ",", "\t": ".", "|": "."}  # with the decimal sign
MARK = "\ufeff"
ORDERS = (list(FRAME), ["kind", "ripe", "width", "colour", "length"])
VARIANTS = list(itertools.product(SEPARATORS, (0, 1), ("", MARK), ("", ".gz"), (False, True)))


def write(path: Path, frame: pandas.DataFrame = FRAME, mark: str = "", **how: Any) -> Path:
    content = (mark + frame.to_csv(**{"index": False, **how})).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.fixture
def model(tmp_path: Path, run: Run) -> Path:
    """A model of the table in its plainest form."""
    out = tmp_path / "model.safetensors"
    status, _, err = run("train", write(tmp_path / "plain.csv"), "--target", "kind", *TRAIN, "--out", out)
    assert status == 0, err
    return out


def test_every_variant_gives_the_same_predictions(model: Path, tmp_path: Path, run: Run) -> None:
    """64 files: separators, quotes, marks, compression, and an index before columns in another order."""
    plain = tmp_path / "plain.csv"
    predicted = run("predict", model, plain)
    measured = run("evaluate", model, plain)
    assert predicted[0] == measured[0] == 0 and predicted[1].count("\n") == ROWS + 1
    own = tmp_path / "own.safetensors"
    for number, (separator, quoting, mark, packed, other) in enumerate(VARIANTS):
        how = {"sep": separator, "decimal": SEPARATORS[separator], "quoting": quoting, "index": other}
        path = write(tmp_path / f"{number}.csv{packed}", FRAME[ORDERS[other]], mark, **how)
        assert run("predict", model, path)[1] == predicted[1], how
        found = run("evaluate", model, path)
        assert found[0] == 0 and figures(found[1]) == figures(measured[1]), (how, found)
        assert run("train", path, "--target", "kind", *TRAIN, "--out", own)[0] == 0, how
        if not other:  # in the same order: the same network
            again = run("predict", own, path)
            assert again[1] == predicted[1], how


def figures(out: str) -> list[str]:
    """What was measured, without what the file was taken for."""
    return re.findall(r"^(?:test .*|apple .*|pear .*|plum .*)$", out, re.MULTILINE)


@pytest.mark.parametrize("change, arguments, message", [
    ({"length": [None] * 2 + [1.0] * 58}, (), "column 'length' has 2 empty cells (line 2), wanted none, or"),
    ({"width": ["x", *FRAME.width[1:]]}, (), "column 'width' has numbers, but 'x' in line 2 is none"),
    ({}, ("--target", "sort"), "target is 'sort', and"),
    ({}, ("--drop", "colours"), "drop is 'colours', and"),
    ({"kind": ["apple"] * ROWS}, (), "has 1 class (apple), wanted two or more"),
])
def test_what_is_wrong_ends_in_a_line_that_names_the_column(
    change: dict, arguments: tuple[str, ...], message: str, tmp_path: Path, fails: Fails
) -> None:
    path = write(tmp_path / "rows.csv", FRAME.assign(**change))
    assert message in fails(1, "train", path, "--target", "kind", *arguments, *TRAIN)


def test_a_dry_run_says_what_a_file_is_taken_for(tmp_path: Path, run: Run) -> None:
    path = write(tmp_path / "rows.csv", sep=";", decimal=",", index=True)
    status, out, err = run("train", path, "--target", "kind", "--dry-run", "--out", tmp_path / "model")
    assert (status, err) == (0, "") and not (tmp_path / "model").exists()
    said = out.splitlines()[-3:]
    assert said == [
        f"{path}: semicolons between cells, decimal commas, a header of 6 names",
        "column 'colour': 3 words, an input each (blue, dark, green; or | navy, red)",
        "target: kind (3 classes: apple, pear, plum); 4 features (6 inputs), 1 column left out (index); "
        "60 rows: 48 training, 6 validation, 6 test",
    ]


def test_what_predict_copies_and_says(model: Path, tmp_path: Path, run: Run) -> None:
    frame = FRAME.drop(columns="kind").assign(id=[f"n{row}" for row in range(ROWS)], colour="violet")
    path = write(tmp_path / "new.csv", frame)
    status, out, err = run("predict", model, path, "--keep", "id", "--keep", "width")
    rows = list(csv.reader(out.splitlines()))
    assert status == 0 and rows[0] == ["id", "width", "label", "p(apple)", "p(pear)", "p(plum)"]
    assert [row[0] for row in rows[1:]] == list(frame.id)
    assert [float(row[1]) for row in rows[1:]] == list(frame.width)
    unknown = "column 'colour' has words that training did not have ('violet'): taken for none"
    assert err == f"minihash: {path}: {unknown}\n"


def test_numbers_are_predicted_in_their_units(tmp_path: Path, run: Run) -> None:
    frame = FRAME.assign(price=5000 + 300 * FRAME.length).drop(columns="kind")
    path, model = write(tmp_path / "rows.csv", frame), tmp_path / "model"
    argv = ("train", path, "--target", "price", "--hidden", "30", "--compression", "1/2", "--epochs", "60")
    argv = (*argv, "--batch-size", "16", "--learning-rate", "0.01", "--input-dropout", "0", "--dropout", "0")
    status, out, err = run(*argv, "--out", model)
    assert status == 0, err
    assert "target: price (numbers from " in out
    network = load(model)
    assert network.output_shift == pytest.approx(frame.price.mean(), rel=0.05)
    rows = list(csv.reader(run("predict", model, path)[1].splitlines()))
    assert rows[0] == ["price"]
    errors = np.array([float(row[0]) for row in rows[1:]]) - frame.price
    assert np.sqrt(np.mean(errors**2)) < 0.5 * frame.price.std()
    out = run("evaluate", model, path, "--part", "all")[1]
    shown = {name: float(value) for name, value in re.findall(r"^all (MAE|RMSE|R²): ([\d.]+)", out, re.M)}
    assert shown["RMSE"] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-3)
    assert shown["MAE"] == pytest.approx(np.abs(errors).mean(), rel=1e-3)
    assert f"(always the mean: {frame.price.std(ddof=0):.4g})" in out


def test_another_file_is_measured_whole(model: Path, tmp_path: Path, run: Run) -> None:
    path = write(tmp_path / "other.csv", FRAME[::3])
    status, out, err = run("evaluate", model, path)
    assert (status, err) == (0, "") and "all rows are measured" in out
    assert "20 rows: 0 training, 0 validation, 20 test" in out
    assert "12 test" in run("evaluate", model, path, "--test-rows", "12")[1]
    status, out, _ = run("evaluate", model, tmp_path / "plain.csv")
    assert status == 0 and "60 rows: 48 training, 6 validation, 6 test" in out


@pytest.mark.parametrize("option", [("--target", "kind"), ("--drop", "id"), ("--missing", "mean")])
def test_a_forgotten_file_is_told(option: tuple[str, str], model: Path, fails: Fails) -> None:
    said = f"{option[0]} is for files, and mnist-small is none, wanted the name of a file\n"
    assert fails(1, "train", *option).endswith(said)
    said = f"{model} was trained on a table, wanted the name of such a file, not mnist-small\n"
    assert fails(1, "evaluate", model).endswith(said)


def test_a_wrong_cell_has_its_line(model: Path, tmp_path: Path, fails: Fails) -> None:
    frame = FRAME.astype({"width": object})
    frame.loc[7, "width"] = "wide"
    path = write(tmp_path / "new.csv", frame)
    assert fails(1, "predict", model, path).endswith("column 'width' has 'wide' in line 9, wanted a number\n")
