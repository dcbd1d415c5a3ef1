"""The command `minihash`: evaluate, predict, inspect, data, --help, and how it fails."""

from __future__ import annotations

import csv
import os
import re
import resource
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import Fails, Run

from minihash import Network, datasets, evaluate, losses, mlp, save
from minihash.layers import Linear
from minihash.persistence import load
from minihash.schema import Schema

COMMANDS = ("train", "evaluate", "predict", "inspect", "gradcheck", "data")


def python(*argv: Any, **arguments: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *map(str, argv)], capture_output=True, text=True, **arguments)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return datasets.load().test[0][:30]


@pytest.fixture
def idx(tmp_path: Path, images: np.ndarray) -> Path:
    """An idx file of 30 images."""
    header = bytes([0, 0, 8, 3]) + np.array([30, 28, 28], ">u4").tobytes()
    (tmp_path / "images").write_bytes(header + images.tobytes())
    return tmp_path / "images"


def write_npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


# --help, and what is imported


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)], ids=" ".join)
def test_help(command: tuple[str, ...], run: Run) -> None:
    status, out, err = run(*command, "--help")
    assert (status, err) == (0, "") and out.startswith(f"usage: {' '.join(['minihash', *command])} ")
    assert command or all(name in out for name in COMMANDS)


def test_version(run: Run) -> None:
    assert run("--version") == (0, "minihash 0.1.0\n", "")


def test_help_answers_in_under_300_ms() -> None:
    def processor_time() -> float:  # of the children: the clock on the wall also measures what else runs
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    seconds = []
    for _ in range(5):
        start = processor_time()
        assert python("-m", "minihash", "--help").returncode == 0
        seconds.append(processor_time() - start)
    assert min(seconds) < 0.3


@pytest.mark.parametrize("code", ["from minihash import *", *(f"help {name}" for name in ("", *COMMANDS))])
def test_heavy_packages_are_imported_late(code: str) -> None:
    if code.startswith("help"):
        argv = [*code.split()[1:], "--help"]
        code = f"import minihash.cli\ntry:\n    minihash.cli.main({argv})\nexcept SystemExit:\n    pass"
    found = python("-c", f"{code}\nimport sys\nprint(*sys.modules)")
    assert found.returncode == 0
    heavy = {"numba", "scipy", "tqdm", "matplotlib", "safetensors", "urllib.request"}
    heavy |= {"numpy"} if "--help" in code else set()
    assert not heavy & set(found.stdout.splitlines()[-1].split())


# evaluate, inspect, data


def test_evaluate(model: Path, run: Run) -> None:
    for part in ("test", "validation"):
        status, out, err = run("evaluate", model, *(() if part == "test" else ("--part", part)))
        scores = evaluate(load(model), getattr(datasets.load(), part))
        expected = f"{part} loss: {scores['loss']:.4f}\n{part} error: {100 * scores['error']:.2f} %\n"
        assert (status, err) == (0, "") and out.startswith(expected)
        classes = re.findall(r"^(\d) +([\d.]+) % +([\d.]+) % +([\d,]+)$", out, re.MULTILINE)
        matrix = np.array([line.split()[1:] for line in out.splitlines()[-10:]], dtype=object)
        matrix = np.array([[int(cell.replace(",", "")) for cell in row] for row in matrix])
        assert [rows for *_, rows in classes] == [f"{rows:,}" for rows in matrix.sum(axis=1)]
        assert 1 - matrix.trace() / matrix.sum() == pytest.approx(scores["error"])
        recall = 100 * matrix.diagonal() / matrix.sum(axis=1)
        assert [float(recall) for _, _, recall, _ in classes] == pytest.approx(recall, abs=0.051)


def test_inspect(model: Path, run: Run) -> None:
    status, out, err = run("inspect", model)
    network = load(model)
    assert (status, err) == (0, "")
    assert out.startswith(network.summary())
    assert f"file: {os.path.getsize(model):,} bytes\n" in out
    for position, layer in enumerate(network.layers):
        assert f"layer {position}: {layer!r}\n" in out
    assert "classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9\n" in out
    assert "input scale: 0.00392157, input shift: 0\n" in out


def test_inspect_without_classes(tmp_path: Path, run: Run) -> None:
    save(Network([Linear(2, 1)], input_scale=[1, 2]), tmp_path / "model")
    status, out, _ = run("inspect", tmp_path / "model")
    assert status == 0 and "classes" not in out and "input scale: 1 to 2, input shift: 0\n" in out


