"""`minihash train --from`: a saved network goes on training, and what does not fit it is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import Fails, Run

from minihash import Network, datasets, fit, mlp, optimizers, save, schedules
from minihash.layers import Linear
from minihash.persistence import load
from minihash.quantization import quantize
from minihash.schema import Schema

MORE = ("train", "--epochs", "1", "--from")


def same(path: Path, network: Network) -> bool:
    return all(np.array_equal(array, network.params[name]) for name, array in load(path).params.items())


def test_goes_on_as_fit_does(model: Path, few_rows: datasets.Dataset, tmp_path: Path, run: Run) -> None:
    before = model.read_bytes()
    status, out, err = run(*MORE, model, "--epochs", 2, "--seed", 3, "--out", tmp_path / "more")
    assert (status, err) == (0, "") and "\nnetwork, 500 training rows, 2 epochs in " in out
    assert out.startswith("training network 784-20-10 relu: 7,952 bytes of ")
    network = load(model)
    options: dict[str, Any] = {"optimizer": optimizers.Adam(0.002), "schedule": schedules.one_cycle(0.002)}
    fit(network, few_rows.train, epochs=2, seed=3, **options)
    assert same(tmp_path / "more", network) and model.read_bytes() == before
    ours, theirs = load(tmp_path / "more"), load(model)
    assert [layer.config() for layer in ours.layers] == [layer.config() for layer in theirs.layers]
    assert (ours.schema, ours.class_names) == (theirs.schema, theirs.class_names)


@pytest.mark.usefixtures("few_rows")
def test_its_settings_are_kept_and_repeat_it(model: Path, tmp_path: Path, run: Run) -> None:
    assert run(*MORE, model, "--out", tmp_path / "a")[0] == 0
    settings = json.loads((tmp_path / "a.settings.json").read_text())
    assert settings["model"] == str(model) and settings["data"] == "mnist-small"
    of_network = "hidden compression memory_bytes tile activation bias dropout input_dropout".split()
    assert not settings.keys() & set(of_network)
    again = run("train", "--from-settings", tmp_path / "a.settings.json", "--out", tmp_path / "b")
    assert again[0] == 0 and (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    # Settings of the training that made it are for going on, too.
    first = f"{model}.settings.json"
    assert run("train", "--from-settings", first, "--from", model, "--out", tmp_path / "c")[0] == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "c").read_bytes()


@pytest.mark.usefixtures("few_rows")
def test_a_checkpoint_of_it(model: Path, tmp_path: Path, run: Run) -> None:
    argv = (*MORE, model, "--checkpoint", tmp_path / "state", "--resume", "--out", tmp_path / "a")
    assert run(*argv)[0] == 0
    first = (tmp_path / "a").read_bytes()
    status, out, _ = run(*argv)
    assert status == 0 and f"going on from {tmp_path / 'state' / 'network'}, after epoch 1 of 1\n" in out
    assert (tmp_path / "a").read_bytes() == first


def table(path: Path, features: int = 4, classes: int = 3) -> Path:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 1 + features))
    rows[:, 0] = rng.integers(0, classes, 200)
    np.savetxt(path, rows, delimiter=",", fmt="%.4g")
    return path


def test_other_data(tmp_path: Path, run: Run) -> None:
    first, second = table(tmp_path / "a.csv"), table(tmp_path / "b.csv")
    options = ("--hidden", 9, "--compression", 0.5, "--epochs", 1, "--out", tmp_path / "model")
    assert run("train", first, *options)[0] == 0
    network = load(tmp_path / "model")
    shift = network.input_shift.copy()
    status, out, err = run(*MORE, tmp_path / "model", second, "--out", tmp_path / "more")
    assert (status, err) == (0, "") and "\ntraining network 4-9-3 relu: " in out
    assert np.array_equal(load(tmp_path / "more").input_shift, shift)


@pytest.mark.parametrize(
    "option",
    [
        ("--hidden", "20"),
        ("--compression", "1/64"),  # its default
        ("--memory-bytes", "9999"),
        ("--tile", "4"),
        ("--activation", "relu"),
        ("--bias", "free"),
        ("--dropout", "0"),
        ("--input-dropout", "0"),
        ("--compare",),
    ],
    ids=" ".join,
)
def test_what_describes_a_network_is_refused(option: tuple[str, ...], model: Path, fails: Fails) -> None:
    wanted = "is for a new network, and --from goes on with one: wanted one of them"
    assert fails(1, *MORE, model, *option) == f"minihash: error: {option[0]} {wanted}\n"


def test_what_does_not_fit_is_refused(model: Path, tmp_path: Path, fails: Fails) -> None:
    wide = table(tmp_path / "wide.csv")
    assert f"{wide} has 4 features, wanted 784, as {model} has\n" in fails(1, *MORE, model, wide)
    save(mlp([784, 5]), tmp_path / "five")
    line = fails(1, *MORE, tmp_path / "five")
    assert f"mnist-small has 10 classes, wanted 5, as {tmp_path / 'five'} has\n" in line
    save(mlp([784, 10], class_names=list("abcdefghij")), tmp_path / "letters")
    save(mlp([784, 1], class_names=["no", "yes"]), tmp_path / "two")
    assert "and " in fails(1, *MORE, tmp_path / "two")  # of another task
    save(Network([Linear(784, 1)], schema=Schema("regression")), tmp_path / "number")
    assert "is for classification, and " in fails(1, *MORE, tmp_path / "number")


def test_names_of_classes(few_rows: datasets.Dataset, tmp_path: Path, run: Run, monkeypatch: Any) -> None:
    """Numbers give way to names; other names are refused."""
    letters = replace(few_rows, class_names=tuple("abcdefghij"))
    digits, out = tmp_path / "digits", tmp_path / "out"
    save(mlp([784, 10], class_names=few_rows.class_names), digits)
    monkeypatch.setattr(datasets, "load", lambda *argv: letters)
    assert run(*MORE, digits, "--out", out)[0] == 0 and load(out).class_names == letters.class_names
    monkeypatch.setattr(datasets, "load", lambda *argv: few_rows)
    assert run(*MORE, out, "--out", tmp_path / "again")[0] == 0
    assert load(tmp_path / "again").class_names == letters.class_names
    monkeypatch.setattr(datasets, "load", lambda *argv: replace(few_rows, class_names=tuple("jihgfedcba")))
    status, _, err = run(*MORE, out)
    assert status == 1 and "has the classes j, i, " in err
    assert f"wanted a, b, c, d, e, f, g, h, i, j, as {out} has\n" in err


def test_a_quantised_network_is_refused(model: Path, tmp_path: Path, fails: Fails) -> None:
    save(quantize(load(model), 8), tmp_path / "small")
    line = fails(1, *MORE, tmp_path / "small")
    assert f"{tmp_path / 'small'}: is quantised and does not train, wanted " in line


def test_its_file_is_no_output(model: Path, tmp_path: Path, fails: Fails) -> None:
    before = model.read_bytes()
    assert fails(1, *MORE, model, "--out", model).endswith(": is read, wanted another file to write\n")
    assert model.read_bytes() == before
    assert "No such file" in fails(1, *MORE, tmp_path / "none")
