"""The command `minihash export --format onnx`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from minihash import mlp
from minihash.export import to_c, to_onnx
from minihash.persistence import load, save


@pytest.mark.parametrize("options", [(), ("--dense",)], ids=str)
def test_export(options: tuple[str, ...], model: Path, run: Callable, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    status, out, err = run("export", model, "--format", "onnx", "--out", path, *options)
    assert (status, err) == (0, "")
    assert out == f"wrote {path}, {path.stat().st_size:,} bytes\n"
    to_onnx(load(model), tmp_path / "again.onnx", dense=bool(options))
    assert path.read_bytes() == (tmp_path / "again.onnx").read_bytes()


def test_wrong_usage(model: Path, fails: Callable[..., str], tmp_path: Path) -> None:
    arguments = ("export", model, "--format", "onnx", "--out")
    assert "is a folder, wanted a file" in fails(1, *arguments, tmp_path)
    assert "No such file" in fails(1, "export", tmp_path / "none", *arguments[2:], tmp_path / "model.onnx")
    for option in (("--training",), ("--name", "digits")):
        assert "are for --format c" in fails(1, *arguments, tmp_path / "model.onnx", *option)
    assert "--dense is for --format onnx" in fails(1, "export", model, "--out", tmp_path / "c", "--dense")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", ["c", "c --weights int4", "onnx", "onnx --dense"])
def test_tiles(options: str, run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    save(mlp([6, 8, 3], compression=0.5, tile=[3, 2]), tmp_path / "tiles")
    network, out, again = load(tmp_path / "tiles"), tmp_path / "out", tmp_path / "again"
    status, _, err = run("export", tmp_path / "tiles", "--out", out, "--format", *options.split())
    assert (status, err) == (0, "")
    if options.startswith("c"):
        to_c(network, again, weights="int4" if "int4" in options else None)
        assert (out / "model.c").read_text() == (again / "model.c").read_text()
    else:
        to_onnx(network, again, dense="--dense" in options)
        assert out.read_bytes() == again.read_bytes()
