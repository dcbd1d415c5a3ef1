"""Outputs of every command: none ends a file that is read, or another output; none fails after the work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import Fails

COMMANDS = {
    "train --out": "train {rows} --out {rows}",
    "train --log": "train {rows} --log {rows}",
    "train --plot": "train {rows} --plot {rows}",
    "train --log, of its settings": "train --from-settings {settings} --log {settings}",
    "tune --out": "tune {rows} --out {rows}",
    "tune --journal": "tune {rows} --journal {rows}",
    "quantize, the model": "quantize {model} {rows} --out {model}",
    "quantize, the data": "quantize {model} {rows} --out {rows}",
    "predict, the model": "predict {model} {rows} --out {model}",
    "predict, the data": "predict {model} {rows} --out {rows}",
    "export": "export {model} --format onnx --out {model}",
    "inspect": "inspect {model} --plot {model}",
    "gradcheck": "gradcheck {model} --plot {model}",
    "convert": "data convert {rows} {rows}",
}
TWICE = {
    "train, out and log": "train {rows} --out {new} --log {new}",
    "train, out and plot": "train {rows} --out {new} --plot {new}",
    "train, log and plot": "train {rows} --log {new} --plot {new}",
    "train, settings and log": "train {rows} --out {new} --log {new}.settings.json",
    "tune, journal and out": "tune {rows} --journal {new} --out {new}",
}
NOWHERE = {
    "inspect": "inspect {model} --plot {none}/a.png",
    "predict": "predict {model} {rows} --out {none}/a",
    "export": "export {model} --format onnx --out {none}/a",
    "convert": "data convert {rows} {none}/a",
}


@pytest.fixture
def files(model: Path, tmp_path: Path) -> dict[str, Path]:
    np.savetxt(tmp_path / "rows", np.arange(40).reshape(20, 2) % 3, delimiter=",", fmt="%d")
    (tmp_path / "settings").write_text("{}")
    (tmp_path / "model").write_bytes(model.read_bytes())
    return {name: tmp_path / name for name in ("rows", "settings", "model", "new", "none")}


def check(fails: Fails, command: str, files: dict[str, Path], wanted: str) -> None:
    before = {path: path.read_bytes() for path in files.values() if path.exists()}
    assert wanted in fails(1, *command.format(**files).split())
    assert {path: path.read_bytes() for path in files.values() if path.exists()} == before


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_inputs_stay(fails: Fails, command: str, files: dict[str, Path]) -> None:
    check(fails, command, files, "is read, wanted another file to write")


@pytest.mark.parametrize("command", TWICE.values(), ids=TWICE)
def test_two_outputs_of_one_name(fails: Fails, command: str, files: dict[str, Path]) -> None:
    check(fails, command, files, "is to be written twice, wanted a file for each output")


@pytest.mark.parametrize("command", NOWHERE.values(), ids=NOWHERE)
def test_outputs_are_tried_before_the_work(
    fails: Fails, command: str, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*arguments: object, **others: object) -> None:
        raise AssertionError("worked before it tried to write")

    for name in ("datasets.load", "persistence.load", "datasets.csv_rows.convert"):
        monkeypatch.setattr(f"minihash.{name}", work)
    check(fails, command, files, "there is no such folder to write to")
