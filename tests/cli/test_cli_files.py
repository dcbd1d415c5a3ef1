"""`train`, `evaluate` and `predict` on files of the user's own: what they are for, and how they fail."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import Fails, Run

from minihash import evaluate
from minihash.cli import main
from minihash.datasets.csv_rows import convert
from minihash.datasets.file_dataset import read_table
from minihash.persistence import load

TRAIN = ("train", "--hidden", "12", "--compression", "1/2", "--dropout", "0", "--input-dropout", "0")
TRAIN = (*TRAIN, "--epochs", "20", "--learning-rate", "0.02", "--batch-size", "16", "--activation", "tanh")
ROWS = 400


def targets_of(inputs: np.ndarray, task: str) -> np.ndarray:
    if task == "regression":
        return inputs[:, 0] - 0.5 * inputs[:, 1]
    return (inputs[:, 0] > 0) + (task == "classification") * (inputs[:, 1] > 0).astype(int)


def write(path: Path, task: str, kind: str) -> Path:
    """Write rows of features that are far from 0, with the target last; return the file."""
    inputs = np.random.default_rng(0).normal(size=(ROWS, 3))
    rows = np.column_stack([inputs * [1, 100, 1e-3] + [0, 5000, 1], targets_of(inputs, task)])
    if kind == "npy":
        np.save(path, rows)
        return path.with_name(f"{path.name}.npy")
    np.savetxt(path, rows, delimiter=",", fmt="%.9g", header="a,b,c,target", comments="")
    if kind == "store":
        convert(path, path.with_suffix(".mh"), header=True, label_column=-1)
        return path.with_suffix(".mh")
    return path


def options(kind: str) -> tuple[str, ...]:
    return ("--target", "-1") if kind == "npy" else ()  # a store has it first, a CSV file names it


@pytest.mark.parametrize("kind", ["store", "npy", "csv"])
@pytest.mark.parametrize("task", ["binary", "classification", "regression"])
def test_a_file_is_learned(tmp_path: Path, run: Run, kind: str, task: str) -> None:
    data, model = write(tmp_path / "rows", task, kind), tmp_path / "model.safetensors"
    where = (data, *options(kind))
    status, out, err = run(*TRAIN, *where, "--out", model)
    assert status == 0, err
    assert "320 training rows, 20 epochs" in out
    network = load(model)
    assert network.in_features == 3 and network.out_features == (3 if task == "classification" else 1)
    names = {"binary": ("0", "1"), "classification": ("0", "1", "2"), "regression": None}[task]
    assert network.class_names == names
    if task == "regression":
        assert float(re.search(r"^test R²: (.*)$", out, re.MULTILINE)[1]) > 0.9
        assert re.search(r"^test RMSE: ", out, re.MULTILINE)
    else:
        assert float(re.search(r"^test error: (.*) %$", out, re.MULTILINE)[1]) < 15
    assert ("test AUC: " in out) == (task == "binary")

    status, out, err = run("evaluate", model, *where)
    loss = {"binary": "binary_cross_entropy", "regression": "mean_squared_error"}
    target = -1 if kind == "npy" else None
    part = read_table(data, target=target).test
    expected = evaluate(network, part, loss=loss.get(task, "softmax_cross_entropy"))
    assert (status, err) == (0, "") and f"\ntest loss: {expected['loss']:.4f}\n" in out
    everything = run("evaluate", model, *where, "--part", "all")
    assert everything[0] == 0 and "\nall loss: " in everything[1]

    status, out, err = run("predict", model, data, *options(kind))
    rows = list(csv.reader(out.splitlines()))
    name = {"store": "", "npy": "column 3", "csv": "target"}[kind]
    left_out = name and f"minihash: {data}: {name} is left out, as the target\n"
    assert (status, err, len(rows)) == (0, left_out, ROWS + 1)
    batches = read_table(data, target=target).rows.batches(64)
    outputs = np.concatenate([network.predict(batch.inputs) for batch in batches])
    if task == "regression":
        assert rows[0] == ["target" if kind == "csv" else "output 0"]
        # 1 + 1e-3 in float32 is right to 6e-5 of it; predict shifts the file's numbers before it rounds.
        np.testing.assert_allclose(np.array(rows[1:], float), outputs, rtol=1e-4, atol=1e-4)
    else:
        found = [row[0] for row in rows[1:]]
        best = outputs.argmax(axis=1) if task == "classification" else (outputs[:, 0] > 0).astype(int)
        assert found == [str(label) for label in best]


def test_features_without_targets_are_predicted(tmp_path: Path, run: Run) -> None:
    data, model = write(tmp_path / "rows", "binary", "csv"), tmp_path / "model.safetensors"
    assert run(*TRAIN, data, "--out", model)[0] == 0
    with_targets = run("predict", model, data)[1]
    lines = data.read_text().splitlines()
    (tmp_path / "features").write_text("\n".join(line.rpartition(",")[0] for line in lines[1:]))
    own = ("predict", model, tmp_path / "features")
    found = run(*own)  # the model was trained with a header
    trained = "the model was trained with a header: wanted one, or --no-header"
    assert found[2].endswith(f"features: has no names of columns, and {trained}\n") and found[0] == 1
    assert run(*own, "--no-header") == (0, with_targets, "")
    assert run(*own, "--no-header", "--out", tmp_path / "out")[0] == 0
    assert (tmp_path / "out").read_text() == with_targets


def test_compare_and_balanced_and_final(tmp_path: Path, run: Run) -> None:
    data = write(tmp_path / "rows", "regression", "store")
    status, out, err = run(*TRAIN, data, "--compare", "--final")
    assert status == 0, err
    assert "360 training rows (validation rows among them)" in out and "test RMSE  seconds" in out
    data = write(tmp_path / "rows", "classification", "store")
    plain, balanced = (run(*TRAIN, data, *more)[1] for more in ((), ("--balanced",)))
    assert "test error" in plain and plain != balanced
    all_rows = ("--validation-rows", "0", "--test-rows", "0", "--epochs", "1")
    status, out, _ = run(*TRAIN, data, *all_rows)
    assert status == 0 and "400 training rows" in out and not re.search("^(test|validation)", out, re.M)


def test_patience_of_a_regression(tmp_path: Path, run: Run) -> None:
    data = write(tmp_path / "rows", "regression", "store")
    assert run(*TRAIN, data, "--patience", "2")[0] == 0


def test_files_that_cannot_be_used(tmp_path: Path, fails: Fails, run: Run) -> None:
    data = write(tmp_path / "rows", "regression", "csv")
    argv = TRAIN
    known = "wanted the name of a file, or one of 'mnist-small'"
    assert f"data is 'none.mh', {known}" in fails(1, *argv, "none.mh")
    assert "targets have " in fails(1, *argv, data, "--task", "binary")
    assert "target is 9, wanted -4 <=" in fails(1, *argv, data, "--target", "9")
    named = f"target is 'd', and {data} has the columns a, b, c, target"
    assert named in fails(1, *argv, data, "--target", "d")
    assert "test is 400, wanted 0 <= test < 400" in fails(1, *argv, data, "--test-rows", "400")
    model = tmp_path / "model.safetensors"
    assert run("train", data, "--epochs", "1", "--hidden", "5", "--out", model)[0] == 0
    store = write(tmp_path / "other", "binary", "store")
    assert "was trained on a table, wanted the name of such a file" in fails(1, "evaluate", model)
    empty = ("--test-rows", "0")
    assert "has no test rows, wanted one at least" in fails(1, "evaluate", model, store, *empty)
    other = tmp_path / "other.safetensors"
    assert run("train", store, "--epochs", "1", "--hidden", "5", "--out", other)[0] == 0
    assert "binary" in fails(1, "evaluate", other, "mnist-small")
    assert f"{other} was trained for binary" in fails(1, "evaluate", other, "--task", "regression")
    np.savetxt(tmp_path / "narrow", np.zeros((3, 2)), delimiter=",")
    narrow = ("predict", model, tmp_path / "narrow", "--no-header")
    wanted = "wanted 4 as in training, or 3 without the target\n"
    assert fails(1, *narrow).endswith(f"narrow: has 2 columns, {wanted}")
    np.savetxt(tmp_path / "features", np.zeros((3, 3)), delimiter=",")
    assert run("predict", model, tmp_path / "features", "--no-header")[0] == 0
    no_targets = ("evaluate", model, tmp_path / "features", "--no-header")
    assert fails(1, *no_targets).endswith("features: has no target, wanted the column 'target'\n")
    np.save(tmp_path / "wide", np.zeros((3, 5)))
    wide = tmp_path / "wide.npy"
    for command in ("evaluate", "predict"):
        assert "wide.npy: has 5 columns, " in fails(1, command, model, wide)
    for content in ("", "\n\n", "a,b,c,target\n"):
        (tmp_path / "empty").write_text(content)
        for command in ("evaluate", "predict"):
            assert "empty: has no rows, wanted one" in fails(1, command, model, tmp_path / "empty")


@pytest.mark.parametrize("classes", [2, 3])
def test_npz_files_are_evaluated_and_quantised(classes: int, tmp_path: Path, run: Run) -> None:
    data, model = tmp_path / "rows.npz", tmp_path / "model"
    inputs = np.random.default_rng(0).normal(size=(90, 5))
    np.savez(data, inputs=inputs, labels=np.arange(90) % classes)
    assert run(*TRAIN, data, "--out", model)[0] == 0
    assert load(model).out_features == (1 if classes == 2 else 3)
    status, out, err = run("evaluate", model, data, "--part", "all")
    assert (status, err) == (0, "") and ("all AUC: " in out) == (classes == 2)
    status, out, err = run("quantize", model, data, "--epochs", "1", "--out", tmp_path / "small")
    assert (status, err) == (0, "") and "8 bits: " in out and "test error" in out
    np.savez(tmp_path / "some.npz", inputs=inputs, labels=np.ones(90, int))  # a test set of one class
    assert run("evaluate", model, tmp_path / "some.npz")[0] == 0


def test_what_is_read_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, model = tmp_path / "rows.csv", tmp_path / "model.safetensors"
    rows.write_text("".join(f"{number % 2},{number},{-number}\n" for number in range(40)))
    train = ["train", str(rows), "--hidden", "4", "--epochs", "1"]
    assert main([*train, "--out", str(model)]) == 0
    kept = rows.read_bytes(), model.read_bytes()
    for command in (
        [*train, "--out", str(rows)],
        ["data", "convert", str(rows), str(rows)],
        ["predict", str(model), str(rows), "--out", str(rows)],
        ["predict", str(model), str(rows), "--out", str(model)],
        ["quantize", str(model), "--epochs", "0", "--out", str(model)],
    ):
        assert main(command) == 1, command
        assert "is read, wanted another file to write" in capsys.readouterr().err
    assert (rows.read_bytes(), model.read_bytes()) == kept
