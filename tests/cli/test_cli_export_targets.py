"""A target of one's own becomes a format of `minihash export`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from minihash import Network, load, mlp, save
from minihash.export import c, targets


def write_json(network: Network, path: str, indent: int | None = None, names: bool = False) -> str:
    layers = [{"kind": type(layer).__name__, "stored": layer.num_parameters} for layer in network.layers]
    content = {"layers": layers, **({"classes": network.class_names} if names else {})}
    Path(path).write_text(json.dumps(content, indent=indent, allow_nan=False))
    return f"described {len(layers)} layers in {path}"


OPTIONS = {"indent": {"type": int, "help": "json: of a level"}, "names": {"action": "store_true"}}


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> None:
    """The third target, until the test ends."""
    monkeypatch.setattr(targets, "TARGETS", dict(targets.targets()))
    targets.register(targets.Target("json", write_json, "a description", OPTIONS))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save(mlp([4, 6, 2], compression=0.5, class_names=["a", "b"]), tmp_path / "model")
    return tmp_path / "model"


def test_it_becomes_a_format(described: None, model: Path, run: Callable, tmp_path: Path) -> None:
    status, out, err = run("export", model, "--format", "json", "--out", tmp_path / "json", "--indent", "2")
    assert (status, out, err) == (0, f"described 3 layers in {tmp_path / 'json'}\n", "")
    content = json.loads((tmp_path / "json").read_text())
    stored = [layer.num_parameters for layer in load(model).layers]
    assert [layer["stored"] for layer in content["layers"]] == stored and "classes" not in content
    assert run("export", model, "--format", "json", "--out", tmp_path / "json", "--names")[0] == 0
    assert json.loads((tmp_path / "json").read_text())["classes"] == ["a", "b"]
    assert "json: a description" in " ".join(run("export", "--help")[1].split())


def test_its_options_are_its_own(described: None, model: Path, fails: Callable, tmp_path: Path) -> None:
    arguments = ("export", model, "--out", tmp_path / "out")
    assert "--indent and --names are for --format json" in fails(1, *arguments, "--names")
    assert "--dense is for --format onnx" in fails(1, *arguments, "--format", "json", "--dense")
    assert "--name, --weights and --training are for --format c" in fails(
        1, *arguments, "--format", "json", "--weights", "int8"
    )
    assert "is read, wanted another file" in fails(1, *arguments[:-1], model, "--format", "json")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_without_it_there_is_no_such_format(model: Path, fails: Callable, tmp_path: Path) -> None:
    assert "invalid choice: 'json'" in fails(2, "export", model, "--out", tmp_path / "a", "--format", "json")


def test_what_cannot_be_registered(described: None) -> None:
    with pytest.raises(ValueError, match="a target 'c' is registered already, wanted another name"):
        targets.register(targets.Target("c", write_json, "something else"))
    with pytest.raises(ValueError, match="option 'name' of other is another one than that of c"):
        targets.register(targets.Target("other", write_json, "a file", {"name": {"type": int}}))
    targets.register(targets.Target("other", write_json, "a file", {"name": c.OPTIONS["name"]}))
    assert list(targets.targets()) == ["c", "onnx", "json", "other"]