def test_inspect_tells_the_schema(model: Path, tmp_path: Path, run: Run) -> None:
    names = tuple(f"feature {number}" for number in range(40))
    schema = Schema("regression", 41, 3, True, names, standardized=True)
    save(Network([Linear(40, 1)], schema=schema), tmp_path / "model")
    lines = run("inspect", tmp_path / "model")[1].splitlines()
    assert "task: regression" in lines and "features are standardised" in lines
    assert "table: 41 columns, with a header; the target is column 3" in lines
    (features,) = [line for line in lines if line.startswith("features: 40: feature 0, feature 1, ")]
    assert features.endswith(" …") and len(features) < 110
    plain = run("inspect", model)[1]
    assert "task: classification\n" in plain and "table:" not in plain and "standardised" not in plain


def test_data_list(run: Run, tmp_path: Path) -> None:
    status, out, err = run("data", "list", "--data-dir", tmp_path)
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == list(datasets.names())


# predict


def read_csv(text: str) -> tuple[list[str], list[str], np.ndarray]:
    """The header, the labels and the probabilities."""
    header, *rows = csv.reader(text.splitlines())
    return header, [row[0] for row in rows], np.array([row[1:] for row in rows], float)


def test_predict_several_labels_a_row(tmp_path: Path, run: Run) -> None:
    """Each label has a probability of its own, and no label is the row's."""
    network = mlp([4, 3], class_names=["red", "round", "large"], seed=1)
    network.schema = Schema("multilabel")
    save(network, tmp_path / "model.safetensors")
    rows = np.random.default_rng(0).normal(size=(5, 4))
    np.save(tmp_path / "rows.npy", rows)
    status, text, err = run("predict", tmp_path / "model.safetensors", tmp_path / "rows.npy")
    header, *lines = csv.reader(text.splitlines())
    assert (status, err, header) == (0, "", ["p(red)", "p(round)", "p(large)"])
    wanted = 1 / (1 + np.exp(-network.predict(rows)))
    np.testing.assert_allclose(np.array(lines, float), wanted, atol=1e-6)


def test_predict(model: Path, idx: Path, images: np.ndarray, tmp_path: Path, run: Run) -> None:
    status, text, err = run("predict", model, idx)
    assert (status, err) == (0, "")
    header, labels, probabilities = read_csv(text)
    outputs = load(model).predict(images)
    assert header == ["label", *(f"p({digit})" for digit in range(10))]
    assert labels == [str(row.argmax()) for row in outputs]
    np.testing.assert_allclose(probabilities, losses.class_probabilities(outputs), atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert len(set(labels)) > 1

    named = {"inputs": images, "labels": np.zeros(30)}
    flat = write_npz(tmp_path / "flat.npz", **named)
    square = write_npz(tmp_path / "square.npz", any_name=images.reshape(30, 28, 28).astype(np.float32))
    for path in (flat, square):
        assert run("predict", model, path) == (0, text, "")
    out = tmp_path / "predictions.csv"
    assert run("predict", model, flat, "--out", out) == (0, "", "")
    assert out.read_bytes() == text.encode()


def test_predict_two_classes_from_one_output(tmp_path: Path, run: Run) -> None:
    network = Network([Linear(2, 1)], class_names=["no", "yes, indeed"])
    save(network, tmp_path / "model")
    inputs = write_npz(tmp_path / "rows.npz", rows=np.array([[9.0, 9], [-9, -9], [0, 0.1]]))
    _, labels, probabilities = read_csv(run("predict", tmp_path / "model", inputs)[1])
    assert labels == [("no", "yes, indeed")[row.argmax()] for row in probabilities]
    assert set(labels) == {"no", "yes, indeed"}
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_predict_without_classes(tmp_path: Path, run: Run) -> None:
    network = Network([Linear(2, 3)])
    save(network, tmp_path / "model")
    rows = np.array([[1.0, 2], [3, -4]])
    out = run("predict", tmp_path / "model", write_npz(tmp_path / "rows.npz", rows=rows))[1]
    header, *lines = csv.reader(out.splitlines())
    assert header == ["output 0", "output 1", "output 2"]
    np.testing.assert_allclose(np.array(lines, float), network.predict(rows), rtol=1e-5)


@pytest.mark.parametrize("task, outputs", [("classification", 3), ("binary", 1)])
def test_predict_numbers_classes_without_names(task: str, outputs: int, tmp_path: Path, run: Run) -> None:
    network = Network([Linear(2, outputs)], schema=Schema(task))
    save(network, tmp_path / "model")
    rows = np.random.default_rng(0).normal(size=(20, 2))
    out = run("predict", tmp_path / "model", write_npz(tmp_path / "rows.npz", rows=rows))[1]
    header, labels, probabilities = read_csv(out)
    assert header == ["label", *(f"p({number})" for number in range(max(2, outputs)))]
    expected = losses.class_probabilities(network.predict(rows), task)
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    assert labels == [str(row.argmax()) for row in expected] and len(set(labels)) > 1


@pytest.mark.parametrize("schema", [Schema("regression"), Schema("multilabel")])
def test_predict_numbers_where_there_are_no_classes(schema: Schema, tmp_path: Path, run: Run) -> None:
    """A regression, and yes or no for each of several outputs."""
    save(Network([Linear(2, 3)], schema=schema), tmp_path / "model")
    out = run("predict", tmp_path / "model", write_npz(tmp_path / "rows.npz", rows=np.ones((1, 2))))[1]
    assert out.startswith("output 0,output 1,output 2\n")


def test_predict_no_rows(model: Path, tmp_path: Path, run: Run) -> None:
    status, out, err = run("predict", model, write_npz(tmp_path / "none.npz", inputs=np.zeros((0, 784))))
    assert (status, out.count("\n"), err) == (0, 1, "")


# Failures: one line, no traceback


@pytest.mark.parametrize(
    "argv",
    [
        ["unknown"],
        ["--unknown"],
        ["train", "--unknown"],
        ["train", "--epochs", "many"],
        ["train", "--compression", "1/0"],
        ["train", "--compression", "a/b"],
        ["train", "--compression", "nan"],
        ["train", "--compression", "1e999"],
        ["train", "--activation", "swish"],
        ["train", "--map", "blocks"],
        ["evaluate"],
        ["evaluate", "model", "--part", "some"],
        ["predict", "model"],
        ["data"],
        ["data", "burn"],
    ],
    ids=" ".join,
)
def test_wrong_usage(argv: list[str], fails: Fails) -> None:
    fails(2, *argv)


@pytest.mark.parametrize("argv", [["data\nlist"], ["data", "list", "a\r\nb"], ["train", "--epochs", "1\n2"]])
def test_wrong_usage_of_several_lines_is_told_in_one(argv: list[str], fails: Fails) -> None:
    assert "\r" not in fails(2, *argv)


@pytest.mark.parametrize("command", ["evaluate", "inspect", "predict"])
def test_bad_model(command: str, model: Path, idx: Path, tmp_path: Path, fails: Fails) -> None:
    rest = [idx] if command == "predict" else []
    assert "No such file" in fails(1, command, tmp_path / "none", *rest)
    assert "directory" in fails(1, command, tmp_path, *rest)
    damaged = tmp_path / "damaged"
    damaged.write_bytes(model.read_bytes()[:-1])
    assert f"{damaged}: not a safetensors file" in fails(1, command, damaged, *rest)


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_bad_data(command: str, model: Path, tmp_path: Path, fails: Fails, monkeypatch: Any) -> None:
    monkeypatch.delenv("MINIHASH_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    argv = [command, *([model] if command == "evaluate" else [])]
    assert "'cifar', wanted the name of a file, or one of 'mnist-small'" in fails(1, *argv, "cifar")
    assert "minihash data fetch mnist" in fails(1, *argv, "mnist")
    assert str(tmp_path / "none") in fails(1, *argv, "mnist", "--data-dir", tmp_path / "none")


def test_a_model_of_other_inputs(tmp_path: Path, fails: Fails) -> None:
    save(Network([Linear(5, 3)]), tmp_path / "model")
    assert "wanted (batch, 5)" in fails(1, "evaluate", tmp_path / "model")


def test_bad_inputs(model: Path, idx: Path, images: np.ndarray, tmp_path: Path, fails: Fails) -> None:
    spoiled = images.astype(float)
    spoiled[7, 3] = np.nan
    good = write_npz(tmp_path / "good.npz", inputs=images).read_bytes()
    damaged = bytearray(good)
    damaged[len(good) // 2] ^= 255
    for name, content, message in (
        ("empty", b"", "has no rows"),
        ("text", b"1,2,3\n", "has 3 columns, wanted 784"),
        ("cut", idx.read_bytes()[:-1], "the file holds"),
        ("cut.gz", b"\x1f\x8b\x08", "is damaged"),
        ("cut.npz", good[:-9], "cut.npz"),
        ("damaged.npz", damaged, "damaged.npz"),
        ("wide.npz", {"inputs": images[:, 1:]}, "(batch, 784)"),
        ("flat.npz", {"inputs": images[0]}, "wanted (rows, features)"),
        ("nan.npz", {"inputs": spoiled}, "NaN or infinity in row 7"),
        ("two.npz", {"a": images, "b": images}, "holds a, b, wanted an array named inputs"),
        ("none.npz", {}, "holds nothing"),
        ("text.npz", {"inputs": images.astype(str)}, "real numbers"),
        ("objects.npz", {"inputs": np.array([[None]])}, "objects.npz"),
    ):
        path = tmp_path / name
        if isinstance(content, dict):
            write_npz(path, **content)
        else:
            path.write_bytes(content)
        line = fails(1, "predict", model, path, "--out", tmp_path / "out.csv")
        assert str(path) in line and message in line
    assert "No such file" in fails(1, "predict", model, tmp_path / "no.npz")
    assert not list(tmp_path.glob("*out.csv*"))


def test_numbers_too_large_for_the_network(model: Path, tmp_path: Path, run: Run) -> None:
    inputs = write_npz(tmp_path / "large.npz", inputs=np.full((1, 784), 1e300))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        status, out, err = run("predict", model, inputs)
    assert (status, out) == (1, "") and err.count("\n") == 1 and "large.npz" in err


def test_predictions_into_a_missing_folder(model: Path, idx: Path, tmp_path: Path, fails: Fails) -> None:
    line = fails(1, "predict", model, idx, "--out", tmp_path / "none" / "out.csv")
    assert str(tmp_path / "none") in line and ".part" not in line


# The streams of the process


def test_python_m_minihash(model: Path) -> None:
    found = python("-m", "minihash", "inspect", model)
    assert found.returncode == 0 and found.stdout.startswith("layer") and found.stderr == ""
    found = python("-m", "minihash", "inspect", "no such file")
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == "minihash: error: no such file: No such file or directory\n"


def test_without_a_command_it_is_help(run: Run) -> None:
    assert run() == run("--help")
    found = python("-m", "benchmarks.paper")
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout == python("-m", "benchmarks.paper", "--help").stdout


@pytest.mark.parametrize(
    "argv, meant",
    [
        (["trian"], "'train'"),
        (["--verison"], "--version"),
        (["train", "--epohcs", "5"], "--epochs"),
        (["train", "--epoch", "5"], "--epochs"),  # no abbreviation either
        (["train", "--learning_rate=0.1"], "--learning-rate"),
        (["train", "--schedule", "cosin"], "'cosine'"),
        (["data", "covnert"], "'convert'"),
        (["data", "convert", "rows.csv", "rows.mh", "--haeder"], "--header"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_was_probably_meant(argv: list[str], meant: str, fails: Fails) -> None:
    assert fails(2, *argv).endswith(f", did you mean {meant}?\n")


@pytest.mark.parametrize("argv", [["fly"], ["--quux"], ["train", "--quux"], ["train", "--schedule", "xyz"]])
def test_nothing_is_meant_where_nothing_is_near(argv: list[str], fails: Fails) -> None:
    assert "did you mean" not in fails(2, *argv)


def test_a_file_that_was_probably_meant(model: Path, tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "model.safetensors").write_bytes(model.read_bytes())
    for command in ("inspect", "evaluate"):
        line = fails(1, command, tmp_path / "modle.safetensor")
        wanted = "modle.safetensor: No such file or directory, did you mean 'model.safetensors'?\n"
        assert line == f"minihash: error: {tmp_path}/{wanted}"
    assert "did you mean" not in fails(1, "inspect", tmp_path / "rows")
    line = fails(2, "train", "--from-settings", tmp_path / "model.safetensor")
    assert line.endswith(": No such file or directory, did you mean 'model.safetensors'?\n")


@pytest.mark.parametrize("command", ["data list", "--help", "inspect", "predict"])
def test_broken_pipe(command: str, model: Path, idx: Path) -> None:
    rest = {"inspect": [model], "predict": [model, idx]}.get(command, [])
    reader, writer = os.pipe()
    os.close(reader)
    argv = [sys.executable, "-m", "minihash", *command.split(), *rest]
    found = subprocess.run(argv, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk_behind_stdout() -> None:
    with open("/dev/full", "w") as full:
        argv = [sys.executable, "-m", "minihash", "data", "list"]
        found = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True)
    assert found.returncode == 1
    assert found.stderr.startswith("minihash: error: ") and found.stderr.count("\n") == 1


@pytest.mark.parametrize("stream", [1, 2])
def test_closed_streams(stream: int, model: Path) -> None:
    shell = f'exec "$0" -m minihash inspect "$1" {stream}>&-'
    found = subprocess.run(["sh", "-c", shell, sys.executable, model], capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")
